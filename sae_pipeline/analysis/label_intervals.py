"""95 % intervals of the label statistics, from a bootstrap over headlines.

The statistics depend on a headline through its true label and its bin of m alone. So resampling headlines is resampling
the counts of these cells: the bootstrap needs the mergeable histogram and no second look at the data. The cells are
resampled as independent Poisson counts (Hanley & MacGibbon 2006; Chamandy et al. 2012).
"""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from scipy import special as scipy_special

from sae_pipeline.analysis.feature_stats import CHOOSING, HISTOGRAM_EDGES, TESTING, FeatureStats
from sae_pipeline.analysis.label_statistics import (
    cells_of,
    class_means,
    enough_firing,
    information_bias,
    information_of,
    selectivity_of,
    silent_and_firing,
)
from sae_pipeline.arrays import Floats, Ints

RESAMPLES = 200
_CHUNK = 1 << 20  # resampled counts per piece of work: 4 MiB
_EXACT, _LEVELS = 256, 4096  # counts with quantiles of their own, and quantiles of each


def bootstrap(stats: FeatureStats, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, Floats]:
    """Percentile intervals [2, d_sae] on the testing half, by name of metric; NaN for features with thin support."""
    means = class_means(stats)
    cells, best = cells_of(stats, TESTING), means[CHOOSING].argmax(0)
    live = np.flatnonzero(enough_firing(stats)[TESTING])
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
        # The occupied bins of each feature, ascending; a feature with one of them gets an empty one beside it.
        bins = np.argsort(~occupied[chunk], axis=1, kind="stable")[:, :size]
        features = live[chunk]
        counts = np.take_along_axis(cells[features], bins[..., None], 1)
        drawn = _poisson(counts, table, resamples, np.random.default_rng([seed, number]))
        return features, _chunk_intervals(drawn, bins, counts, means[TESTING][:, features], best[features])

    names = [*(f"auroc_{label}" for label in range(stats.n_classes)), "mutual_information", "selectivity"]
    result = {name: np.full((2, len(stats.counts)), np.nan) for name in names}
    with ThreadPoolExecutor(
        os.cpu_count()
    ) as pool:  # numpy releases the interpreter's lock; each chunk has its own seed
        for features, intervals in pool.map(resampled, range(len(chunks))):
            for name, interval in intervals.items():
                result[name][:, features] = interval
    return result


def _chunk_intervals(drawn: Floats, bins: Ints, counts: Ints, means: Floats, best: Ints) -> dict[str, Floats]:
    """Intervals [2, n] of every metric for n features.

    drawn [n, bins, n_classes, resamples], bins [n, bins], counts [n, bins, n_classes], means [n_classes, n], best [n].
    """
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
    bits = information_of(np.stack([silent, totals - silent], 1))
    bias = information_bias(silent_and_firing(counts.astype(np.float64)))
    result["mutual_information"] = np.maximum(_percentiles(bits) - 2 * bias, 0)  # a resample has the bias twice
    # Each m is placed at the middle of its bin; then all are scaled so that they have the class's own mean.
    middle = np.concatenate([[0.0], np.sqrt(HISTOGRAM_EDGES[:-1] * HISTOGRAM_EDGES[1:])])[bins].astype(np.float32)
    placed = np.einsum("nb,nbc->nc", middle, counts) / np.maximum(counts.sum(1), 1)
    scale = np.divide(means.T, placed, out=np.zeros(placed.shape), where=placed > 0).astype(np.float32)
    drawn_means = np.einsum("nb,nbcr->ncr", middle, drawn) / np.maximum(totals, 1) * scale[..., None]
    result["selectivity"] = _percentiles(selectivity_of(drawn_means, best))
    return result


def _percentiles(replicates: Floats) -> Floats:
    """The 2.5 % and 97.5 % percentiles of [n, resamples], as [2, n]."""
    places = np.round(np.array([0.025, 0.975]) * (replicates.shape[1] - 1)).astype(int)
    return np.asarray(np.sort(replicates, axis=1)[:, places].T, np.float64)


def _poisson_quantiles() -> Floats:
    """Quantiles of Poisson(n) for n below _EXACT, [_EXACT + 1, _LEVELS]; the last row is the standard normal's.

    Looking a quantile up is ten times faster than a generator. The levels are the middles of 4,096 equal steps.
    """
    level = (np.arange(_LEVELS) + 0.5) / _LEVELS
    table = np.zeros((_EXACT + 1, _LEVELS), np.float32)
    values = np.arange(2 * _EXACT)
    for n in range(1, _EXACT):
        table[n] = np.searchsorted(scipy_special.pdtr(values, n), level)
    table[_EXACT] = scipy_special.ndtri(level)
    return table


def _poisson(counts: Ints, table: Floats, resamples: int, random: np.random.Generator) -> Floats:
    """Draws from Poisson(n) for counts n […], float32 [..., resamples]. Draws for large n are not rounded."""
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
