"""Probes with known answers; the ridge is chosen on dev, and test only scores."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.metrics import log_loss

from sae_pipeline.errors import UserError
from sae_pipeline.evaluation import probing
from sae_pipeline.evaluation.bootstrap import probe_figures
from sae_pipeline.evaluation.probing import SplitLabels, SplitUnits, fit_probes, headline_maxima
from tests.support.saes import drawn, random_sae

RNG = np.random.default_rng(0)
LABELS = SplitLabels(*(RNG.integers(0, 3, n) for n in (400, 100, 400)))
NOISE = [np.abs(RNG.normal(size=(len(split), 12))) for split in LABELS]


def areas(units: SplitUnits, sizes: list[int | None]) -> list[float]:
    found = fit_probes(units, LABELS, sizes)
    return [probe_figures(probe.scores, LABELS.test, LABELS.classes()).auroc.value for probe in found]


class TestProbing:
    """Probes of labels."""

    @pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
    def test_known_answers(self, form: object) -> None:
        """A unit that is the label scores 1; noise scores about a half; the right unit is found among many."""
        assert areas(SplitUnits(*map(form, NOISE)), [1]) == [pytest.approx(0.5, abs=0.07)]  # type: ignore[call-overload]
        told = [form(np.hstack([n, np.eye(3)[y]])) for n, y in zip(NOISE, LABELS, strict=True)]  # type: ignore[operator]
        one, five, every = areas(SplitUnits(*told), [1, 5, None])
        assert one == 1 and five > 0.99 and every > 0.99

    def test_the_ridge_is_the_best_on_dev(self) -> None:
        """Of all ridges the one with the least log-loss on dev; other labels of test change neither it nor a score."""
        weak = [np.hstack([n, 0.5 * np.eye(3)[y] + 0.3 * n[:, :3]]) for n, y in zip(NOISE, LABELS, strict=True)]
        (found,) = fit_probes(SplitUnits(*weak), LABELS, [None])
        losses = {}
        for ridge in probing.RIDGES:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(probing, "RIDGES", (ridge,))
                on_dev = SplitUnits(weak[0], weak[1], weak[1])
                (probe,) = fit_probes(on_dev, SplitLabels(LABELS.train, LABELS.dev, LABELS.dev), [None])
            chances = 1 / (1 + np.exp(-probe.scores))
            losses[ridge] = sum(log_loss(LABELS.dev == c, chances[:, c]) for c in range(3))
        assert found.ridge == min(losses, key=losses.__getitem__)
        shuffled = SplitLabels(LABELS.train, LABELS.dev, np.roll(LABELS.test, 7))
        (again,) = fit_probes(SplitUnits(*weak), shuffled, [None])
        assert again.ridge == found.ridge and np.array_equal(again.scores, found.scores)

    @pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
    def test_only_train_chooses_and_scales_units(self, form: Any) -> None:
        """A unit that is the label on test alone is not chosen; a headline's score does not depend on the others."""
        sizes = [1, 5, None]
        planted = [NOISE[0].copy(), NOISE[1].copy(), np.hstack([NOISE[2][:, :9], 9.0 * np.eye(3)[LABELS.test]])]
        planted[0][:, 0] += LABELS.train == 0
        planted[1][:, 0] += LABELS.dev == 0
        whole = fit_probes(SplitUnits(*map(form, planted)), LABELS, sizes)
        half = SplitUnits(*map(form, (*planted[:2], planted[2][:200])))
        shuffled = LABELS._replace(test=np.roll(LABELS.test, 7))
        part = fit_probes(half, LABELS._replace(test=LABELS.test[:200]), sizes)
        other = fit_probes(SplitUnits(*map(form, planted)), shuffled, sizes)
        for one, few, another in zip(whole, part, other, strict=True):
            assert one.ridge == few.ridge == another.ridge
            assert few.scores == pytest.approx(one.scores[:200]) and np.array_equal(one.scores, another.scores)

    def test_one_class(self) -> None:
        """Nothing to tell apart, or nothing to choose the ridge on: a sentence."""
        x, ones = sparse.csr_matrix(np.ones((4, 2))), np.ones(4, int)
        with pytest.raises(UserError, match="at least two classes"):
            fit_probes(SplitUnits(x, x, x), SplitLabels(ones, ones, ones), [1])
        both = np.array([0, 1, 0, 1])
        with pytest.raises(UserError, match="some in dev"):
            fit_probes(SplitUnits(x, x[:0], x), SplitLabels(both, both[:0], both), [1])

    def test_headline_maxima(self) -> None:
        """The same as the maximum over the dense activations of each headline."""
        sae, x = random_sae(), drawn(9, 50, 12)
        headline = torch.arange(50) // 5
        found = headline_maxima(sae, x, headline, 10).toarray()
        expected = sae.encode(x).view(10, 5, -1).amax(1)
        assert found == pytest.approx(expected.numpy(), abs=1e-5)
