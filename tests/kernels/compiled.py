"""The compiled backends of this machine, and inputs for their tests."""

import torch
from torch import Tensor

from sae_pipeline.kernels import Lists, reference
from sae_pipeline.kernels.backend import CPU_REQUIREMENTS
from sae_pipeline.kernels.cpu import HAS_DOTPROD, cpu_features

COMPILED = [name for name, bit in CPU_REQUIREMENTS.items() if cpu_features() & bit == bit]
PRESELECTING = [name for name in COMPILED if name != "plain" and (name != "neon" or cpu_features() & HAS_DOTPROD)]
SHAPES = [(1, 1, 1), (7, 5, 3), (33, 70, 65), (64, 32, 96), (50, 97, 300)]  # tokens, d_in, d_sae


def random_lists(n_rows: int, n_cols: int, seed: int) -> Lists:
    """Random lists in float64 with empty rows, columns without entries, and equal values."""
    generator = torch.Generator().manual_seed(seed)
    dense = torch.randint(-6, 4, (n_rows, n_cols), generator=generator).double()
    dense[::3] = 0
    dense[:, ::4] = 0
    return reference.compress(dense)


def dense_of(lists: Lists, n_cols: int) -> Tensor:
    """The lists as a dense matrix [n_rows, n_cols]."""
    dense = torch.zeros(len(lists.ptr) - 1, n_cols, dtype=lists.values.dtype)
    dense[lists.rows, lists.cols.long()] = lists.values
    return dense
