"""The compiled kernels for the CPU, called through ctypes. reference.py documents what each function computes.

Tensors are fp32 and contiguous unless a function says otherwise; other layouts are copied.
"""

import ctypes
import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import c_double, c_float, c_int64, c_void_p
from typing import Any

import torch
from torch import Tensor

from sae_pipeline.kernels.build import BuildError, load
from sae_pipeline.kernels.reference import NO_RULE, AdamSettings, Features, Lists, Residual, Rule, stack

HAS_AVX2, HAS_AVX512, HAS_AMX, HAS_VNNI, HAS_NEON, HAS_DOTPROD, HAS_I8MM, HAS_AVXVNNI = (1 << bit for bit in range(8))
_CHUNK = 1 << 21  # numbers in a dense block of pre-activations: 8 MiB, which are still in cache when compressed
_INT8 = {
    "avx512": {"vnni": HAS_VNNI, "avx512": HAS_AVX512},
    "avxvnni": {"avxvnni": HAS_AVXVNNI},
    "avx2": {"avx2": HAS_AVX2},
    "neon": {"i8mm": HAS_I8MM, "dotprod": HAS_DOTPROD},
}
"""The int8 encoders of each instruction set, best first, and the bits that they require."""
# The share of active entries up to which the int8 encoder is the faster one. On ARM64, bytes are as much faster as with
# VNNI, so it is assumed to be the same there; with AVX-VNNI it is assumed to lie between AVX2's and VNNI's.
_SPARSE = {"avx2": 0.06, "avx512": 0.06, "avxvnni": 0.12, "vnni": 0.25, "i8mm": 0.25, "dotprod": 0.25}
_SUFFIX = {torch.float32: "f32", torch.bfloat16: "bf16", torch.float64: "f64"}

path_counts: Counter[str] = Counter()
"""How often each path ran, e.g. {"step.sparse.amx": 490, "step.dense.cpu": 2}: it shows where slow paths were taken."""


class _Features(ctypes.Structure):
    _fields_ = tuple((name, c_void_p) for name in (*Features._fields, "tiles"))


class _Rule(ctypes.Structure):
    _fields_ = tuple((name, c_void_p) for name in Rule._fields)


class _Adam(ctypes.Structure):
    _fields_ = tuple((name, c_float) for name in AdamSettings._fields)


def _at(tensor: Tensor | None) -> c_void_p:
    """The address of a tensor's numbers; null for None."""
    return c_void_p(None if tensor is None else tensor.data_ptr())


def cpu_features() -> int:
    """What this CPU can run, as the bits HAS_…. Raises BuildError without a compiler."""
    return int(load().cpu_features())


@contextmanager
def a_core_for_each_thread() -> Iterator[None]:
    """Keep each thread of the kernels on a core of its own inside the context, if there are as many threads as cores.

    A training step waits for its slowest thread several times. Beside a busy program, threads that the system moves
    from core to core wait longer (`make bench-sae` prints `busy_neighbour_factor`). Only Linux can do this; elsewhere,
    or without a compiler, threads move as ever. Threads and processes that start inside stay on the first core.
    """
    cores = sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else []
    try:
        place = load().place_threads if len(cores) == torch.get_num_threads() > 1 else None
    except BuildError:
        place = None
    if place is None:
        yield
        return
    numbers, n = (c_int64 * len(cores))(*cores), c_int64(len(cores))
    place(numbers, n, 1)
    try:
        yield
    finally:
        place(numbers, n, 0)


