"""The kernels for CUDA, in Triton. reference.py documents what each function computes.

cuBLAS computes the encoder's dense product, in the dtype of x with fp32 sums, for a block of features at a time. The
kernels in this file follow the lists. One program computes each sum in one order, without atomic additions, so results
do not depend on timing. With TRITON_INTERPRET=1 the kernels run on the CPU, line by line, for the tests.
"""

from contextlib import nullcontext
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from sae_pipeline.kernels import reference
from sae_pipeline.kernels.reference import NO_RULE, AdamSettings, Features, Lists, Residual, Rule
from sae_pipeline.machine.device import card_has_bf16, exact_fp32

_BLOCK = 1 << 26  # numbers in a dense block of pre-activations: 256 MiB
_TILE = 1 << 13  # numbers of gathered rows that a program holds at a time: 32 KiB of registers
_TOKENS = tl.constexpr(1024)  # tokens of a row of pre-activations that a program reads at a time


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
        zeros = dense.new_zeros(len(dense), dtype=torch.float32)
        return _compress(dense.float().contiguous(), zeros, zeros)

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
        _launch(_spmm, (n, triton.cdiv(d, 256)), ptr, cols, values, weight, out, d, 256, _entries(256))
        return out

    def sddmm(self, lists: Lists, a: Tensor, b: Tensor) -> Tensor:
        """See reference.sddmm; fp32 or fp64."""
        ptr, cols, a, b = (t.contiguous() for t in (lists.ptr, lists.cols, a, b.to(a.dtype)))
        out = a.new_empty(len(cols))
        _launch(_sddmm, (len(ptr) - 1,), ptr, cols, a, b, out, a.shape[1], 256, _entries(256))
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
        W_enc, columns = W_enc.to(x.dtype), x.T
        threshold = torch.zeros_like(b_enc) if threshold is None else threshold.contiguous()
        step = max(1, _BLOCK // max(1, len(x)))
        blocks = zip(W_enc.split(step), b_enc.contiguous().split(step), threshold.split(step), strict=True)
        return reference.stack([_compress(_product(W, columns), b, low) for W, b, low in blocks])

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
        n, d = x.shape
        features.n_steps.add_(by_feature.ptr.diff() > 0)
        first, second = (1 - beta ** features.n_steps.double() for beta in (adam.beta1, adam.beta2))
        width = triton.next_power_of_2(d)
        empty = features.b_enc[:0]
        _launch(
            _update, (len(features.b_enc),),
            *by_feature, x.contiguous(), r.contiguous(), *features[:-1], first.float(), second.float(),
            *(empty if t is None else t for t in rule), n, d, adam.lr, adam.l1, adam.beta1, adam.beta2, adam.eps,
            adam.beta1 > 0, rule.gain is not None, rule.extra is not None, rule.slope is not None,
            width, _entries(width), num_warps=8,
        )  # fmt: skip


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
    rows = W / W.norm(dim=1, keepdim=True)
    r = x.flip(0)
    found: list[tuple[Tensor, ...]] = []
    for ops, low in ((reference, torch.float32), (ours, dtype)):
        moments = (zeros.clone(), zeros.clone(), zeros.clone(), W * 0, W * 0, zeros.clone())
        features = Features(W.clone(), rows.clone(), zeros.clone(), *moments, zeros.int())
        lists = ops.encode_by_feature(x.to(low), W, zeros, threshold)
        residual = ops.residual(lists, rows, zeros[:d], x)
        ops.update(lists, x.to(low), r.to(low), features, AdamSettings(1e-2, 0.1, beta1=0.9))
        found.append((lists.ptr, lists.cols, lists.values, residual.r, *features))
    return all(torch.allclose(a, b, rtol=1e-3, atol=1e-4) for a, b in zip(*found, strict=True))


def _entries(width: int) -> int:
    """How many rows of `width` numbers a program gathers at a time."""
    return max(1, min(32, _TILE // width))


def _launch(kernel: Any, grid: tuple[int, ...], *arguments: Any, **options: Any) -> None:
    """Run a kernel on the card of its first argument, which need not be the current one."""
    device = arguments[0].device
    with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
        kernel[grid](*arguments, **options)


def _product(W: Tensor, columns: Tensor) -> Tensor:
    """W [n_features, d] · columns [d, n_tokens] in fp32."""
    if W.dtype is torch.float32:
        return W @ columns
    return torch.mm(W, columns, out_dtype=torch.float32) if W.is_cuda else W.float() @ columns.float()


def _compress(pre: Tensor, b_enc: Tensor, threshold: Tensor) -> Lists:
    """The entries of pre [n_features, n_tokens] + b_enc above `threshold` [n_features], as lists by feature."""
    n_features, n = pre.shape
    counts = torch.empty(n_features, dtype=torch.int32, device=pre.device)
    _launch(_count, (n_features,), pre, b_enc, threshold, counts, n)
    ptr = torch.zeros(n_features + 1, dtype=torch.int64, device=pre.device)
    torch.cumsum(counts, 0, out=ptr[1:])
    nnz = int(ptr[-1])
    cols, values = counts.new_empty(nnz), pre.new_empty(nnz)
    _launch(_fill, (n_features,), pre, b_enc, threshold, ptr, cols, values, n)
    return Lists(ptr, cols, values)


# --- kernels: one program per row -----------------------------------------------------------------------


@triton.jit
def _count(pre, b_enc, threshold, counts, n):
    """counts[i] = number of entries in row i of pre [n_rows, n] with pre + b_enc[i] > threshold[i]."""
    row = tl.program_id(0)
    b, low = tl.load(b_enc + row), tl.load(threshold + row)
    found = tl.zeros([_TOKENS], tl.int32)
    for start in range(0, n, _TOKENS):
        token = start + tl.arange(0, _TOKENS)
        value = tl.load(pre + row.to(tl.int64) * n + token, token < n, float("-inf")) + b
        found += (value > low).to(tl.int32)
    tl.store(counts + row, tl.sum(found))


@triton.jit
def _fill(pre, b_enc, threshold, ptr, cols, values, n):
    """Write the entries that `_count` counts to cols and values, those of row i from ptr[i] on."""
    row = tl.program_id(0)
    b, low, at = tl.load(b_enc + row), tl.load(threshold + row), tl.load(ptr + row)
    for start in range(0, n, _TOKENS):
        token = start + tl.arange(0, _TOKENS)
        value = tl.load(pre + row.to(tl.int64) * n + token, token < n, float("-inf")) + b
        on = value > low
        place = at + tl.cumsum(on.to(tl.int32), 0) - 1
        tl.store(cols + place, token, on)
        tl.store(values + place, value, on)
        at += tl.sum(on.to(tl.int32))


@triton.jit
def _rows(matrix, row, dim, d, on):
    """matrix[row, dim] of vectors row and dim in its dtype, 0 where `on` is false or dim ≥ d: [len(row), len(dim)]."""
    return tl.load(matrix + row.to(tl.int64)[:, None] * d + dim[None, :], on[:, None] & (dim < d)[None, :], 0.0)


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
        total += tl.sum(value[:, None] * _rows(weight, tl.load(cols + entry, on, 0), dim, d, on), 0)
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
            total += tl.sum(own[None, :] * _rows(b, col, dim, d, on), 1)
        tl.store(out + entry, total, on)


@triton.jit
def _delta(g, m, v, c1, c2, d, lr, beta1, beta2, eps, at, inside, momentum: tl.constexpr, row):
    """The optimiser's step for the gradient g of one row; updates its moments. See sae/kinds/engine.py."""
    square = tl.sum(g * g) / d
    moment = beta2 * tl.load(v + row) + (1 - beta2) * square
    tl.debug_barrier()  # all threads have read v before one of them writes it
    tl.store(v + row, moment)
    if momentum:
        g = beta1 * tl.load(m + at, inside, 0.0) + (1 - beta1) * g
        tl.store(m + at, g, inside)
        g /= c1
    return lr / (tl.sqrt(tl.maximum(moment / c2, square)) + eps) * g


@triton.jit
def _update(
    ptr, cols, values, x, r, W_enc, W_dec, b_enc, v_enc, v_dec, v_b, m_enc, m_dec, m_b, correct1, correct2,
    gain, extra, slope, n, d, lr, l1, beta1, beta2, eps,
    momentum: tl.constexpr, has_gain: tl.constexpr, has_extra: tl.constexpr, has_slope: tl.constexpr,
    D: tl.constexpr, E: tl.constexpr,
):  # fmt: skip
    """Sum the gradients of one feature over its entries, E at a time, and take the optimiser's step."""
    row, dim = tl.program_id(0), tl.arange(0, D)
    first, last = tl.load(ptr + row), tl.load(ptr + row + 1)
    if last > first:
        inside = dim < d
        at = row.to(tl.int64) * d + dim
        w = tl.load(W_dec + at, inside, 0.0)
        g_enc, g_dec, g_b = tl.zeros([D], tl.float32), tl.zeros([D], tl.float32), tl.zeros([E], tl.float32)
        for start in range(first, last, E):
            entry = start + tl.arange(0, E)
            on = entry < last
            token = tl.load(cols + entry, on, 0)
            r_rows = _rows(r, token, dim, d, on).to(tl.float32)
            g = 2.0 / n * tl.sum(r_rows * w[None, :], 1)
            if has_slope:
                tl.store(slope + entry, g, on)
            if has_gain:
                g *= tl.load(gain + entry, on, 0.0)
            if has_extra:
                g += tl.load(extra + entry, on, 0.0)
            else:
                g += tl.where(on, l1 / n, 0.0)
            g_b += g
            g_enc += tl.sum(g[:, None] * _rows(x, token, dim, d, on).to(tl.float32), 0)
            g_dec += tl.sum((2.0 / n * tl.load(values + entry, on, 0.0))[:, None] * r_rows, 0)
        c1, c2 = tl.load(correct1 + row), tl.load(correct2 + row)
        g_dec -= tl.sum(g_dec * w) * w
        w -= _delta(g_dec, m_dec, v_dec, c1, c2, d, lr, beta1, beta2, eps, at, inside, momentum, row)
        tl.store(W_dec + at, w / tl.sqrt(tl.sum(w * w)), inside)
        w = tl.load(W_enc + at, inside, 0.0)
        w -= _delta(g_enc, m_enc, v_enc, c1, c2, d, lr, beta1, beta2, eps, at, inside, momentum, row)
        tl.store(W_enc + at, w, inside)
        g = tl.sum(g_b)
        moment = beta2 * tl.load(v_b + row) + (1 - beta2) * g * g
        tl.store(v_b + row, moment)
        root = tl.sqrt(tl.maximum(moment / c2, g * g)) + eps
        if momentum:
            g = beta1 * tl.load(m_b + row) + (1 - beta1) * g
            tl.store(m_b + row, g)
            g /= c1
        tl.store(b_enc + row, tl.load(b_enc + row) - lr / root * g)
