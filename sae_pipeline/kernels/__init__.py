"""Sparse products and the fast training step for SAEs. Tensors only; nothing here knows of files or configs.

`SparseStep` trains; `encode_csr` and `sparse_decode` serve the analysis. Every kernel has a plain-torch twin in
reference.py; backend.py chooses. Nothing is compiled before the first call.
"""

from .backend import choose, path_counts
from .products import encode_csr, sddmm, sparse_decode, spmm, transpose
from .reference import Lists
from .step import SparseStep, StepStats

__all__ = [
    "Lists",
    "SparseStep",
    "StepStats",
    "choose",
    "encode_csr",
    "path_counts",
    "sddmm",
    "sparse_decode",
    "spmm",
    "transpose",
]
