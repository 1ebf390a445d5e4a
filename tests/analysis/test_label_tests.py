"""Statistics about the label against scipy on the headlines themselves, and their intervals against repeated draws."""

import numpy as np
import pytest
from scipy import stats as scipy_stats

from sae_pipeline.analysis.feature_stats import CHOOSING, HISTOGRAM_EDGES, TESTING, FeatureStats
from sae_pipeline.analysis.label_intervals import RESAMPLES, bootstrap
from sae_pipeline.analysis.label_tests import (
    auroc,
    mann_whitney,
    mutual_information,
    selectivity,
)
from sae_pipeline.sae.firings import Firings
from sae_pipeline.schema.common import MIN_HEADLINES

N, D_SAE = 900, 40


def stats_of(peaks: np.ndarray, labels: np.ndarray, half: np.ndarray) -> FeatureStats:
    """Statistics of headlines of one token each: peaks [n_headlines, d_sae]."""
    headline, feature = peaks.nonzero()
    stats = FeatureStats.empty(peaks.shape[1], n_classes=3)
    firings = Firings.collect(headline, np.ones_like(headline), feature, peaks[headline, feature].astype(np.float32))
    stats.add(firings, len(peaks), 0, labels, half)
    return stats


def binning_error(stats: FeatureStats, label: int) -> np.ndarray:
    """[d_sae] how far binning can move AUROC on the testing half: half of what ties the bins add."""
    firing, sizes = stats.class_histogram[TESTING].astype(np.float64), stats.class_sizes[TESTING]
    ties = (firing[label] * (firing.sum(0) - firing[label])).sum(1)
    return np.asarray(0.5 * ties / (sizes[label] * (sizes.sum() - sizes[label])))


