"""The kernels for CUDA, in Triton. reference.py documents what each function computes.

These are the products over lists; gpu_step.py has the training step of the known kinds, in which the host never
waits. Other kinds, and ranks that share a step, build theirs from the functions here. One program computes each sum in
one order, without atomic additions, so results do not depend on timing. With TRITON_INTERPRET=1 the kernels run on the
CPU, line by line, for the tests.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from sae_pipeline.kernels import reference
from sae_pipeline.kernels.gpu_gradient import rows_of
from sae_pipeline.kernels.gpu_step import Settings, Weights, Workspace, launch
from sae_pipeline.kernels.reference import NO_RULE, AdamSettings, Features, Lists, Residual, Rule
from sae_pipeline.machine.device import card_has_bf16, exact_fp32

_TILE = 1 << 13  # numbers of gathered rows that a program holds at a time: 32 KiB of registers


class TritonKernels:
    """The kernels of one CUDA device."""

    name = "triton"

    def __init__(self, device: torch.device) -> None:
        """`device` is the card, or with TRITON_INTERPRET=1 the CPU."""
        self.fast_bf16 = device.type != "cuda" or card_has_bf16(device)
        """Whether products in bf16 are so much faster that training uses them."""

    # --- products over lists ---------------------------------------------------------------------------------

    def compress(self, dense: Tensor) -> Lists:
        """See reference.compress."""
        return reference.compress(dense)

    def topk_rows(self, lists: Lists, k: int) -> Lists:
        """See reference.topk_rows."""
        return reference.topk_rows(lists, k)

    def transpose(self, lists: Lists, n_cols: int) -> tuple[Lists, Tensor]:
        """See reference.transpose."""
        return reference.transpose(lists, n_cols)

    def spmm(self, lists: Lists, weight: Tensor) -> Tensor:
        """See reference.spmm; fp32 or fp64."""
        ptr, cols, values, weight = (t.contiguous() for t in (*lists, weight))
        n, d = len(ptr) - 1, weight.shape[1]
        out = weight.new_empty(n, d)
        launch(_spmm, (n, triton.cdiv(d, 256)), ptr, cols, values, weight, out, d, 256, _entries(256))
        return out

    def sddmm(self, lists: Lists, a: Tensor, b: Tensor) -> Tensor:
        """See reference.sddmm; fp32 or fp64."""
        ptr, cols, a, b = (t.contiguous() for t in (lists.ptr, lists.cols, a, b.to(a.dtype)))
        out = a.new_empty(len(cols))
        launch(_sddmm, (len(ptr) - 1,), ptr, cols, a, b, out, a.shape[1], 256, _entries(256))
        return out

    def largest(self, dense: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """See reference.largest."""
        return reference.largest(dense, k)

    def most_alike(self, lists: Lists, n_cols: int, k: int, least: int = 1) -> tuple[Tensor, Tensor]:
        """See reference.most_alike."""
        return reference.most_alike(lists, n_cols, k, least)

    # --- the training step -----------------------------------------------------------------------------------

    def encode_by_feature(self, x: Tensor, W_enc: Tensor, b_enc: Tensor, threshold: Tensor | None = None) -> Lists:
        """See reference.encode_by_feature; products are in the dtype of x, fp32 or bf16, sums in fp32."""
        space = Workspace(len(x), W_enc.to(x.dtype))
        space.low.copy_(x)
        space.encode(W_enc.to(x.dtype).contiguous(), b_enc.contiguous(), space.zero if threshold is None else threshold)
        space.list_by_feature()
        return space.lists_by_feature()

    def residual(
        self, by_feature: Lists, W_dec: Tensor, b_dec: Tensor, x: Tensor, dtype: torch.dtype = torch.float32
    ) -> Residual:
        """See reference.residual; `dtype` is fp32 or bf16."""
        r = self.spmm(self.transpose(by_feature, len(x))[0], W_dec) + (b_dec - x)
        return Residual(r.to(dtype), r.mean(0), float(r.square().sum()))

    def update(
        self, by_feature: Lists, x: Tensor, r: Tensor, features: Features, adam: AdamSettings,
        rule: Rule = NO_RULE,
    ) -> None:  # fmt: skip
        """See reference.update; x and r are fp32 or bf16."""
        gradients = reference.row_gradients(self, by_feature, x, r, features.W_dec, adam.l1, rule)
        reference.step_rows(by_feature.ptr.diff() > 0, *gradients, features, adam)


@exact_fp32()
def agree(device: torch.device) -> bool:
    """Whether the kernels give the results of plain torch on this device, for one small step in each training dtype."""
    ours = TritonKernels(device)
    return all(_step_agrees(ours, device, dtype) for dtype in (torch.float32, torch.bfloat16)[: 1 + ours.fast_bf16])


def _step_agrees(ours: TritonKernels, device: torch.device, dtype: torch.dtype) -> bool:
    draw = torch.Generator().manual_seed(0)
    n, d, d_sae = 40, 24, 32
    x, W = (torch.randn(rows, d, generator=draw).to(device, dtype).float() for rows in (n, d_sae))
    zeros, threshold = torch.zeros(d_sae, device=device), torch.full((d_sae,), d**0.5, device=device)
    rows, adam = W / W.norm(dim=1, keepdim=True), AdamSettings(1e-2, 0.1, beta1=0.9, weight_decay=0.8)

    def fresh() -> Features:
        moments = (zeros.clone(), zeros.clone(), zeros.clone(), W * 0, W * 0, zeros.clone())
        return Features(W.clone(), rows.clone(), zeros.clone(), *moments, zeros.int())

    expected, features = fresh(), fresh()
    lists = reference.encode_by_feature(x, W, zeros, threshold)
    exact = reference.residual(lists, rows.to(dtype).float(), zeros[:d], x)
    reference.update(lists, x, x.flip(0), expected, adam)

    space = Workspace(n, W.to(dtype))
    low = (features.W_enc.to(dtype), features.W_dec.to(dtype))
    weights = Weights(features, *low, *torch.zeros(3, d, device=device))
    settings = torch.tensor(Settings(adam.lr, adam.l1, 0.0, 1.0, 0.0), device=device)
    space.low.copy_(x)
    space.encode(weights.W_enc, features.b_enc, threshold)
    space.list_by_token()
    space.list_by_feature()
    space.decode(x, weights, settings)
    space.finish(weights, settings)
    space.r[0].copy_(x.flip(0))
    space.update(weights, adam, settings)
    found = (*space.lists_by_feature(), space.figures[1], ours.residual(lists, rows, zeros[:d], x).r, *features)
    squared = space.figures.new_tensor(exact.squared)
    wanted = (*lists, squared, reference.residual(lists, rows, zeros[:d], x).r, *expected)
    return all(torch.allclose(a, b, rtol=1e-3, atol=1e-4) for a, b in zip(found, wanted, strict=True))


def _entries(width: int) -> int:
    """How many rows of `width` numbers a program gathers at a time."""
    return max(1, min(32, _TILE // width))


# --- kernels: one program per row -----------------------------------------------------------------------


@triton.jit
def _spmm(ptr, cols, values, weight, out, d, D: tl.constexpr, E: tl.constexpr):
    """Compute D numbers of one row of lists · weight, E entries at a time."""
    row, dim = tl.program_id(0), tl.program_id(1) * D + tl.arange(0, D)
    total = tl.zeros([D], out.dtype.element_ty)
    last = tl.load(ptr + row + 1)
    for start in range(tl.load(ptr + row), last, E):
        entry = start + tl.arange(0, E)
        on = entry < last
        value = tl.load(values + entry, on, 0.0).to(out.dtype.element_ty)
        total += tl.sum(value[:, None] * rows_of(weight, tl.load(cols + entry, on, 0), dim, d, on), 0)
    tl.store(out + row.to(tl.int64) * d + dim, total, dim < d)


@triton.jit
def _sddmm(ptr, cols, a, b, out, d, D: tl.constexpr, E: tl.constexpr):
    """Compute a[row] · b[col] at the entries of one row, E entries and D dimensions at a time."""
    row = tl.program_id(0)
    last = tl.load(ptr + row + 1)
    for start in range(tl.load(ptr + row), last, E):
        entry = start + tl.arange(0, E)
        on = entry < last
        col = tl.load(cols + entry, on, 0)
        total = tl.zeros([E], out.dtype.element_ty)
        for first in range(0, d, D):
            dim = first + tl.arange(0, D)
            own = tl.load(a + row.to(tl.int64) * d + dim, dim < d, 0.0)
            total += tl.sum(own[None, :] * rows_of(b, col, dim, d, on), 1)
        tl.store(out + entry, total, on)
