"""Feature analysis against brute force over a dense array."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats as scipy_stats

from sae_pipeline.features import FEATURE_METRICS, HISTOGRAM_EDGES, FeatureStats, Firings, TopHeadlines

N_HEADLINES, N_POSITIONS, D_SAE = 6, 4, 5
VALUES = st.sampled_from([0.0, 0.0, 0.0, 0.5, 1.0, 1.0, 2.5, 150.0, 1e-5])
DENSE = arrays(np.float32, (N_HEADLINES, N_POSITIONS, D_SAE), elements=VALUES)


def firings_of(dense: np.ndarray, first: int = 0, seed: int = 0) -> Firings:
    """Active entries of [n_headlines, n_positions, d_sae], handed over in random order."""
    headline, position, feature = dense.nonzero()
    order = np.random.default_rng(seed).permutation(len(headline))
    value = dense[headline, position, feature]
    return Firings.collect(headline[order] + first, position[order], feature[order], value[order])


def stats_of(dense: np.ndarray) -> FeatureStats:
    """Statistics of one block."""
    stats = FeatureStats.empty(dense.shape[2])
    stats.add(firings_of(dense), dense.shape[0] * dense.shape[1], dense.shape[0])
    return stats


@given(DENSE)
@settings(max_examples=100, deadline=None)
def test_metrics_equal_their_formulas(dense: np.ndarray) -> None:
    """Every metric from the sums equals its formula over all counted tokens."""
    computed = {m.name: m.compute(stats_of(dense)) for m in FEATURE_METRICS}
    tokens = dense.reshape(-1, D_SAE).astype(np.float64)
    np.testing.assert_allclose(computed["mean_activation"], tokens.mean(0), rtol=1e-9)
    np.testing.assert_allclose(computed["max_activation"], tokens.max(0))
    np.testing.assert_allclose(computed["fraction_active"], (tokens > 0).mean(0))
    mass = dense.sum(1, dtype=np.float64)
    for i in range(D_SAE):
        expected = scipy_stats.entropy(mass[:, i], base=2) if mass[:, i].any() else 0.0
        assert computed["entropy"][i] == pytest.approx(expected, abs=1e-9)
        spread = tokens[:, i].std() > 1e-6 * max(tokens[:, i].max(), 1e-9)
        expected = scipy_stats.kurtosis(tokens[:, i], fisher=False) if spread else 0.0
        assert computed["kurtosis"][i] == pytest.approx(expected, rel=1e-6)


@given(DENSE, st.integers(1, N_HEADLINES - 1))
@settings(max_examples=50, deadline=None)
def test_statistics_merge(dense: np.ndarray, cut: int) -> None:
    """Two parts added equal the whole; every active token is in one histogram bin."""
    whole, merged = stats_of(dense), stats_of(dense[:cut]) + stats_of(dense[cut:])
    for name in ("counts", "maximum", "histogram", "headline_counts"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(merged, name))
    np.testing.assert_allclose(whole.powers, merged.powers, rtol=1e-12)
    np.testing.assert_allclose(whole.mass_log_mass, merged.mass_log_mass, rtol=1e-9, atol=1e-12)
    assert (whole.n_tokens, whole.n_headlines) == (merged.n_tokens, merged.n_headlines)
    np.testing.assert_array_equal(whole.histogram.sum(1), whole.counts)
    inside = (dense >= HISTOGRAM_EDGES[0]) & (dense < HISTOGRAM_EDGES[-1])
    for bin_ in range(1, len(HISTOGRAM_EDGES) - 2):
        low, high = HISTOGRAM_EDGES[bin_ : bin_ + 2]
        expected = (inside & (dense >= low) & (dense < high)).sum((0, 1))
        np.testing.assert_array_equal(whole.histogram[:, bin_], expected)


@given(DENSE, st.integers(1, 7))
@settings(max_examples=100, deadline=None)
def test_strongest_features_of_a_headline(dense: np.ndarray, k: int) -> None:
    """Top k by maximum over positions, ties to the lower feature; position of the first maximum."""
    firings = firings_of(dense)
    groups = firings.strongest_groups(k)
    found = [
        (int(firings.group_headline[g]), int(firings.group_feature[g]), int(firings.position[firings.group_argmax[g]]))
        for g in groups
    ]
    expected = []
    for h in range(N_HEADLINES):
        peak = dense[h].max(0)
        for f in sorted(np.flatnonzero(peak), key=lambda f: (-peak[f], f))[:k]:
            expected.append((h, int(f), int(dense[h, :, f].argmax())))
    assert found == expected


@given(DENSE, st.integers(1, 4), st.integers(1, N_HEADLINES), st.booleans())
@settings(max_examples=100, deadline=None)
def test_top_headlines_of_a_feature(dense: np.ndarray, k: int, block: int, tight: bool) -> None:
    """Top k headlines by maximum, ties to the earlier, whatever the blocks and however often it compacts."""
    top = TopHeadlines(D_SAE, k)
    if tight:
        top.limit = 1
    for start in range(0, N_HEADLINES, block):
        top.add(firings_of(dense[start : start + block], first=start))
    kept, groups = top.finish()
    for f in range(D_SAE):
        peak = dense[:, :, f].max(1)
        expected = sorted(np.flatnonzero(peak), key=lambda h: (-peak[h], h))[:k]
        members = groups.get(f, np.array([], int))
        assert kept.group_headline[members].tolist() == expected
        for g, h in zip(members, expected, strict=True):
            span = slice(kept.group_start[g], kept.group_start[g] + kept.group_length[g])
            assert kept.position[span].tolist() == np.flatnonzero(dense[h, :, f]).tolist()
            np.testing.assert_array_equal(kept.value[span], dense[h, kept.position[span], f])
            assert kept.position[kept.group_argmax[g]] == dense[h, :, f].argmax()
