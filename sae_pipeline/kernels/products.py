"""Products over ragged lists, on the chosen backend, and their gradients."""

from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor

from . import reference
from .backend import choose, path_counts
from .reference import Lists

_BLOCK = 1 << 24  # numbers in the dense block of encode_csr: 64 MiB


def encode_csr(
    x: Tensor,
    W_enc: Tensor,
    b_enc: Tensor,
    precision: Literal["fp32", "bf16"] = "fp32",
    backend: str | None = None,
    *,
    threshold: Tensor | None = None,
    k: int | None = None,
) -> Lists:
    """pre = x · W_enc + b_enc as lists by token, in bounded memory. x [n, d_in], W_enc [d_in, d_sae], b_enc [d_sae].

    Listed are the entries above `threshold` [d_sae] (None: 0), and of each token only the `k` largest where k is
    given (equals by feature). "fp32" is exact; "bf16" rounds x and W_enc, about 0.3 % on an activation, where the CPU
    has AMX (else fp32).
    """
    kernels = choose(backend) if x.device.type == "cpu" else None
    amx = kernels is not None and kernels.amx and precision == "bf16"
    zeros = torch.zeros_like(b_enc) if threshold is None else threshold
    blocks = _bf16_blocks(kernels, x, W_enc, b_enc, zeros) if amx else _fp32_blocks(kernels, x, W_enc, b_enc, zeros)
    topk_rows = (kernels or reference).topk_rows
    parts = [block if k is None else topk_rows(block, k) for block in blocks]
    path_counts[f"encode.{'amx' if amx else kernels.name if kernels else 'reference'}"] += 1
    return _join(parts, x)


def _fp32_blocks(kernels: Any, x: Tensor, W_enc: Tensor, b_enc: Tensor, threshold: Tensor) -> Iterator[Lists]:
    compress = (kernels or reference).compress
    bias = b_enc - threshold
    for block in x.split(max(16, _BLOCK // W_enc.shape[1])):
        lists = compress(torch.addmm(bias, block, W_enc))
        yield lists._replace(values=lists.values + threshold[lists.cols])


def _bf16_blocks(kernels: Any, x: Tensor, W_enc: Tensor, b_enc: Tensor, threshold: Tensor) -> Iterator[Lists]:
    tiles, bias, threshold = kernels.tiles(W_enc.T.contiguous()), b_enc.contiguous(), threshold.contiguous()
    for block in x.split(1024):
        n, d = block.shape
        packed = kernels.pack(block)[1]
        lists = kernels.encode_tiles(packed, n, d, tiles, bias, n * len(bias), threshold)
        yield kernels.transpose(lists, n)[0]


def _join(parts: list[Lists], like: Tensor) -> Lists:
    counts = [part.ptr.diff() for part in parts]
    ptr = torch.cat([torch.zeros(1, dtype=torch.int64, device=like.device), *counts]).cumsum(0)
    if not parts:
        return Lists(ptr, torch.zeros(0, dtype=torch.int32, device=like.device), like.new_zeros(0))
    return Lists(ptr, torch.cat([part.cols for part in parts]), torch.cat([part.values for part in parts]))


def spmm(lists: Lists, weight: Tensor, backend: str | None = None) -> Tensor:
    """Sparse · dense [n_rows, d]; see reference.spmm."""
    return _on(weight, backend).spmm(lists, weight)  # type: ignore[no-any-return]


def sddmm(lists: Lists, a: Tensor, b: Tensor, backend: str | None = None) -> Tensor:
    """Dense · denseᵀ at the lists' places [nnz]; see reference.sddmm."""
    return _on(a, backend).sddmm(lists, a, b)  # type: ignore[no-any-return]


def transpose(lists: Lists, n_cols: int, backend: str | None = None) -> tuple[Lists, Tensor]:
    """The lists by column, and every entry's place in the old ones; see reference.transpose."""
    return _on(lists.ptr, backend).transpose(lists, n_cols)  # type: ignore[no-any-return]


def largest(dense: Tensor, k: int, backend: str | None = None) -> tuple[Tensor, Tensor]:
    """The k largest of each row, largest first; see reference.largest."""
    return _on(dense, backend).largest(dense, k)  # type: ignore[no-any-return]


def most_alike(lists: Lists, n_cols: int, k: int, least: int = 1, backend: str | None = None) -> tuple[Tensor, Tensor]:
    """The most similar columns of a 0/1 matrix by Jaccard index; see reference.most_alike."""
    return _on(lists.ptr, backend).most_alike(lists, n_cols, k, least)  # type: ignore[no-any-return]


def sparse_decode(lists: Lists, values: Tensor, W_dec: Tensor, backend: str | None = None) -> Tensor:
    """f · W_dec [n_rows, d_in] with f given by `lists`' places and `values` [nnz]; differentiable in both."""
    return _SparseDecode.apply(lists.ptr, lists.cols, values, W_dec, backend)  # type: ignore[no-untyped-call,no-any-return]


def _on(tensor: Tensor, backend: str | None) -> Any:
    return (choose(backend) if tensor.device.type == "cpu" else None) or reference


class _SparseDecode(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, ptr: Tensor, cols: Tensor, values: Tensor, W_dec: Tensor, backend: str | None) -> Tensor:
        ctx.save_for_backward(ptr, cols, values, W_dec)
        ctx.backend = backend
        return spmm(Lists(ptr, cols, values), W_dec, backend)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, None, Tensor, Tensor, None]:
        ptr, cols, values, W_dec = ctx.saved_tensors
        lists = Lists(ptr, cols, values)
        by_feature, _ = transpose(lists, len(W_dec), ctx.backend)
        return None, None, sddmm(lists, grad, W_dec, ctx.backend), spmm(by_feature, grad, ctx.backend), None
