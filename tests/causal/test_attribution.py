"""Estimated effects against autograd in float64 and against true ablations; rankings, curves and splicing."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from sae_pipeline.causal.attribution import Attribution, ablate, attribute, ranked_groups
from sae_pipeline.causal.faithfulness import curve, spliced
from sae_pipeline.causal.flips import flip
from sae_pipeline.causal.probe import Probe, Reading, Variants
from sae_pipeline.classifier.logits import centred, softmax
from sae_pipeline.classifier.tail import Tail
from sae_pipeline.machine import device
from sae_pipeline.sae.firings import Firings
from tests.causal.conftest import TEXTS
from tests.support.cases import LAYER, Case
from tests.support.encoders import save_encoder
from tests.support.whole_model import spliced_logits


class TestEstimates:
    """What the estimates are said to be."""

    @pytest.mark.parametrize("family", ["bert", "distilbert", "roberta"])
    def test_gradients_equal_float64(self, tmp_path: Path, family: str) -> None:
        """Every entry, class by class, against the whole model differentiated in float64 with dense activations."""
        save_encoder(family, tmp_path)
        case = Case(tmp_path)
        reading = case.reading
        found = attribute(case.probe, reading, steps=3)
        f = case.activations().double()
        n_classes = reading.logits.shape[1]
        nodes, weights = np.polynomial.legendre.leggauss(3)
        probe64 = Case(tmp_path)
        probe64.model.double()
        tail64 = Tail(probe64.model, LAYER)
        probe64.probe.sae.double()
        hidden, input_ids, mask = replace(reading, hidden=reading.hidden.double()).padded(
            np.arange(len(reading.tokenized))
        )

        def effects(alpha: float) -> np.ndarray:
            v = (alpha * f).requires_grad_()
            x = hidden + case.sae.scale.double() * ((v - f) @ case.sae.W_dec.double())
            logits = tail64(x, input_ids, mask).double()
            c = logits - logits.mean(-1, keepdim=True)
            grads = [torch.autograd.grad(c[:, k].sum(), v, retain_graph=True)[0] * f for k in range(n_classes)]
            return torch.stack(grads, -1).numpy()

        firings = reading.firings
        at = (firings.headline, firings.position, firings.feature)
        size = np.abs(effects(1.0)).max()
        np.testing.assert_allclose(found.gradient, effects(1.0)[at], rtol=1e-3, atol=1e-4 * size)
        expected = sum(w / 2 * effects((n + 1) / 2) for n, w in zip(nodes, weights, strict=True))
        np.testing.assert_allclose(found.integrated, expected[at], rtol=1e-3, atol=1e-4 * size)

    def test_integrated_effects_are_complete(self, reading: Reading, attribution: Attribution, probe: Probe) -> None:
        """Σ over all features = centred logits − those at the path's start; more steps come nearer."""
        end = centred(reading.logits)

        def gap(found: Attribution) -> float:
            total = np.stack(
                [
                    np.bincount(reading.firings.headline, weights=found.integrated[:, c], minlength=len(end))
                    for c in range(end.shape[1])
                ],
                1,
            )
            return float(np.abs(total - (end - found.base)).max())

        assert gap(attribute(probe, reading, steps=32)) < 1e-5
        assert gap(attribute(probe, reading, steps=16)) < max(gap(attribution), 1e-5)
        assert gap(attribution) < gap(attribute(probe, reading, steps=1))

    @pytest.mark.parametrize("copies", [0, 1 << 15])
    def test_as_on_a_card(
        self, reading: Reading, attribution: Attribution, probe: Probe, copies: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Many points of the path in one pass give the effects of one after the other."""
        monkeypatch.setattr(device, "_CPU", device._CARD._replace(copies=copies))
        whole = replace(probe, tokens_per_batch=4096)
        assert whole.budget == 1 << 15
        found = attribute(whole, reading, steps=8)
        for name in ("gradient", "integrated", "base", "logits"):
            np.testing.assert_allclose(getattr(found, name), getattr(attribution, name), atol=1e-4)

    def test_base_is_the_headline_without_features(
        self, reading: Reading, attribution: Attribution, probe: Probe
    ) -> None:
        """The path starts where all active features are ablated."""
        rows = np.arange(len(TEXTS))
        groups = np.split(np.arange(len(reading.firings.group_start)), reading.group_starts[1:-1])
        without = probe.logits(reading, Variants.of_groups(reading.firings, rows, groups))
        np.testing.assert_allclose(attribution.base, centred(without), atol=1e-4)

    def test_effects_of_all_classes_cancel(self, reading: Reading, attribution: Attribution) -> None:
        """Centred: what helps one class is taken from the others. Tokens add up to the feature."""
        by_feature = attribution.by_feature(reading.firings)
        np.testing.assert_allclose(by_feature.sum(1), 0, atol=1e-4)
        np.testing.assert_allclose(by_feature.sum(0), attribution.integrated.sum(0, dtype=np.float64), rtol=1e-6)

    def test_estimate_agrees_with_the_truth(self, probe: Probe, reading: Reading, attribution: Attribution) -> None:
        """On a trained model the top features' estimate follows their true effect."""
        effects = attribution.by_feature(reading.firings, "gradient")
        groups = np.concatenate([g[:5] for g in ranked_groups(reading, "attribution", effects)])
        truth = ablate(probe, reading, groups)
        assert np.corrcoef(effects[groups].ravel(), truth.logits.ravel())[0, 1] > 0.8

    def test_nothing_active(self, tmp_path: Path) -> None:
        """An SAE that is silent attributes nothing, and the base is the prediction."""
        save_encoder("bert", tmp_path)
        case = Case(tmp_path)
        case.sae.b_enc.fill_(-1e4)
        reading = case.reading
        found = attribute(case.probe, reading)
        assert len(found.integrated) == 0 and len(found.by_feature(reading.firings)) == 0
        np.testing.assert_allclose(found.base, centred(reading.logits), atol=1e-5)
        assert flip(case.probe, reading, np.zeros((0, 2)), [0], [None]) == [None]


class TestTruth:
    """True ablations, rankings and curves."""

    def test_ablation_is_before_less_after(self, probe: Probe, reading: Reading) -> None:
        """One group by hand."""
        group = np.array([reading.group_starts[3] + 2])
        after = probe.logits(reading, Variants.of_groups(reading.firings, [3], [group]))
        found = ablate(probe, reading, group)
        np.testing.assert_allclose(found.logits[0], (centred(reading.logits[3]) - centred(after))[0], atol=1e-6)
        np.testing.assert_allclose(found.probabilities[0], softmax(reading.logits[3]) - softmax(after)[0], atol=1e-6)

    def test_rankings(self, reading: Reading, attribution: Attribution) -> None:
        """Each headline's groups once, in the order asked for."""
        firings: Firings = reading.firings
        effects = attribution.by_feature(firings)
        for order in ("attribution", "activation", "random"):
            ranked = ranked_groups(reading, order, effects)
            for headline, groups in enumerate(ranked):
                assert sorted(groups) == list(range(*reading.group_starts[headline : headline + 2]))
        predicted = reading.logits[5].argmax()
        signed = ranked_groups(reading, "attribution", effects, signed=True)[5]
        assert (np.diff(effects[signed, predicted]) <= 0).all()
        assert (np.diff(firings.group_max[ranked_groups(reading, "activation")[5]]) <= 0).all()

    def test_curves_meet(self, probe: Probe, reading: Reading, attribution: Attribution) -> None:
        """Removing none = keeping all = the model; removing all = keeping none = the path's start."""
        ranked = ranked_groups(reading, "random")
        removed = curve(probe, reading, range(len(TEXTS)), ranked, [0, 10**6], keep=False)
        kept = curve(probe, reading, range(len(TEXTS)), ranked, [0, 10**6], keep=True)
        np.testing.assert_allclose(removed, kept[::-1], atol=1e-4)
        np.testing.assert_allclose(removed[0], reading.logits, atol=1e-4)
        np.testing.assert_allclose(centred(removed[1]), attribution.base, atol=1e-4)

    def test_batches_that_do_not_fit_are_split(
        self, probe: Probe, reading: Reading, attribution: Attribution, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Effects and edited logits stay the same where a device holds few headlines at a time."""

        class SmallTail(Tail):
            def __call__(self, hidden: torch.Tensor, *inputs: torch.Tensor) -> torch.Tensor:
                if len(hidden) > 18:  # the copies of one short headline
                    raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasSgemm(handle)`")
                return super().__call__(hidden, *inputs)

        small = replace(probe, tail=SmallTail(probe.model, probe.sae.config.hookpoint.layer))
        found = attribute(small, reading, steps=8)
        np.testing.assert_allclose(found.integrated, attribution.integrated, atol=1e-4)
        np.testing.assert_allclose(found.base, attribution.base, atol=1e-4)
        groups = reading.group_starts[:-1]
        np.testing.assert_allclose(
            ablate(small, reading, groups).logits, ablate(probe, reading, groups).logits, atol=1e-4
        )
        np.testing.assert_allclose(small.read(reading.tokenized).logits, reading.logits, atol=1e-4)
        acts = small.acts(reading)
        np.testing.assert_allclose(small.replaced_logits(reading, acts), reading.logits, atol=1e-4)
        assert set(capsys.readouterr().err.replace(":", " ").split()) >= {"attribution", "interventions", "hookpoint"}

    def test_splicing_equals_evaluation(self, probe: Probe, reading: Reading) -> None:
        """The reconstruction from the hookpoint on is the one that the SAE's report splices in."""
        expected = spliced_logits(probe.model, reading.tokenized, probe.pad_id, 4, "words", probe.sae)
        found = spliced(probe, reading)
        np.testing.assert_allclose(found["sae"], expected, atol=1e-3)
        changes = {name: np.abs(found[name] - reading.logits).mean() for name in ("sae", "zero")}
        assert changes["sae"] < changes["zero"]
