"""Intervals of shares and of their differences against scipy, against their formula, and against draws."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from sae_pipeline.intervals import paired_interval, ratio_interval, share_difference, wilson_interval

COUNTS = st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(st.lists(COUNTS, min_size=1, max_size=20))
def test_wilson_equals_scipy(counts: list[tuple[int, int]]) -> None:
    """Each interval of an array is scipy's for that share."""
    k, n = np.array(counts).T
    expected = [scipy_stats.binomtest(*pair).proportion_ci(method="wilson") for pair in counts]
    low, high = wilson_interval(k, n)
    np.testing.assert_allclose(low, [interval.low for interval in expected], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(high, [interval.high for interval in expected], rtol=1e-12, atol=1e-12)


def test_wilson_without_headlines() -> None:
    """A share of nothing may be anything."""
    low, high = wilson_interval(np.zeros(2, np.int64), np.array([0, 10]))
    assert (low[0], high[0]) == (0, 1) and low[1] == 0 < high[1] < 1


def test_paired_interval() -> None:
    """Agresti & Min's formula on the 2 × 2 table with half a pair added to each cell; mirrored where sides change."""
    lost, gained, n = 9, 21, 100
    p, q = 9.5 / 102, 21.5 / 102
    half = scipy_stats.norm.ppf(0.975) * np.sqrt((p + q - (q - p) ** 2) / 102)
    low, high = paired_interval(lost, gained, n)
    assert (low, high) == pytest.approx((q - p - half, q - p + half))
    assert paired_interval(gained, lost, n) == pytest.approx((-high, -low))


def test_share_difference_covers_as_often_as_it_says() -> None:
    """Agresti and Caffo's interval covers the true difference of two shares in 93 % of draws or more."""
    rng = np.random.default_rng(0)
    for n1, p1, n0, p0 in ((8, 0.9, 500, 0.02), (5, 1.0, 300, 0.0), (40, 0.6, 400, 0.2)):
        k1, k0 = rng.binomial(n1, p1, 4000), rng.binomial(n0, p0, 4000)
        difference, low, high = share_difference(k1, np.array(n1), k0, np.array(n0))
        assert ((low <= p1 - p0) & (p1 - p0 <= high)).mean() > 0.93
        assert ((low <= difference) & (difference <= high)).all()


def test_ratio_interval_covers_as_often_as_it_says() -> None:
    """Headlines of different lengths whose tokens are alike: the ratio of sums lies in its interval 95 times in 100."""
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(1000):
        n_tokens = rng.integers(5, 30, 200)
        level = rng.gamma(4, 0.05, 200)  # of a headline's tokens: they are not independent
        low, high = ratio_interval(n_tokens * level, n_tokens.astype(float))
        hits += low <= 0.2 <= high
    assert 920 <= hits <= 975
    assert ratio_interval(np.array([1.0, 2.0, 4.0]), np.array([2.0, 4.0, 8.0])) == pytest.approx((0.5, 0.5))
