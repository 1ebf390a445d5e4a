"""A new kind of SAE is a record in `KINDS` and a training step; everything else follows from these two."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from sae_pipeline.activations.batches import HeldTokens
from sae_pipeline.config import TrainConfig
from sae_pipeline.kernels import Rule
from sae_pipeline.sae.autoencoder import SaeConfig, SparseAutoencoder
from sae_pipeline.sae.formats import saelens
from sae_pipeline.sae.formats.plain import Recorded
from sae_pipeline.sae.kinds import StepStats
from sae_pipeline.sae.kinds.engine import SparseStepper
from sae_pipeline.sae.training import Job, sparsity_weight, train_saes
from sae_pipeline.schema.kinds import KINDS, KindRecord, PenaltyUnit
from tests.sae.test_training import D_IN, mixtures
from tests.support.saes import sae_config


class SquaredPenaltyStep(SparseStepper):
    """f = relu(pre),  loss = mean over tokens of ‖x − x̂‖² + λ/2·Σf²."""

    learning_rate = 4e-3
    encoder_bias = -1.0

    def step(self, x: Tensor, lr: float, sparsity: float) -> StepStats:
        """One step over the active entries."""
        batch, n = self._read(x), len(x)
        lists = self._encode(batch)
        assert lists is not None
        r, mean_r, squared = self._residual(lists, batch)
        penalty = Rule(extra=sparsity / n * lists.values)
        self._update(lists, batch, r, self.adam(lr), penalty)
        self._step_b_dec(2 * mean_r, lr)
        counts = lists.ptr.diff()
        loss = (squared + sparsity / 2 * float(lists.values.square().sum())) / n
        return StepStats(n, loss, squared, float(x.square().sum()), int(counts.sum()), counts)


def test_a_new_kind_is_a_record_and_a_step(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A kind that only its record and its step know is configured, trained, saved, loaded, applied and exported."""
    record = KindRecord(
        name="squared",
        summary="λ/2 weighs Σf²",
        step=f"{__name__}:{SquaredPenaltyStep.__name__}",
        penalty=PenaltyUnit(2.0, 0.5, 0.0),
        batch_size=250,
    )
    monkeypatch.setitem(KINDS, record.name, record)
    config = TrainConfig(latent_dims=(96,), kind="squared", num_epochs=3)
    assert (config.fixes_k, config.active, config.tokens_per_step) == (False, None, 250)
    penalty = sparsity_weight("default", 1e-3, D_IN, 96, "squared")
    assert penalty == pytest.approx(1e-3 * 2 * D_IN**0.5)

    acts = mixtures(0)
    mean, scale = acts.mean(0), (acts - acts.mean(0)).square().mean().sqrt()
    template = sae_config(D_IN, 96).model_copy(update={"kind": "squared", "sparsity_weight": penalty})
    job = Job("squared", SaeConfig.model_validate(template.model_dump()), config)
    trained = train_saes(HeldTokens(acts), mean, scale, [job], torch.device("cpu"))[0]
    assert trained.curve.fvu[-1] < 0.5 * trained.curve.fvu[0]

    trained.sae.save(tmp_path / "sae.pt")
    loaded = SparseAutoencoder.load(tmp_path / "sae.pt")
    f = loaded.encode(acts[:50])
    assert loaded.config.kind == "squared" and torch.equal(f, trained.sae.encode(acts[:50])) and f.any()
    settings = saelens.write(loaded, Recorded())["cfg.json"]
    assert isinstance(settings, dict) and settings["architecture"] == "jumprelu"


def test_unknown_kind() -> None:
    """A kind without a record is refused, with the names of those that have one."""
    with pytest.raises(ValueError, match=r"Input should be 'relu', .* or 'matryoshka'"):
        TrainConfig(kind="squared")
