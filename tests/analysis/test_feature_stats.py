"""Feature statistics and metrics against brute force over a dense array."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from sae_pipeline.analysis.feature_stats import HISTOGRAM_EDGES, FeatureStats, halves
from sae_pipeline.analysis.metrics import FEATURE_METRICS, metrics_of
from tests.analysis.dense import D_SAE, DENSE, IDS, N_HEADLINES, firings_of

LABELS = np.array([0, 1, 2, 0, 1, 0])


def stats_of(dense: np.ndarray, first: int = 0) -> FeatureStats:
    """Statistics of one block."""
    n = len(dense)
    stats = FeatureStats.empty(dense.shape[2], n_classes=3)
    labels, half = LABELS[first : first + n], halves(IDS[first : first + n])
    stats.add(firings_of(dense, first), n * dense.shape[1], first, labels, half)
    return stats


@given(DENSE)
@settings(max_examples=100, deadline=None)
def test_metrics_equal_their_formulas(dense: np.ndarray) -> None:
    """Every metric from the sums equals its formula over all counted tokens."""
    computed = {m.name: m.compute(stats_of(dense)) for m in metrics_of(FEATURE_METRICS[:5], [])}
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
    whole, merged = stats_of(dense), stats_of(dense[:cut]) + stats_of(dense[cut:], cut)
    for name in ("counts", "maximum", "histogram", "headline_counts", "class_sizes", "class_histogram"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(merged, name))
    np.testing.assert_allclose(whole.powers, merged.powers, rtol=1e-12)
    np.testing.assert_allclose(whole.class_sums, merged.class_sums, rtol=1e-12)
    peaks = dense.max(1).astype(np.float64)
    for label in range(3):
        members = peaks[label == LABELS]
        np.testing.assert_array_equal(whole.class_headline_counts[label], (members > 0).sum(0))
        np.testing.assert_allclose(whole.class_means[label], members.mean(0), rtol=1e-12)
    np.testing.assert_allclose(whole.mass_log_mass, merged.mass_log_mass, rtol=1e-9, atol=1e-12)
    assert (whole.n_tokens, whole.n_headlines) == (merged.n_tokens, merged.n_headlines)
    np.testing.assert_array_equal(whole.histogram.sum(1), whole.counts)
    inside = (dense >= HISTOGRAM_EDGES[0]) & (dense < HISTOGRAM_EDGES[-1])
    for bin_ in range(1, len(HISTOGRAM_EDGES) - 2):
        low, high = HISTOGRAM_EDGES[bin_ : bin_ + 2]
        expected = (inside & (dense >= low) & (dense < high)).sum((0, 1))
        np.testing.assert_array_equal(whole.histogram[:, bin_], expected)
