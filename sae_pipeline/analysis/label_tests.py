"""What a feature says of the label: AUROC, mutual information, selectivity, with intervals and false-discovery rates.

The unit is the headline, with m = the feature's maximum over its counted tokens. Whatever ranks features is computed
on the choosing half of the headlines, whatever tests them on the other half (`feature_stats.CHOOSING`, `TESTING`).

All three numbers depend on a headline through (true label, bin of m) alone, so resampling headlines is resampling the
counts of these cells: the bootstrap needs the mergeable histogram and no second look at the data. Cells are resampled
as independent Poisson counts (Hanley & MacGibbon 2006; Chamandy et al. 2012).

Bins tie what they hold. A tie counts one half, so binning moves AUROC by at most ½·Σ_b p_b·n_b over the bins of firing
headlines, p_b and n_b being their shares of the class and of the rest.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
from scipy import special as scipy_special
from scipy import stats as scipy_stats

from sae_pipeline.analysis.feature_stats import CHOOSING, HISTOGRAM_EDGES, TESTING, FeatureStats
from sae_pipeline.arrays import Flags, Floats, Ints
from sae_pipeline.schema.common import MIN_HEADLINES

# Support is thin where, in one half, fewer than MIN_HEADLINES headlines fire a feature or have a class: the feature
# then has the neutral value, no interval and no test.
RESAMPLES = 200
_TINY = 1e-12
_CHUNK = 1 << 20  # resampled counts per piece of work: 4 MiB


@dataclass(frozen=True)
class Estimate:
    """A number for each feature with its uncertainty, each [d_sae]. NaN: not tested."""

    values: Floats  # on the choosing half, finite
    tested: Floats  # on the testing half
    n: Ints  # headlines of the testing half on which the feature fires
    low: Floats  # 95 % interval of `tested`
    high: Floats
    q: Floats | None  # Benjamini–Hochberg over tested features; None: no test


def auroc(stats: FeatureStats, label: int) -> Estimate:
    """P(m of a headline of the class > m of another) + ½ P(equal); 0.5 says nothing. Mann–Whitney test."""
    fires = _firing(stats)
    rankable = fires[CHOOSING] & (_rarest(stats, label, CHOOSING) >= MIN_HEADLINES)
    testable = fires[TESTING] & (_rarest(stats, label, TESTING) >= MIN_HEADLINES)
    area = [_auroc(*_split(_cells(stats, half), label)) for half in (CHOOSING, TESTING)]
    p = mann_whitney(*_split(_cells(stats, TESTING), label))
    low, high = _intervals(stats)[f"auroc_{label}"]
    return _estimate(stats, np.where(rankable, area[CHOOSING], 0.5), area[TESTING], testable, low, high, p)


def mutual_information(stats: FeatureStats) -> Estimate:
    """I(label; fires) in bits over headlines, less its bias (Miller 1955), at least 0. G-test."""
    fires = _firing(stats)
    tables = [_fires_by_class(_cells(stats, half)) for half in (CHOOSING, TESTING)]
    raw = [_information(table) for table in tables]
    value = [np.maximum(bits - _bias(table), 0) for bits, table in zip(raw, tables, strict=True)]
    g = 2 * np.log(2) * tables[TESTING].sum((1, 2)) * raw[TESTING]
    p = scipy_stats.chi2.sf(g, max(stats.n_classes - 1, 1))
    low, high = _intervals(stats)["mutual_information"]
    return _estimate(
        stats, np.where(fires[CHOOSING], value[CHOOSING], 0.0), value[TESTING], fires[TESTING], low, high, p
    )


def selectivity(stats: FeatureStats) -> Estimate:
    """(μ₁ − μ₀) / (μ₁ + μ₀), μ₁ the mean m of the class where it is highest, μ₀ the mean of the others' means.

    Morcos et al. 2018, "On the importance of single directions". The class is the choosing half's, so the tested value
    may be negative.
    """
    fires = _firing(stats)
    means = stats.class_sums / np.maximum(stats.class_sizes, 1)[..., None]
    best = means[CHOOSING].argmax(0)
    value = [_selectivity(means[half].T, best) for half in (CHOOSING, TESTING)]
    low, high = _intervals(stats)["selectivity"]
    return _estimate(stats, np.where(fires[CHOOSING], value[CHOOSING], 0.0), value[TESTING], fires[TESTING], low, high)


def mann_whitney(positive: Ints, negative: Ints) -> Floats:
    """p [n] of two-sided tests that two samples rank alike, from their counts [n, bins]; normal, corrected for ties."""
    a, b = positive.sum(1).astype(np.float64), negative.sum(1).astype(np.float64)
    n = a + b
    ties = ((positive + negative).astype(np.float64) ** 3).sum(1) - n
    variance = a * b / 12 * (n + 1 - ties / np.maximum(n * (n - 1), 1))
    shift = (_auroc(positive, negative) - 0.5) * a * b
    z = np.divide(np.abs(shift), np.sqrt(np.maximum(variance, _TINY)), out=np.zeros_like(n), where=variance > _TINY)
    return np.asarray(2 * scipy_stats.norm.sf(z))


# --- the numbers, from counts ------------------------------------------------------------------------------------


def _cells(stats: FeatureStats, half: int) -> Ints:
    """[d_sae, 1 + bins, n_classes] headlines of a half; bin 0 are those on which the feature is silent."""
    fired = stats.class_histogram[half].transpose(1, 2, 0)
    silent = stats.class_sizes[half] - fired.sum(1)
    return np.concatenate([silent[:, None], fired], 1)


def _split(cells: Ints, label: int) -> tuple[Ints, Ints]:
    """Counts of a class and of the rest, each [d_sae, 1 + bins]."""
    return cells[..., label], cells.sum(-1) - cells[..., label]


def _auroc(positive: Ints | Floats, negative: Ints | Floats) -> Floats:
    """From counts [n, bins], bins ascending; 0.5 where one of them is empty."""
    below = np.cumsum(negative, 1) - 0.5 * negative
    pairs = positive.sum(1).astype(np.float64) * negative.sum(1)
    wins = (positive * below).sum(1)
    return np.asarray(np.divide(wins, pairs, out=np.full(pairs.shape, 0.5), where=pairs > 0))


def _fires_by_class(cells: Ints | Floats) -> Floats:
    """[n, 1 + bins, n_classes, …] → [n, 2, n_classes, …]: silent, firing."""
    return np.stack([cells[:, 0], cells[:, 1:].sum(1)], 1)


def _information(table: Floats) -> Floats:
    """Plug-in mutual information, bits, of [n, 2, n_classes, …]."""
    joint = table / np.maximum(table.sum((1, 2), keepdims=True), _TINY)
    independent = joint.sum(1, keepdims=True) * joint.sum(2, keepdims=True)
    ratio = np.divide(joint, independent, out=np.ones_like(joint), where=joint > 0)
    return np.asarray((joint * np.log2(ratio)).sum((1, 2)))


def _bias(table: Floats) -> Floats:
    """Of the plug-in mutual information, bits: degrees of freedom / (2 n ln 2)."""
    n_classes = (table.sum(1) > 0).sum(1)
    return np.asarray(np.maximum(n_classes - 1, 0) / (2 * np.log(2) * np.maximum(table.sum((1, 2)), 1)))


def _selectivity(means: Floats, best: Ints) -> Floats:
    """From class means [n, n_classes, …] and the class [n]."""
    chosen = np.take_along_axis(means, best.reshape(-1, *[1] * (means.ndim - 1)), 1)[:, 0]
    others = (means.sum(1) - chosen) / max(means.shape[1] - 1, 1)
    total = chosen + others
    return np.asarray(np.divide(chosen - others, total, out=np.zeros_like(total), where=total > 0))


# --- which features are tested -----------------------------------------------------------------------------------


def _firing(stats: FeatureStats) -> Flags:
    """[2, d_sae]: whether enough headlines of the half fire the feature."""
    return np.asarray(stats.class_histogram.sum((1, 3)) >= MIN_HEADLINES)


def _rarest(stats: FeatureStats, label: int, half: int) -> int:
    """Headlines of the class or of the rest, whichever are fewer."""
    sizes = stats.class_sizes[half]
    return int(min(sizes[label], sizes.sum() - sizes[label]))


def _estimate(
    stats: FeatureStats,
    values: Floats,
    tested: Floats,
    testable: Flags,
    low: Floats,
    high: Floats,
    p: Floats | None = None,
) -> Estimate:
    def where_tested(column: Floats) -> Floats:
        return np.where(testable, column, np.nan)

    q = None
    if p is not None:
        q = np.full(len(p), np.nan)
        if testable.any():
            q[testable] = scipy_stats.false_discovery_control(p[testable])
    n = stats.class_histogram[TESTING].sum((0, 2), dtype=np.int64)
    return Estimate(values, where_tested(tested), n, where_tested(low), where_tested(high), q)


# --- bootstrap ---------------------------------------------------------------------------------------------------

_known: WeakKeyDictionary[FeatureStats, tuple[int, dict[str, Floats]]] = WeakKeyDictionary()


def _intervals(stats: FeatureStats) -> dict[str, Floats]:
    """95 % intervals [2, d_sae] of every number on the testing half; made once per state of `stats`."""
    made = _known.get(stats)
    if made is None or made[0] != stats.n_headlines:
        made = stats.n_headlines, bootstrap(stats)
        _known[stats] = made
    return made[1]


def bootstrap(stats: FeatureStats, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, Floats]:
    """Percentile intervals [2, d_sae] by name of number; NaN for features with thin evidence."""
    means = stats.class_sums / np.maximum(stats.class_sizes, 1)[..., None]
    cells, best = _cells(stats, TESTING), means[CHOOSING].argmax(0)
    live = np.flatnonzero(_firing(stats)[TESTING])
    occupied = np.asarray((cells[live] > 0).any(-1))
    occupied[:, 0] = True
    width = np.maximum(2, occupied.sum(1))
    chunks: list[tuple[int, Ints]] = []
    for size in np.unique(width).tolist():
        alike = np.flatnonzero(width == size)
        pieces = np.array_split(alike, max(1, len(alike) * size * stats.n_classes * resamples // _CHUNK))
        chunks.extend((size, piece) for piece in pieces)
    table = _poisson_quantiles()

    def resampled(number: int) -> tuple[Ints, dict[str, Floats]]:
        size, chunk = chunks[number]
        # The occupied bins of each feature, ascending; a feature with fewer than two gets an empty one.
        bins = np.argsort(~occupied[chunk], axis=1, kind="stable")[:, :size]
        features = live[chunk]
        counts = np.take_along_axis(cells[features], bins[..., None], 1)
        drawn = _poisson(counts, table, resamples, np.random.default_rng([seed, number]))
        return features, _chunk_intervals(drawn, bins, counts, means[TESTING][:, features], best[features])

    names = [*(f"auroc_{label}" for label in range(stats.n_classes)), "mutual_information", "selectivity"]
    result = {name: np.full((2, len(stats.counts)), np.nan) for name in names}
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # numpy lets go of the interpreter's lock; seeds are per chunk
        for features, intervals in pool.map(resampled, range(len(chunks))):
            for name, interval in intervals.items():
                result[name][:, features] = interval
    return result


def _chunk_intervals(drawn: Floats, bins: Ints, counts: Ints, means: Floats, best: Ints) -> dict[str, Floats]:
    """drawn, counts [n, bins, n_classes(, resamples)], class means [n_classes, n] → intervals [2, n]."""
    totals = drawn.sum(1)  # [n, n_classes, resamples]
    rest = totals.sum(1, keepdims=True) - totals
    wins, below = np.zeros_like(totals), np.zeros_like(totals)
    for cell in drawn.transpose(1, 0, 2, 3):
        others = cell.sum(1, keepdims=True) - cell
        wins += cell * (below + 0.5 * others)
        below += others
    area = np.divide(wins, totals * rest, out=np.full_like(wins, 0.5), where=totals * rest > 0)
    result = {f"auroc_{label}": _percentiles(area[:, label]) for label in range(area.shape[1])}
    silent = drawn[:, 0]
    bits = _information(np.stack([silent, totals - silent], 1))
    bias = _bias(_fires_by_class(counts.astype(np.float64)))
    result["mutual_information"] = np.maximum(_percentiles(bits) - 2 * bias, 0)  # a resample is biased once more
    # m within a bin stands at the bin's middle, then all are scaled so that the class's own mean is met.
    middle = np.concatenate([[0.0], np.sqrt(HISTOGRAM_EDGES[:-1] * HISTOGRAM_EDGES[1:])])[bins].astype(np.float32)
    placed = np.einsum("nb,nbc->nc", middle, counts) / np.maximum(counts.sum(1), 1)
    scale = np.divide(means.T, placed, out=np.zeros(placed.shape), where=placed > 0).astype(np.float32)
    drawn_means = np.einsum("nb,nbcr->ncr", middle, drawn) / np.maximum(totals, 1) * scale[..., None]
    result["selectivity"] = _percentiles(_selectivity(drawn_means, best))
    return result


def _percentiles(replicates: Floats) -> Floats:
    """2.5 % and 97.5 % of [n, resamples], [2, n]."""
    places = np.round(np.array([0.025, 0.975]) * (replicates.shape[1] - 1)).astype(int)
    return np.asarray(np.sort(replicates, axis=1)[:, places].T, np.float64)


_EXACT, _LEVELS = 256, 4096


def _poisson_quantiles() -> Floats:
    """[_EXACT + 1, _LEVELS] quantiles of Poisson(n) for n below _EXACT; the last row is the standard normal's.

    A look-up is ten times faster than a generator; levels stand in the middle of 4,096 equal steps.
    """
    level = (np.arange(_LEVELS) + 0.5) / _LEVELS
    table = np.zeros((_EXACT + 1, _LEVELS), np.float32)
    values = np.arange(2 * _EXACT)
    for n in range(1, _EXACT):
        table[n] = np.searchsorted(scipy_special.pdtr(values, n), level)
    table[_EXACT] = scipy_special.ndtri(level)
    return table


def _poisson(counts: Ints, table: Floats, resamples: int, random: np.random.Generator) -> Floats:
    """Poisson(n) for counts n […], float32 [..., resamples]; the rounding of large n is left out."""
    flat = counts.reshape(-1)
    drawn = np.zeros((len(flat), resamples), np.float32)
    some = np.flatnonzero(flat)
    level = random.integers(0, _LEVELS, (len(some), resamples), np.uint16)
    few = flat[some] < _EXACT
    rows = flat[some[few]].astype(np.int32) * np.int32(_LEVELS)
    drawn[some[few]] = table.reshape(-1).take(rows[:, None] + level[few])
    n = flat[some[~few]].astype(np.float32)[:, None]
    drawn[some[~few]] = np.maximum(n + np.sqrt(n) * table[_EXACT].take(level[~few]), 0)
    return drawn.reshape(*counts.shape, resamples)
