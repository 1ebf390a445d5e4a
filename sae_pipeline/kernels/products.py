"""The encoder for many tokens, and products over ragged lists with their gradients, on the chosen backend."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sae_pipeline.kernels import reference
from sae_pipeline.kernels.backend import choose
from sae_pipeline.kernels.cpu import CpuKernels, path_counts
from sae_pipeline.kernels.reference import Lists, stack
from sae_pipeline.machine.device import wants

_TOKENS = 1024  # tokens in a block that is preselected, so that they stay in cache
_MANY = 256  # tokens in one call that make a second copy of W_enc worth its time


class Encoder:
    """Lists the active entries of x · W_enc + b_enc by token, in fp32 and bounded memory.

    An entry is active where it is above its feature's threshold. Where k is given, only the k largest of each token
    are; among equals the lower feature comes first. Make one encoder for many calls.

    Where the CPU has a fast product of low precision (bf16 on AMX, else 8-bit integers), that product first finds the
    entries that can be active, and only those are computed in fp32. By Cauchy-Schwarz, x · w lies within
    ‖x − x̃‖·‖w‖ + ‖x̃‖·‖w − w̃‖ of the rounded product x̃ · w̃.
    """

    def __init__(
        self,
        W_enc: Tensor,
        b_enc: Tensor,
        threshold: Tensor | None = None,
        k: int | None = None,
        backend: str | None = None,
    ) -> None:
        """W_enc [d_in, d_sae], b_enc and `threshold` [d_sae] (None: 0); they must not change afterwards."""
        self._W_enc, self._b_enc, self._k = W_enc, b_enc.contiguous(), k
        self._threshold = torch.zeros_like(b_enc) if threshold is None else threshold.contiguous()
        self._kernels = choose(backend, W_enc.device)
        self._rows: Tensor | None = None  # W_enc [d_sae, d_in], made when a first call has many tokens
        self._rounded: _Rounded | None = None

    def __call__(self, x: Tensor) -> Lists:
        """The active entries of x [n_tokens, d_in]."""
        topk_rows = (self._kernels or reference).topk_rows
        kernels = self._kernels if isinstance(self._kernels, CpuKernels) and self._kernels.preselects else None
        many = len(x) >= (_MANY if self._rows is None else 1)
        blocks = self._preselected(x, kernels) if kernels is not None and many else self._dense(x)
        return stack([block if self._k is None else topk_rows(block, self._k) for block in blocks])

    def _dense(self, x: Tensor) -> Iterator[Lists]:
        """Encode block by block with dense products."""
        path_counts["encode.dense"] += 1
        compress = (self._kernels or reference).compress
        bias = self._b_enc - self._threshold
        for block in x.split(max(16, wants(x.device).block // len(bias))):
            lists = compress(torch.addmm(bias, block, self._W_enc))
            yield lists._replace(values=lists.values + self._threshold[lists.cols])

    def _preselected(self, x: Tensor, kernels: CpuKernels) -> Iterator[Lists]:
        """Encode block by block; fp32 computes only the entries that can be active."""
        path_counts["encode.preselected"] += 1
        if self._rows is None:
            self._rows = self._W_enc.T.contiguous()
        for block in x.split(_TOKENS):
            block = block.contiguous()
            if kernels.amx:
                lists = self._encode_bf16(kernels, self._rows, block)
            else:
                lists = kernels.encode_int8(block, self._rows, self._b_enc, self._threshold)
            if lists is None:  # too many can be active
                yield from self._dense(block)
            else:
                yield kernels.transpose(lists, len(block))[0]

    def _encode_bf16(self, kernels: CpuKernels, rows: Tensor, x: Tensor) -> Lists | None:
        """The active entries of a block as lists by feature; None where too many can be active."""
        self._rounded = self._rounded or _Rounded.of(kernels, rows)
        low = self._threshold - self._rounded.margin(x, self._b_enc.abs() + self._threshold.abs())
        n, d = x.shape
        room = n * len(low) // 8
        found = kernels.encode_tiles(kernels.pack(x)[1], n, d, self._rounded.tiles, self._b_enc, room, low)
        return None if found is None else kernels.refine(found, x, rows, self._b_enc, self._threshold)


class _Rounded(NamedTuple):
    """W_enc rounded to bf16 for the preselection, and the size of the rounding."""

    tiles: Tensor  # see CpuKernels.tiles
    norm: Tensor  # [d_sae] ‖w‖
    error: Tensor  # [d_sae] ‖w − w̃‖

    @classmethod
    def of(cls, kernels: CpuKernels, rows: Tensor) -> "_Rounded":
        """Round W_enc [d_sae, d_in]."""
        return cls(kernels.tiles(rows), rows.norm(dim=1), (rows - rows.bfloat16()).norm(dim=1))

    def margin(self, x: Tensor, offset: Tensor) -> Tensor:
        """How far each feature's bf16 product can be below the exact one for any of these tokens; [d_sae].

        `offset` [d_sae] bounds the size of the bias and threshold that are added to the product.
        """
        error, norm = (x - x.bfloat16()).norm(dim=1).max(), x.norm(dim=1).max()
        rounding = x.shape[1] * 2.0**-23  # of the fp32 sums, here and in the exact product
        margin: Tensor = error * self.norm + (norm + error) * self.error + rounding * (norm * self.norm + offset)
        return margin.nan_to_num(nan=torch.inf)  # a token holds NaN or infinity: every entry is computed


def spmm(lists: Lists, weight: Tensor, backend: str | None = None) -> Tensor:
    """Sparse · dense [n_rows, d]; see reference.spmm."""
    return _on(weight, backend).spmm(lists, weight)  # type: ignore[no-any-return]


def sddmm(lists: Lists, a: Tensor, b: Tensor, backend: str | None = None) -> Tensor:
    """Dense · denseᵀ at the listed entries [nnz]; see reference.sddmm."""
    return _on(a, backend).sddmm(lists, a, b)  # type: ignore[no-any-return]


def transpose(lists: Lists, n_cols: int, backend: str | None = None) -> tuple[Lists, Tensor]:
    """The lists by column, and the index of every entry in the old ones; see reference.transpose."""
    return _on(lists.ptr, backend).transpose(lists, n_cols)  # type: ignore[no-any-return]


def largest(dense: Tensor, k: int, backend: str | None = None) -> tuple[Tensor, Tensor]:
    """The k largest numbers of each row, largest first; see reference.largest."""
    return _on(dense, backend).largest(dense, k)  # type: ignore[no-any-return]


def most_alike(lists: Lists, n_cols: int, k: int, least: int = 1, backend: str | None = None) -> tuple[Tensor, Tensor]:
    """The most similar columns of a 0/1 matrix by Jaccard index; see reference.most_alike."""
    return _on(lists.ptr, backend).most_alike(lists, n_cols, k, least)  # type: ignore[no-any-return]


def sparse_decode(lists: Lists, values: Tensor, W_dec: Tensor, backend: str | None = None) -> Tensor:
    """f · W_dec [n_rows, d_in], where f is `values` [nnz] at the listed entries; differentiable in both."""
    return _SparseDecode.apply(lists.ptr, lists.cols, values, W_dec, backend)  # type: ignore[no-untyped-call,no-any-return]


def _on(tensor: Tensor, backend: str | None) -> Any:
    """The kernels for the device of a tensor, or their plain-torch twins."""
    return choose(backend, tensor.device) or reference


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
