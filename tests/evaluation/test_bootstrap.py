"""Figures with intervals: against scikit-learn, against analytic intervals, and paired."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

from sae_pipeline.evaluation.bootstrap import N_RESAMPLES, area_under_curve, probe_figures, share_unexplained
from sae_pipeline.intervals import wilson_interval

RNG = np.random.default_rng(1)
LABELS = RNG.integers(0, 3, 400)
SCORES = np.round(RNG.normal(size=(400, 3)) + 0.8 * np.eye(3)[LABELS], 1)  # rounded: many ties


def test_figures_are_those_of_scikit_learn() -> None:
    """On all headlines, and on a resample drawn in the same way."""
    found = probe_figures(SCORES, LABELS, [0, 1, 2])
    first = np.random.default_rng(0).integers(0, 400, (100, 400))[0]
    for rows, n in ((np.arange(400), None), (first, 0)):
        scores, labels = SCORES[rows], LABELS[rows]
        areas = [roc_auc_score(labels == c, scores[:, c]) for c in range(3)]
        expected = (np.mean(areas), f1_score(labels, scores.argmax(1), average="macro"))
        figures = (found.auroc, found.macro_f1, found.accuracy)
        values = [figure.value if n is None else figure.resampled[n] for figure in figures]
        assert values == pytest.approx([*expected, accuracy_score(labels, scores.argmax(1))])


def test_intervals() -> None:
    """That of accuracy is nearly Wilson's; that of a figure against itself is nothing; a class may be rare."""
    accuracy = probe_figures(SCORES, LABELS, [0, 1, 2]).accuracy
    low, high = wilson_interval(np.array(round(400 * accuracy.value)), np.array(400))
    assert accuracy.interval() == pytest.approx((float(low), float(high)), abs=0.01)
    assert accuracy.gain_over(accuracy).interval() == (0, 0)
    assert len(accuracy.resampled) == N_RESAMPLES
    rare = np.where(np.arange(400) == 7, 1, 0)  # a third of the resamples do not hold it
    figures = probe_figures(SCORES[:, :2], rare, [0, 1])
    assert np.isfinite(figures.auroc.interval()).all() and np.isfinite(figures.macro_f1.interval()).all()


def test_unexplained_share() -> None:
    """Twice the error is twice the share, and its interval too."""
    squares = RNG.gamma(5, size=300)
    errors = 0.2 * squares * RNG.uniform(0.5, 1.5, 300)
    one, two = share_unexplained(errors, squares), share_unexplained(2 * errors, squares)
    assert one.value == pytest.approx(errors.sum() / squares.sum())
    assert two.interval() == pytest.approx([2 * end for end in one.interval()])
    assert one.interval()[0] < one.value < one.interval()[1]


def test_area_by_hand() -> None:
    """Of the six pairs, four are won, one is lost and one is equal."""
    inside = np.array([True, True, False, False, False])
    for scores in (np.array([3.0, 1.0, 2.0, 1.0, 0.0]), np.array([3, 1, 2, 1, 0])):
        assert area_under_curve(scores, inside).value == 4.5 / 6