def headlines(seed: int, n: int = N, effect: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Peaks, labels, halves. Even features fire more, and more strongly, in class 1; odd ones know no labels."""
    random = np.random.default_rng(seed)
    labels, half = random.choice(3, n, p=[0.15, 0.25, 0.6]), random.integers(0, 2, n)
    rate = np.linspace(0.002, 0.8, D_SAE)
    told = (labels == 1)[:, None] & (np.arange(D_SAE) % 2 == 0)
    fires = random.random((n, D_SAE)) < np.where(told, np.minimum(rate * (1 + effect), 1), rate)
    return fires * random.lognormal(np.where(told, effect / 2, 0), 1.0, (n, D_SAE)), labels, half


def middles(peaks: np.ndarray) -> np.ndarray:
    """What binning leaves of activations: the number of their bin."""
    return np.where(peaks > 0, np.clip(np.digitize(peaks, HISTOGRAM_EDGES), 1, len(HISTOGRAM_EDGES) - 1), 0)


@pytest.fixture(scope="module")
def case() -> tuple[np.ndarray, np.ndarray, np.ndarray, FeatureStats]:
    peaks, labels, half = headlines(0)
    return peaks, labels, half, stats_of(peaks, labels, half)


def test_auroc(case: tuple[np.ndarray, np.ndarray, np.ndarray, FeatureStats]) -> None:
    """Values and tests are Mann–Whitney's on binned peaks of each half, within the stated bound of the exact ones."""
    peaks, labels, half, stats = case
    found = auroc(stats, 1)
    p = []
    for f in range(D_SAE):
        for part, value in ((CHOOSING, found.values[f]), (TESTING, found.tested[f])):
            one, rest = (peaks[(half == part) & (labels == 1), f], peaks[(half == part) & (labels != 1), f])
            if (peaks[half == part, f] > 0).sum() < MIN_HEADLINES:
                assert value == 0.5 if part == CHOOSING else np.isnan(value)
                continue
            binned = scipy_stats.mannwhitneyu(middles(one), middles(rest), method="asymptotic", use_continuity=False)
            assert value == pytest.approx(binned.statistic / len(one) / len(rest), abs=1e-9)
            if part == TESTING:
                p.append(binned.pvalue)
                exact = scipy_stats.mannwhitneyu(one, rest).statistic / len(one) / len(rest)
                assert abs(value - exact) <= binning_error(stats, 1)[f] + 1e-9
    assert found.q is not None
    tested = ~np.isnan(found.q)
    np.testing.assert_allclose(found.q[tested], scipy_stats.false_discovery_control(p), atol=1e-9)
    assert (np.isnan(found.tested) == ~tested).all() and (np.isnan(found.low) == ~tested).all()
    np.testing.assert_array_equal(found.n, (peaks[half == TESTING] > 0).sum(0))


def test_no_headline_chooses_and_tests(case: tuple[np.ndarray, np.ndarray, np.ndarray, FeatureStats]) -> None:
    """What ranks features does not change with the testing half, nor the test with the choosing half."""
    peaks, labels, half, stats = case
    for part in (CHOOSING, TESTING):
        shuffled = labels.copy()
        shuffled[half == part] = np.random.default_rng(5).permutation(labels[half == part])
        changed = stats_of(peaks, shuffled, half)
        for number in (lambda s: auroc(s, 1), mutual_information):
            before, after = number(stats), number(changed)
            same, other = ("tested", "values") if part == CHOOSING else ("values", "tested")
            np.testing.assert_array_equal(getattr(before, same), getattr(after, same))
            assert not np.array_equal(getattr(before, other), getattr(after, other), equal_nan=True)


def test_mutual_information(case: tuple[np.ndarray, np.ndarray, np.ndarray, FeatureStats]) -> None:
    """Plug-in information of the table label × fires less (classes − 1)/(2 n ln 2); the G-test's p."""
    peaks, labels, half, stats = case
    found = mutual_information(stats)
    p = []
    for f in np.flatnonzero(~np.isnan(found.tested)):
        inside = half == TESTING
        table = np.array(
            [[((peaks[inside, f] > 0) == on)[labels[inside] == c].sum() for c in range(3)] for on in (0, 1)]
        )
        test = scipy_stats.chi2_contingency(table, lambda_="log-likelihood", correction=False)
        n = table.sum()
        assert found.tested[f] == pytest.approx(max(test.statistic / (2 * n * np.log(2)) - 1 / (n * np.log(2)), 0))
        p.append(test.pvalue)
    assert found.q is not None
    np.testing.assert_allclose(found.q[~np.isnan(found.q)], scipy_stats.false_discovery_control(p), atol=1e-9)


def test_selectivity() -> None:
    """1 for a feature of one class, 0 for one that is alike in all; the class is the choosing half's."""
    labels, half = np.arange(120) % 3, np.arange(120) // 3 % 2
    peaks = np.zeros((120, 3))
    peaks[labels == 2, 0] = 2.0
    peaks[:, 1] = 3.0
    peaks[np.where(half == CHOOSING, labels == 0, labels == 1), 2] = 1.0
    found = selectivity(stats_of(peaks, labels, half))
    np.testing.assert_allclose(found.values, [1, 0, 1])
    np.testing.assert_allclose(found.tested, [1, 0, -1])
    np.testing.assert_allclose(found.low[:2], [1, 0], atol=1e-6)


def test_few_headlines_say_so() -> None:
    """Of 12 headlines nothing is tested and nothing leads."""
    peaks, labels, half = headlines(1, n=12)
    found = auroc(stats_of(peaks, labels, half), 1)
    assert np.isnan(found.tested).all() and np.isnan(found.low).all() and (found.values == 0.5).all()


def test_null_features_are_not_found() -> None:
    """Without any effect the share of p below 0.05 is 0.05, and next to nothing survives the false-discovery rate."""
    share, survivors = [], 0
    for seed in range(20):
        peaks, labels, half = headlines(seed, effect=0.0)
        stats = stats_of(peaks, labels, half)
        cells = np.concatenate(
            [(stats.class_sizes[TESTING][:, None] - stats.class_histogram[TESTING].sum(-1))[..., None],
             stats.class_histogram[TESTING]], -1
        )  # fmt: skip
        share.append((mann_whitney(cells[1], cells[[0, 2]].sum(0))[10:] < 0.05).mean())
        survivors += int((auroc(stats, 1).q < 0.05).sum())
    assert 0.02 < np.mean(share) < 0.09
    assert survivors <= 4


def test_intervals_cover() -> None:
    """95 % intervals hold the true value in about 95 % of new samples, and are deterministic."""
    truth_peaks, truth_labels, _ = headlines(99, n=60_000)
    everything = stats_of(truth_peaks, truth_labels, np.full(60_000, TESTING))
    truth = {"auroc_1": auroc(everything, 1).tested, "mutual_information": mutual_information(everything).tested}
    covered: dict[str, list[float]] = {name: [] for name in truth}
    for seed in range(30):
        peaks, labels, _ = headlines(seed)
        stats = stats_of(peaks, labels, np.full(N, TESTING))
        intervals = bootstrap(stats)
        for name, value in truth.items():
            low, high = intervals[name][:, 10:]
            covered[name].append(((low <= value[10:]) & (value[10:] <= high)).mean())
    np.testing.assert_array_equal(bootstrap(stats)["auroc_1"], intervals["auroc_1"])
    assert RESAMPLES >= 200
    assert 0.90 < np.mean(covered["auroc_1"]) < 0.99
    assert 0.85 < np.mean(covered["mutual_information"]) < 0.995
