"""How far two sets of numbers are apart: the largest difference, where it is, and what is allowed there.

A number x of a tensor, or of a field of a record, may differ by allowed · (rms + |x|), where rms is the root mean
square of that tensor or field. `off` is the share of all numbers that may differ by more. allowed = 0 asks for the same
bits. The differences that gpu_check.py allows were derived, and have not been tried on a graphics card yet.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

FP32 = 1e-4
"""Sums of up to 3,072 products in another order differ by some 3e-6 of their size, and a model has 72 such sums in a
row. Batches of other shapes change MiniLM's layer 4 by 5e-6 at most on a CPU. TF32, with factors rounded by 2⁻¹¹, would
differ by more than is allowed."""

FP16 = 1.5e-3
"""Numbers that are stored in fp16 are 2⁻¹⁰ apart if they lie on either side of a rounding boundary."""

BF16 = 0.05
"""Factors are rounded by up to 2⁻⁹. On a CPU with AMX, bf16 changes MiniLM's layer 4, and layer 8 of a model of
FinBERT's shape, by 0.02 at most and by 0.005 on average."""

STEP = 1e-3
"""One training step, as in tests/kernels/test_gpu.py."""

TRAINED = 3e-2
"""Figures of a whole training: an entry within rounding of its threshold fires or not, and later steps build on it."""

RECORDS = 2e-3
"""Numbers of a run, which follow from the activations. Some of them are off by more, because features with equal scores
change places."""

_VARYING = {"seconds", "milliseconds", "tokens_per_second", "headline_seconds"}  # fields that are times


class _Column(NamedTuple):
    """Numbers of one kind."""

    found: NDArray[np.float64]  # [n]
    expected: NDArray[np.float64]  # [n]
    place: Callable[[int], str]  # the name of the i-th


def compare_tensors(
    found: Mapping[str, Tensor], expected: Mapping[str, Tensor], allowed: float, off: float = 0.0
) -> dict[str, Any]:
    """Compare tensors by name; see `_compare`. Raises ValueError where names or shapes differ."""
    shapes = [{name: tuple(tensor.shape) for name, tensor in tensors.items()} for tensors in (found, expected)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"there are {shapes[0]} instead of {shapes[1]}")

    def column(name: str) -> _Column:
        shape = expected[name].shape

        def place(i: int) -> str:
            return f"{name}{[int(n) for n in np.unravel_index(i, shape)]}"

        return _Column(_flat(found[name]), _flat(expected[name]), place)

    return _compare(map(column, expected), 0, allowed, off)


def compare_records(found: Any, expected: Any, allowed: float, off: float = 0.0) -> dict[str, Any]:
    """Compare the numbers of two JSON-like values, except times. One that only one of them has is off."""
    columns, missing = [], 0
    ours, theirs = _fields(found), _fields(expected)
    for field in ours.keys() | theirs.keys():
        a, b = ours.get(field, {}), theirs.get(field, {})
        places = sorted(a.keys() & b.keys())
        missing += len(a.keys() ^ b.keys())
        if places:
            values = (np.array([numbers[place] for place in places], dtype=np.float64) for numbers in (a, b))
            columns.append(_Column(*values, places.__getitem__))
    return _compare(columns, missing, allowed, off)


def _compare(columns: Iterable[_Column], missing: int, allowed: float, off: float) -> dict[str, Any]:
    """`ok`, the `largest` difference in proportion to what is `allowed`, and where it is, `at`.

    `off` of all `n` numbers differ by more than what is allowed.
    """
    worst, row, n, n_off = -1.0, dict[str, Any](), missing, missing
    for column in columns:
        difference = np.abs(column.found - column.expected)
        rms = np.sqrt(np.mean(column.expected**2)) if len(difference) else 0.0
        limit = allowed * (rms + np.abs(column.expected))
        excess = np.where(difference == 0, 0.0, difference / np.maximum(limit, 1e-30))
        excess = np.where(np.isfinite(excess), excess, np.inf)  # NaN is never right
        n += len(excess)
        n_off += int((excess > 1).sum())
        if len(excess) and excess.max() > worst:
            i = int(excess.argmax())
            worst = float(excess[i])
            row = {"largest": float(difference[i]), "allowed": float(limit[i]), "at": column.place(i)}
    return {"ok": n > 0 and n_off <= off * n, **row, "off": n_off, "n": n}


def _flat(tensor: Tensor) -> NDArray[np.float64]:
    return tensor.detach().double().cpu().numpy().ravel()


def _fields(value: Any) -> dict[str, dict[str, float]]:
    """The numbers in a JSON-like value: by the path without indices, then by the whole path."""
    found = defaultdict[str, dict[str, float]](dict)

    def walk(value: Any, field: str, path: str) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                if key not in _VARYING:
                    walk(inner, f"{field}.{key}", f"{path}.{key}")
        elif isinstance(value, list | tuple):
            for i, inner in enumerate(value):
                walk(inner, field, f"{path}[{i}]")
        elif isinstance(value, bool | int | float):
            found[field.lstrip(".")][path.lstrip(".")] = float(value)

    walk(value, "", "")
    return found