class CpuKernels:
    """The kernels of one instruction set."""

    def __init__(self, isa: str, amx: bool = False) -> None:
        """`isa` is one of backend.CPU_REQUIREMENTS but amx; `amx` adds the encoder on AMX tiles, which needs avx512."""
        self.name = "amx" if amx else isa
        self.amx = amx
        # ARM64's own compiler makes NEON of the plain ones. AVX-VNNI is AVX2 with another encoder.
        self._isa = {"neon": "plain", "avxvnni": "avx2"}.get(isa, isa)
        self._lib = load()
        self.threads = bool(self._lib.has_openmp())
        has = self._lib.cpu_features()  # this call also requests the tile registers from the operating system
        self.int8_encoders = [name for name, bit in _INT8.get(isa, {}).items() if has & bit]  # best first
        if amx:
            self._lib.amx_encode.restype = c_int64

    def _call(self, name: str, *arguments: Any) -> None:
        getattr(self._lib, f"{name}_{self._isa}")(*arguments)

    # --- products over lists ---------------------------------------------------------------------------------

    def compress(self, dense: Tensor) -> Lists:
        """See reference.compress."""
        dense = dense.contiguous()
        n, width = dense.shape
        ptr = torch.zeros(n + 1, dtype=torch.int64)
        self._call("count_positive", _at(dense), c_int64(n), c_int64(width), _at(ptr[1:]))
        ptr.cumsum_(0)
        nnz = int(ptr[-1])
        cols, values = torch.empty(nnz, dtype=torch.int32), torch.empty(nnz)
        self._call("compress", _at(dense), c_int64(n), c_int64(width), _at(ptr), _at(cols), _at(values))
        return Lists(ptr, cols, values)

    def topk_rows(self, lists: Lists, k: int) -> Lists:
        """See reference.topk_rows."""
        source, cols, values = (t.contiguous() for t in lists)
        ptr = torch.zeros_like(source)
        torch.cumsum(source.diff().clamp_(max=k), 0, out=ptr[1:])
        out = Lists(ptr, cols.new_empty(int(ptr[-1])), values.new_empty(int(ptr[-1])))
        n = len(ptr) - 1
        self._call("topk_rows", _at(source), _at(cols), _at(values), c_int64(n), c_int64(k), *(_at(t) for t in out))
        return out

    def transpose(self, lists: Lists, n_cols: int) -> tuple[Lists, Tensor]:
        """See reference.transpose."""
        ptr, n_rows = lists.ptr.contiguous(), len(lists.ptr) - 1
        cols = lists.cols.contiguous()
        by_col = torch.empty(n_cols + 1, dtype=torch.int64)
        rows = torch.empty_like(cols)
        order = torch.empty(len(cols), dtype=torch.int64)
        self._call(
            "transpose", _at(ptr), _at(cols), c_int64(n_rows), c_int64(n_cols), _at(by_col), _at(rows), _at(order)
        )
        return Lists(by_col, rows, lists.values[order]), order

    def spmm(self, lists: Lists, weight: Tensor) -> Tensor:
        """See reference.spmm; fp32 or fp64."""
        weight, values = weight.contiguous(), lists.values.to(weight.dtype).contiguous()
        ptr, cols = lists.ptr.contiguous(), lists.cols.contiguous()
        n, d = len(ptr) - 1, weight.shape[1]
        out = weight.new_empty(n, d)
        name = f"spmm_{_SUFFIX[weight.dtype]}"
        self._call(name, _at(ptr), _at(cols), _at(values), _at(weight), c_int64(n), c_int64(d), _at(out))
        return out

    def sddmm(self, lists: Lists, a: Tensor, b: Tensor) -> Tensor:
        """See reference.sddmm; fp32 or fp64."""
        a, b = a.contiguous(), b.to(a.dtype).contiguous()
        ptr, cols = lists.ptr.contiguous(), lists.cols.contiguous()
        out = a.new_empty(len(cols))
        n, d = a.shape
        name = f"sddmm_{_SUFFIX[a.dtype]}"
        self._call(name, _at(ptr), _at(cols), _at(a), _at(b), c_int64(n), c_int64(d), _at(out))
        return out

    def largest(self, dense: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """See reference.largest."""
        dense = dense.contiguous()
        n, width = dense.shape
        found, values = torch.empty(n, k, dtype=torch.int32), torch.empty(n, k)
        self._call("largest", _at(dense), c_int64(n), c_int64(width), c_int64(k), _at(found), _at(values))
        return found, values

    def most_alike(self, lists: Lists, n_cols: int, k: int, least: int = 1) -> tuple[Tensor, Tensor]:
        """See reference.most_alike."""
        by_col, _ = self.transpose(lists, n_cols)
        ptr, cols, rows = lists.ptr.contiguous(), lists.cols.contiguous(), by_col.cols.contiguous()
        alike, jaccard = torch.empty(n_cols, k, dtype=torch.int32), torch.empty(n_cols, k)
        self._call(
            "most_alike", _at(ptr), _at(cols), _at(by_col.ptr), _at(rows), c_int64(len(ptr) - 1), c_int64(n_cols),
            c_int64(least), c_int64(k), _at(alike), _at(jaccard),
        )  # fmt: skip
        return alike, jaccard

    # --- the training step -----------------------------------------------------------------------------------

    @property
    def fast_bf16(self) -> bool:
        """Whether products in bf16 are so much faster that training uses them."""
        return self.amx

    @property
    def preselects(self) -> bool:
        """Whether a fast, coarse product finds the entries that may be active, so that fp32 computes only those."""
        return bool(self.int8_encoders)

    def encode_by_feature(self, x: Tensor, W_enc: Tensor, b_enc: Tensor, threshold: Tensor | None = None) -> Lists:
        """See reference.encode_by_feature. 8-bit integers preselect the entries where the CPU is fast at them."""
        lists = self.encode_int8(x, W_enc, b_enc, threshold)
        path_counts["encode.dense" if lists is None else "encode.preselected"] += 1
        return self._encode_dense(x, W_enc, b_enc, threshold) if lists is None else lists

    def encode_int8(
        self, x: Tensor, W_enc: Tensor, b_enc: Tensor, threshold: Tensor | None = None, encoder: str | None = None
    ) -> Lists | None:
        """`encode_by_feature` by preselection in 8-bit integers; the values are computed in fp32.

        None where the CPU is not fast at it, and where so many entries are or may be active that a dense product is.
        `encoder` is one of `int8_encoders`, by default the best.
        """
        if not self.int8_encoders:
            return None
        encoder = encoder or self.int8_encoders[0]
        x, W_enc, b_enc = x.contiguous(), W_enc.contiguous(), b_enc.contiguous()
        threshold = None if threshold is None else threshold.contiguous()
        (n, d), d_sae = x.shape, len(b_enc)
        capacity = int(_SPARSE[encoder] * n * d_sae) + n
        ptr = torch.empty(d_sae + 1, dtype=torch.int64)
        cols, values = torch.empty(capacity, dtype=torch.int32), torch.empty(capacity)
        encode = getattr(self._lib, f"int8_encode_{encoder}")
        encode.restype = c_int64
        nnz = encode(
            _at(x), _at(W_enc), _at(b_enc), _at(threshold), c_int64(n), c_int64(d), c_int64(d_sae),
            _at(ptr), _at(cols), _at(values), c_int64(capacity),
        )  # fmt: skip
        return None if nnz < 0 else Lists(ptr, cols[:nnz], values[:nnz])

    def _encode_dense(self, x: Tensor, W_enc: Tensor, b_enc: Tensor, threshold: Tensor | None) -> Lists:
        """`encode_by_feature` by dense products, for blocks of features that stay in cache."""
        if threshold is not None:
            lists = self._encode_dense(x, W_enc, b_enc - threshold, None)
            return lists._replace(values=lists.values + threshold.repeat_interleave(lists.ptr.diff()))
        step = max(64, _CHUNK // max(1, len(x)))
        x = x.T
        blocks = zip(W_enc.split(step), b_enc.split(step), strict=True)
        return stack([self.compress(torch.addmm(b[:, None], W, x)) for W, b in blocks])

    def tiles(self, W_enc: Tensor) -> Tensor:
        """W_enc [d_sae, d_in] rounded to bf16, in the layout that `encode_tiles` reads."""
        d_sae, d = W_enc.shape
        tiles = torch.zeros(-(-d_sae // 32) * 2 * -(-d // 32), 16, 32, dtype=torch.bfloat16)
        self._call("tile", _at(W_enc), c_int64(d_sae), c_int64(d), _at(tiles))
        return tiles

    def pack(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x [n_tokens, d_in] rounded to bf16: in its own layout, and in the one that `encode_tiles` reads."""
        x = x.contiguous()
        n, d = x.shape
        x16 = torch.empty(n, d, dtype=torch.bfloat16)
        packed = torch.empty(-(-n // 32) * 2 * -(-d // 32), 16, 32, dtype=torch.bfloat16)
        self._lib.amx_pack(_at(x), c_int64(n), c_int64(d), _at(x16), _at(packed))
        return x16, packed

    def encode_tiles(
        self, packed: Tensor, n: int, d: int, tiles: Tensor, b_enc: Tensor, capacity: int,
        threshold: Tensor | None = None,
    ) -> Lists | None:  # fmt: skip
        """`encode_by_feature` on AMX tiles: bf16 products, fp32 sums. None above `capacity` entries.

        `packed` comes from `pack` for x [n, d], `tiles` from `tiles`.
        """
        ptr = torch.empty(len(b_enc) + 1, dtype=torch.int64)
        cols, values = torch.empty(capacity, dtype=torch.int32), torch.empty(capacity)
        nnz = self._lib.amx_encode(
            _at(tiles), c_int64(d), _at(b_enc), _at(threshold), _at(packed), c_int64(n), c_int64(len(b_enc)),
            _at(ptr), _at(cols), _at(values), c_int64(capacity),
        )  # fmt: skip
        return None if nnz < 0 else Lists(ptr, cols[:nnz], values[:nnz])

    def refine(self, found: Lists, x: Tensor, W_enc: Tensor, b_enc: Tensor, threshold: Tensor) -> Lists:
        """Compute the listed entries in fp32 and keep those above `threshold`; overwrites `found`, lists by feature.

        x [n_tokens, d_in], W_enc [d_sae, d_in], b_enc and threshold [d_sae], all contiguous.
        """
        ptr, cols, values = found
        n_features, d = W_enc.shape
        self._call(
            "refine", _at(ptr), _at(cols), _at(values), _at(x), _at(W_enc), _at(b_enc), _at(threshold),
            c_int64(n_features), c_int64(d),
        )  # fmt: skip
        nnz = int(ptr[-1])
        return Lists(ptr, cols[:nnz], values[:nnz])

    def residual(
        self, by_feature: Lists, W_dec: Tensor, b_dec: Tensor, x: Tensor, dtype: torch.dtype = torch.float32
    ) -> Residual:
        """See reference.residual; `dtype` is fp32 or bf16."""
        x = x.contiguous()
        n, d = x.shape
        r, mean, squared = torch.empty(n, d, dtype=dtype), torch.empty(d), c_double()
        self._call(
            f"residual_{_SUFFIX[dtype]}", _at(by_feature.ptr), _at(by_feature.cols), _at(by_feature.values),
            _at(W_dec), _at(b_dec), _at(x), c_int64(n), c_int64(d), c_int64(len(W_dec)), _at(r), _at(mean),
            ctypes.byref(squared),
        )  # fmt: skip
        return Residual(r, mean, squared.value)

    def update(
        self, by_feature: Lists, x: Tensor, r: Tensor, features: Features, adam: AdamSettings,
        rule: Rule = NO_RULE, tiles: Tensor | None = None,
    ) -> None:  # fmt: skip
        """See reference.update; x and r are both fp32 or both bf16. `tiles`, if given, follow the changes of W_enc."""
        x = x.contiguous()
        n, d = x.shape
        self._call(
            f"update_{_SUFFIX[x.dtype]}", _at(by_feature.ptr), _at(by_feature.cols), _at(by_feature.values),
            _at(x), _at(r), c_int64(n), c_int64(d), c_int64(len(features.b_enc)),
            ctypes.byref(_Features(*(_at(t) for t in (*features, tiles)))), ctypes.byref(_Adam(*adam)),
            ctypes.byref(_Rule(*(_at(t) for t in rule))),
        )  # fmt: skip
