"""Feature statistics and selections against brute force over a dense array."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats as scipy_stats

from sae_pipeline.analysis.examples import Selection, lots, strengths
from sae_pipeline.analysis.feature_stats import HISTOGRAM_EDGES, FeatureStats, halves
from sae_pipeline.analysis.metrics import FEATURE_METRICS
from sae_pipeline.analysis.words import WordCounts, word_texts
from sae_pipeline.sae.firings import Firings

N_HEADLINES, N_POSITIONS, D_SAE = 6, 4, 5
VALUES = st.sampled_from([0.0, 0.0, 0.0, 0.5, 1.0, 1.0, 2.5, 150.0, 1e-5])
LABELS = np.array([0, 1, 2, 0, 1, 0])
IDS = [f"{n * 0x1B873593 % 2**48:012x}" for n in range(1, N_HEADLINES + 1)]
DENSE = arrays(np.float32, (N_HEADLINES, N_POSITIONS, D_SAE), elements=VALUES)


def firings_of(dense: np.ndarray, first: int = 0, seed: int = 0) -> Firings:
    """Active entries of [n_headlines, n_positions, d_sae], handed over in random order."""
    headline, position, feature = dense.nonzero()
    order = np.random.default_rng(seed).permutation(len(headline))
    value = dense[headline, position, feature]
    return Firings.collect(headline[order] + first, position[order], feature[order], value[order])


def stats_of(dense: np.ndarray, first: int = 0) -> FeatureStats:
    """Statistics of one block."""
    n = len(dense)
    stats = FeatureStats.empty(dense.shape[2])
    labels, half = LABELS[first : first + n], halves(IDS[first : first + n])
    stats.add(firings_of(dense, first), n * dense.shape[1], first, labels, half)
    return stats


@given(DENSE)
@settings(max_examples=100, deadline=None)
def test_metrics_equal_their_formulas(dense: np.ndarray) -> None:
    """Every metric from the sums equals its formula over all counted tokens."""
    computed = {m.name: m.compute(stats_of(dense)) for m in FEATURE_METRICS[:5]}
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


@given(DENSE, st.integers(1, 4), st.integers(1, N_HEADLINES), st.booleans(), st.booleans())
@settings(max_examples=100, deadline=None)
def test_selected_headlines_of_a_feature(dense: np.ndarray, k: int, block: int, tight: bool, fair: bool) -> None:
    """The k best headlines, ties to the earlier, whatever the blocks, the merging and how often it compacts."""
    parts = [Selection(D_SAE, k), Selection(D_SAE, k)]
    everything = firings_of(dense)
    rank = (lots(everything, 0, IDS) if fair else strengths(everything)).tolist()
    scores = dict(zip(zip(everything.group_headline, everything.group_feature, strict=True), rank, strict=True))
    for n, start in enumerate(range(0, N_HEADLINES, block)):
        firings = firings_of(dense[start : start + block], first=start)
        if tight:
            parts[n % 2].limit = 1
        ids = IDS[start : start + block]
        parts[n % 2].add(firings, lots(firings, start, ids) if fair else strengths(firings))
    kept, groups = (parts[1] + parts[0]).finish(np.arange(D_SAE))
    for f in range(D_SAE):
        peak = dense[:, :, f].max(1)
        expected = sorted(np.flatnonzero(peak), key=lambda h, f=f: (-scores[h, f], h))[:k]
        members = groups.get(f, [])
        assert kept.group_headline[members].tolist() == expected
        for g, h in zip(members, expected, strict=True):
            span = slice(kept.group_start[g], kept.group_start[g] + kept.group_length[g])
            assert kept.position[span].tolist() == np.flatnonzero(dense[h, :, f]).tolist()
            np.testing.assert_array_equal(kept.value[span], dense[h, kept.position[span], f])
            assert kept.position[kept.group_argmax[g]] == dense[h, :, f].argmax()


def test_lots_are_fair_and_fixed() -> None:
    """Numbers drawn for (headline, feature) are uniform, depend on nothing else, and differ between features."""
    dense = np.ones((200, 1, 50), np.float32)
    ids = [f"{n * 0x5851F42D4C95 % 2**48:012x}" for n in range(200)]
    drawn = lots(firings_of(dense), 0, ids).reshape(200, 50)
    assert scipy_stats.kstest(drawn.ravel() / 2**32, "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(drawn[:, 0], drawn[:, 1])[0, 1]) < 0.25
    np.testing.assert_array_equal(lots(firings_of(dense[50:], 50), 50, ids[50:]).reshape(150, 50), drawn[50:])


@given(DENSE, st.integers(1, N_HEADLINES - 1))
@settings(max_examples=50, deadline=None)
def test_words_of_a_feature(dense: np.ndarray, cut: int) -> None:
    """Counts of words, not of their pieces, equal brute force, and merge."""
    texts = ["Up UP, down", "up we go", "down, down a", "no up no", "Go up go", "x up y"]
    spans = [
        ([0, 3, 5, 7], [2, 5, 6, 11], [0, 1, 2, 3]),
        ([0, 3, 6, 7], [2, 5, 7, 8], [0, 1, 2, 2]),
        ([0, 4, 6, 11], [4, 5, 10, 12], [0, 1, 2, 3]),
        ([0, 3, 6, 0], [2, 5, 8, 0], [0, 1, 2, -1]),
        ([0, 3, 6, 0], [2, 5, 8, 0], [0, 1, 2, -1]),
        ([0, 2, 3, 5], [1, 3, 4, 6], [0, 1, 1, 2]),
    ]
    places = [span[2] for span in spans]
    words = [word_texts(text, *span) for text, span in zip(texts, spans, strict=True)]
    assert words[1] == ["up", "we", "go", "go"] and words[3][3] == ""
    whole, first, second = WordCounts(D_SAE), WordCounts(D_SAE), WordCounts(D_SAE)
    whole.add(firings_of(dense), 0, places, words)
    first.add(firings_of(dense[:cut]), 0, places[:cut], words[:cut])
    second.add(firings_of(dense[cut:], cut), cut, places[cut:], words[cut:])
    occurrences = [
        (words[h][positions[0]].casefold(), dense[h, positions].max(0) > 0)
        for h in range(N_HEADLINES)
        for word in sorted({*places[h]} - {-1})
        if (positions := [p for p in range(N_POSITIONS) if places[h][p] == word])
    ]
    fired = sum(f.astype(int) for _, f in occurrences)
    merged = (first + second).telling(np.arange(D_SAE), 50)
    for f, found in enumerate(whole.telling(np.arange(D_SAE), 50)):
        expected = {}
        for word in {w for w, _ in occurrences}:
            total = sum(w == word for w, _ in occurrences)
            count = sum(bool(fires[f]) for w, fires in occurrences if w == word)
            lift = count / total / (fired[f] / len(occurrences)) if count else 0
            if lift > 1 + 1e-9:
                expected[word] = (count, total, pytest.approx(lift, rel=1e-5))
        for records in (found, merged[f]):
            assert {r["word"]: (r["count"], r["total"], r["lift"]) for r in records} == expected
