"""Scores of probes and of reconstructions on test, with intervals by a bootstrap over headlines.

Every figure is computed on the same resamples of the headlines, so the difference of two figures is paired.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sae_pipeline.arrays import Flags, Floats, Ints

N_RESAMPLES = 1000
_AT_ONCE = 100  # resamples that are in memory together
_LEVELS = (2.5, 97.5)


@dataclass(frozen=True, eq=False)
class Figure:
    """A figure on all headlines, and on every resample of them."""

    value: float
    resampled: Floats  # [N_RESAMPLES]

    def interval(self) -> tuple[float, float]:
        """The 95 % interval: percentiles of the resamples, widened to contain the value where headlines are few."""
        low, high = np.nanpercentile(self.resampled, _LEVELS)
        return min(float(low), self.value), max(float(high), self.value)

    def gain_over(self, other: "Figure") -> "Figure":
        """This figure minus another one of the same headlines."""
        return Figure(self.value - other.value, self.resampled - other.resampled)

    def negative(self) -> "Figure":
        """The same figure with the other sign."""
        return Figure(-self.value, -self.resampled)


@dataclass(frozen=True, eq=False)
class ProbeFigures:
    """How well a probe predicts the labels."""

    auroc: Figure
    macro_f1: Figure
    accuracy: Figure


def probe_figures(scores: Floats, labels: Ints, classes: list[int]) -> ProbeFigures:
    """AUROC, macro-F1 and accuracy of scores [n_headlines, n_classes] for labels int [n_headlines].

    `classes` are the labels of the columns. The class with the highest score is predicted. AUROC and F1 are means over
    the classes, each against the rest.
    """
    predicted = np.asarray(classes)[scores.argmax(1)]
    parts = [_figures(scores, predicted, labels, classes, weights) for weights in _resamples(len(labels))]
    return ProbeFigures(*(Figure(float(column[0]), column[1:]) for column in np.concatenate(parts, 1)))


def share_unexplained(errors: Floats, squares: Floats) -> Figure:
    """FVU from the sums of ‖x − x̂‖² and of ‖x − m‖² over each headline's vectors, both [n_headlines].

    m is the mean of the vectors of all headlines.
    """
    return _figure((weights @ errors) / np.maximum(weights @ squares, 1e-30) for weights in _resamples(len(errors)))


def area_under_curve(scores: Floats | Ints, inside: Flags) -> Figure:
    """AUROC: the probability that a headline `inside` scores higher than one outside, where a tie counts half.

    `scores` are [n_headlines], `inside` is bool [n_headlines]. NaN if no headline is inside, or none outside.
    """
    return _figure(_auroc(scores, inside, weights) for weights in _resamples(len(scores)))


def area_under_risk_coverage(sure: Floats, wrong: Flags) -> Figure:
    """The mean error rate over all coverages, where the surest headlines are answered first (Geifman & El-Yaniv 2017).

    `sure` are [n_headlines], `wrong` is bool [n_headlines].
    """
    order = surest_first(sure)
    return _figure(_mean_risk(wrong[order], weights[:, order]) for weights in _resamples(len(sure)))


def surest_first(sure: Floats) -> Ints:
    """The numbers of the headlines, the surest first; those that are equally sure are in a random order."""
    mixed = np.random.default_rng(0).permutation(len(sure))
    return mixed[np.argsort(-sure[mixed], kind="stable")]


def _mean_risk(wrong: Flags, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean of the error rates among the first headlines, [n_draws], which count as `weights` [n_draws, n]."""
    answered, errors = weights.cumsum(1), (weights * wrong).cumsum(1)
    return np.asarray((weights * errors / np.maximum(answered, 1)).sum(1) / answered[:, -1])


def _figure(parts: Iterable[NDArray[np.float64]]) -> Figure:
    """A figure from its values by `_resamples`."""
    column = np.concatenate(list(parts))
    return Figure(float(column[0]), column[1:])


def _resamples(n: int) -> Iterator[NDArray[np.float64]]:
    """How often each of n headlines is drawn, float64 [n_draws, n].

    The first row draws each headline once. N_RESAMPLES random draws with replacement follow, `_AT_ONCE` at a time.
    """
    yield np.ones((1, n))
    generator = np.random.default_rng(0)
    for start in range(0, N_RESAMPLES, _AT_ONCE):
        drawn = generator.integers(0, n, (min(_AT_ONCE, N_RESAMPLES - start), n))
        yield np.stack([np.bincount(row, minlength=n) for row in drawn]).astype(np.float64)


def _figures(
    scores: Floats, predicted: Ints, labels: Ints, classes: list[int], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """AUROC, macro-F1 and accuracy, [3, n_draws], where headlines count as `weights` [n_draws, n_headlines].

    A class that is not in a resample is left out of the means.
    """
    areas, f1s = [], []
    for n, c in enumerate(classes):
        inside, said = labels == c, predicted == c
        areas.append(_auroc(scores[:, n], inside, weights))
        true = weights @ (inside & said)
        n_inside, n_said = weights @ inside, weights @ said
        f1s.append(np.where(n_inside > 0, 2 * true / np.maximum(n_inside + n_said, 1), np.nan))
    accuracy = (weights @ (predicted == labels)) / weights.sum(1)
    return np.stack([_mean(areas), _mean(f1s), accuracy])


def _mean(of_classes: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """The mean over classes, [n_draws]. Classes that are NaN are left out; if all are, the mean is NaN."""
    table = np.stack(of_classes)
    known = np.isfinite(table).sum(0)
    return np.asarray(np.where(known > 0, np.nansum(table, 0) / np.maximum(known, 1), np.nan))


def _auroc(scores: Floats | Ints, inside: Flags, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """AUROC, [n_draws], where headlines count as `weights` [n_draws, n_headlines]."""
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf))  # of headlines with the same score
    within = np.add.reduceat(weights[:, order] * inside[order], starts, axis=1)
    without = np.add.reduceat(weights[:, order] * ~inside[order], starts, axis=1)
    below = without.cumsum(1) - without / 2
    pairs = within.sum(1) * without.sum(1)
    with np.errstate(invalid="ignore"):
        area: NDArray[np.float64] = np.where(pairs > 0, (within * below).sum(1) / np.maximum(pairs, 1e-9), np.nan)
    return area
