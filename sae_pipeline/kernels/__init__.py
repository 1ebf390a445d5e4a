"""Sparse products and the parts of fast training steps for SAEs. Tensors only; nothing here knows of files or configs.

`Encoder` serves the analysis, `sparse_decode` the end-to-end finish, the kernels themselves kinds/engine.py. Every
kernel has a plain-torch twin in reference.py; backend.py chooses. Nothing is compiled before the first call.
"""

from sae_pipeline.kernels.backend import choose
from sae_pipeline.kernels.cpu import CpuKernels, path_counts
from sae_pipeline.kernels.products import Encoder, largest, most_alike, sddmm, sparse_decode, spmm, transpose
from sae_pipeline.kernels.reference import NO_RULE, AdamSettings, BatchSums, Features, Lists, Residual, Rule, keep

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
    "choose",
    "keep",
    "largest",
    "most_alike",
    "path_counts",
    "sddmm",
    "sparse_decode",
    "spmm",
    "transpose",
]
