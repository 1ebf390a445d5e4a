"""Sets of headlines as bits, so that the overlap of two sets is one operation on 64 headlines at a time."""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from sae_pipeline.arrays import Ints

Bits = NDArray[np.uint64]
_ROWS = 2048  # of a matrix made dense at a time


def packed(rows: sparse.csr_matrix) -> Bits:
    """Each row [n_headlines] of a sparse matrix as bits: set where it is not 0. [n_rows, ⌈n_headlines / 64⌉]."""
    n_rows, n_headlines = rows.shape
    result = np.zeros((n_rows, -(-n_headlines // 64)), np.uint64)
    for start in range(0, n_rows, _ROWS):
        dense = rows[start : start + _ROWS].toarray() != 0
        dense = np.pad(dense, ((0, 0), (0, -n_headlines % 64)))
        result[start : start + _ROWS] = np.packbits(dense, axis=1).view(np.uint64)
    return result


def count(bits: Bits) -> Ints:
    """The number of headlines in each set: the last axis is summed."""
    return np.asarray(np.bitwise_count(bits).sum(-1, dtype=np.int64))
