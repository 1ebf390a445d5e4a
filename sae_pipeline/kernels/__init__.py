"""Sparse products, and the parts of fast training steps for SAEs. They take and return tensors only.

The analysis uses `Encoder`, the end-to-end finish `sparse_decode`, and the training steps in sae/kinds/ the kernels
that `choose` returns. Every kernel has a plain-torch twin in reference.py. Nothing is compiled before the first call.
"""

from sae_pipeline.kernels.backend import choose, plain_because
from sae_pipeline.kernels.cpu import CpuKernels, a_core_for_each_thread, path_counts
from sae_pipeline.kernels.products import Encoder, largest, most_alike, sddmm, sparse_decode, spmm, transpose
from sae_pipeline.kernels.reference import (
    NO_RULE,
    AdamSettings,
    BatchSums,
    Features,
    Lists,
    Residual,
    Rule,
    keep,
    sum_rows,
)

__all__ = [
    "NO_RULE",
    "AdamSettings",
    "BatchSums",
    "CpuKernels",
    "Encoder",
    "Features",
    "Lists",
    "Residual",
    "Rule",
    "a_core_for_each_thread",
    "choose",
    "keep",
    "largest",
    "most_alike",
    "path_counts",
    "plain_because",
    "sddmm",
    "sparse_decode",
    "spmm",
    "sum_rows",
    "transpose",
]
