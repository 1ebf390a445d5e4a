"""What a feature says about the label: AUROC, mutual information and selectivity, with intervals and tests.

The unit is the headline, and m is the feature's maximum over its counted tokens. One half of the headlines ranks the
features, the other half tests them (`feature_stats.CHOOSING`, `TESTING`).

Support is thin where, in one half, fewer than MIN_HEADLINES headlines fire a feature or have a class. The feature then
has the neutral value, no interval and no test.
"""

from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
import scipy

from sae_pipeline.analysis.feature_stats import CHOOSING, TESTING, FeatureStats
from sae_pipeline.analysis.label_intervals import bootstrap
from sae_pipeline.analysis.label_statistics import (
    TINY,
    auroc_of,
    cells_of,
    class_and_rest,
    class_means,
    enough_firing,
    information_bias,
    information_of,
    selectivity_of,
    silent_and_firing,
    smaller_side,
)
from sae_pipeline.arrays import Flags, Floats, Ints
from sae_pipeline.schema.common import MIN_HEADLINES


@dataclass(frozen=True)
class LabelTest:
    """A number for each feature and how far to trust it, each [d_sae]. NaN stands for a feature that was not tested."""

    values: Floats  # on the choosing half, finite
    tested: Floats  # on the testing half
    n: Ints  # headlines of the testing half on which the feature fires
    low: Floats  # 95 % interval of `tested`
    high: Floats
    q: Floats | None  # false-discovery rate (Benjamini–Hochberg) over the tested features; None: there is no test


def auroc(stats: FeatureStats, label: int) -> LabelTest:
    """P(m of a headline of the class > m of another) + ½ P(equal), with a Mann–Whitney test; 0.5 is chance."""
    fires = enough_firing(stats)
    rankable = fires[CHOOSING] & (smaller_side(stats, label, CHOOSING) >= MIN_HEADLINES)
    testable = fires[TESTING] & (smaller_side(stats, label, TESTING) >= MIN_HEADLINES)
    area = [auroc_of(*class_and_rest(cells_of(stats, half), label)) for half in (CHOOSING, TESTING)]
    p = mann_whitney(*class_and_rest(cells_of(stats, TESTING), label))
    low, high = _intervals(stats)[f"auroc_{label}"]
    return _label_test(stats, np.where(rankable, area[CHOOSING], 0.5), area[TESTING], testable, low, high, p)


def mutual_information(stats: FeatureStats) -> LabelTest:
    """I(label; fires) in bits over headlines, less its bias (Miller 1955), at least 0, with a G-test."""
    fires = enough_firing(stats)
    tables = [silent_and_firing(cells_of(stats, half)) for half in (CHOOSING, TESTING)]
    raw = [information_of(table) for table in tables]
    value = [np.maximum(bits - information_bias(table), 0) for bits, table in zip(raw, tables, strict=True)]
    g = 2 * np.log(2) * tables[TESTING].sum((1, 2)) * raw[TESTING]
    p = scipy.stats.chi2.sf(g, max(stats.n_classes - 1, 1))
    low, high = _intervals(stats)["mutual_information"]
    return _label_test(
        stats, np.where(fires[CHOOSING], value[CHOOSING], 0.0), value[TESTING], fires[TESTING], low, high, p
    )


def selectivity(stats: FeatureStats) -> LabelTest:
    """(μ₁ − μ₀) / (μ₁ + μ₀), μ₁ the mean m of the class where it is highest, μ₀ the mean of the others' means.

    The measure is from Morcos et al. 2018, "On the importance of single directions". The class is chosen on the
    choosing half, so the tested value may be negative. There is no test.
    """
    fires = enough_firing(stats)
    means = class_means(stats)
    best = means[CHOOSING].argmax(0)
    value = [selectivity_of(means[half].T, best) for half in (CHOOSING, TESTING)]
    low, high = _intervals(stats)["selectivity"]
    return _label_test(
        stats, np.where(fires[CHOOSING], value[CHOOSING], 0.0), value[TESTING], fires[TESTING], low, high
    )


def mann_whitney(positive: Ints, negative: Ints) -> Floats:
    """p-values [n] of two-sided tests that two samples rank alike, from their counts [n, bins].

    The normal approximation is used, corrected for ties.
    """
    a, b = positive.sum(1).astype(np.float64), negative.sum(1).astype(np.float64)
    n = a + b
    ties = ((positive + negative).astype(np.float64) ** 3).sum(1) - n
    variance = a * b / 12 * (n + 1 - ties / np.maximum(n * (n - 1), 1))
    shift = (auroc_of(positive, negative) - 0.5) * a * b
    z = np.divide(np.abs(shift), np.sqrt(np.maximum(variance, TINY)), out=np.zeros_like(n), where=variance > TINY)
    return np.asarray(2 * scipy.stats.norm.sf(z))


def _label_test(
    stats: FeatureStats,
    values: Floats,
    tested: Floats,
    testable: Flags,
    low: Floats,
    high: Floats,
    p: Floats | None = None,
) -> LabelTest:
    """Leave the test results of `testable` features, and correct p [d_sae] for the number of tests."""

    def where_tested(column: Floats) -> Floats:
        return np.where(testable, column, np.nan)

    q = None
    if p is not None:
        q = np.full(len(p), np.nan)
        if testable.any():
            q[testable] = scipy.stats.false_discovery_control(p[testable])
    n = stats.class_histogram[TESTING].sum((0, 2), dtype=np.int64)
    return LabelTest(values, where_tested(tested), n, where_tested(low), where_tested(high), q)


_intervals_of: WeakKeyDictionary[FeatureStats, tuple[int, dict[str, Floats]]] = WeakKeyDictionary()


def _intervals(stats: FeatureStats) -> dict[str, Floats]:
    """The 95 % intervals [2, d_sae] of every label metric, computed once and again after `stats` has grown."""
    made = _intervals_of.get(stats)
    if made is None or made[0] != stats.n_headlines:
        made = stats.n_headlines, bootstrap(stats)
        _intervals_of[stats] = made
    return made[1]
