"""Names for the types of numpy arrays, and index arithmetic on runs (stretches of neighbouring entries).

Whatever holds an array gives its shape and unit in its own docstring.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.integer[Any]]
Flags = NDArray[np.bool_]


def ragged(starts: Ints, lengths: Ints) -> Ints:
    """Indices start, start + 1, … of every run [n_runs], one run after the other: [Σ lengths]."""
    offsets = np.cumsum(lengths) - lengths
    return np.asarray(np.repeat(starts - offsets, lengths) + np.arange(lengths.sum()))


def run_starts(keys: Ints) -> Ints:
    """The index at which each run of equal keys [n] begins; keys are at least 0."""
    return np.flatnonzero(np.diff(keys, prepend=-1) != 0)


def rank_in_run(sorted_keys: Ints) -> Ints:
    """0, 1, 2, … within each run of equal keys [n]."""
    starts = run_starts(sorted_keys)
    lengths = np.diff(starts, append=len(sorted_keys))
    return np.asarray(np.arange(len(sorted_keys)) - np.repeat(starts, lengths))
