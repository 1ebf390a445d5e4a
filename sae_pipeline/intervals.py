"""95 % confidence intervals of shares and of their differences."""

import numpy as np

from sae_pipeline.arrays import Floats, Ints

Z = 1.959963984540054  # the standard normal's 97.5 % quantile


def wilson_interval(k: Ints, n: Ints) -> tuple[Floats, Floats]:
    """Wilson's interval of the share k / n, elementwise: its lower and its upper end (Wilson 1927).

    The lower end is 0 where k is 0, and the upper end is 1 where k is n. For n = 0 it is 0 to 1.
    """
    none, all_ = np.equal(k, 0), np.equal(k, n)
    n = np.maximum(n, 1)
    share = k / n
    middle = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z * np.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2)) / (1 + Z**2 / n)
    return np.where(none, 0.0, middle - half), np.where(all_, 1.0, middle + half)


def share_interval(k: int, n: int) -> tuple[float, float]:
    """Wilson's interval of one share; see `wilson_interval`."""
    low, high = wilson_interval(np.array(k), np.array(n))
    return float(low), float(high)


def paired_interval(lost: int, gained: int, n: int) -> tuple[float, float]:
    """The interval of (gained − lost) / n for n pairs, with half a pair added to each cell (Agresti & Min 2005)."""
    b, c, total = lost + 0.5, gained + 0.5, n + 2
    change = (c - b) / total
    half = Z * float(np.sqrt(b + c - (c - b) ** 2 / total)) / total
    return change - half, change + half


def share_difference(k1: Ints, n1: Ints, k0: Ints, n0: Ints) -> tuple[Floats, Floats, Floats]:
    """k1 / n1 − k0 / n0, elementwise, with the lower and the upper end of its interval.

    One headline of each outcome is added to both shares (Agresti & Caffo 2000).
    """
    difference = k1 / np.maximum(n1, 1) - k0 / np.maximum(n0, 1)
    p1, p0 = (k1 + 1) / (n1 + 2), (k0 + 1) / (n0 + 2)
    spread = Z * np.sqrt(p1 * (1 - p1) / (n1 + 2) + p0 * (1 - p0) / (n0 + 2))
    low, high = np.maximum(p1 - p0 - spread, -1.0), np.minimum(p1 - p0 + spread, 1.0)
    return difference, np.minimum(low, difference), np.maximum(high, difference)


def ratio_interval(numerators: Floats, denominators: Floats) -> tuple[float, float]:
    """The interval of Σ numerators / Σ denominators over independent units, such as headlines (Cochran 1977, 6.4).

    The units' residuals numerator − ratio · denominator give the standard error. Needs two units and Σ > 0.
    """
    n, total = len(numerators), float(denominators.sum())
    ratio = float(numerators.sum()) / total
    residuals = numerators - ratio * denominators
    half = Z * float(np.sqrt(n / (n - 1) * (residuals**2).sum())) / total
    return ratio - half, ratio + half
