"""Baselines: frozen parts stay as they were drawn, words come from train alone, means are over tokens."""

import numpy as np
import pytest
import torch

from sae_pipeline.activations.batches import HeldTokens
from sae_pipeline.config import TrainConfig
from sae_pipeline.evaluation.baselines import bag_of_words, frozen_saes, pooled
from sae_pipeline.headlines.cleaning import SourceCounts
from sae_pipeline.headlines.dataset import CleaningReport, Headlines, Split
from sae_pipeline.sae.kinds import unit_rows
from sae_pipeline.sae.training import Job, train_saes
from tests.support.saes import drawn, random_sae, sae_config


def split(*texts: str) -> Split:
    return Split(list(texts), [0] * len(texts), [""] * len(texts), {})


@pytest.mark.parametrize("kind", ["relu", "batchtopk", "gated", "jumprelu"])
def test_frozen_parts_stay(kind: str) -> None:
    """The frozen directions have the bits that the seed draws; the other part and the biases have moved."""
    acts = drawn(0, 2048, 12) @ drawn(1, 12, 12)
    like = random_sae()
    like.config = sae_config().model_copy(update={"kind": kind, "k": 4 if kind == "batchtopk" else None})
    sizes = {"k": 4} if kind == "batchtopk" else {}
    config = TrainConfig.model_validate(
        {"latent_dims": (40,), "kind": kind, "batch_size": 128, "num_epochs": 2, "seed": 3, **sizes}
    )
    saes = frozen_saes(HeldTokens(acts), like, config, l0=6.0)
    rows = unit_rows(40, 12, torch.Generator().manual_seed(3))
    assert torch.equal(saes["frozen decoder"].W_dec, rows)
    assert not torch.allclose(saes["frozen decoder"].W_enc, rows.T, atol=1e-3)
    encoder = saes["frozen encoder"].W_enc
    if kind == "gated":  # a learnt factor per feature stretches its direction
        assert torch.allclose(torch.nn.functional.normalize(encoder, dim=0), rows.T, atol=1e-6)
    else:
        assert torch.equal(encoder, rows.T)
    assert not torch.allclose(saes["frozen encoder"].W_dec, rows, atol=1e-3)
    for sae in saes.values():
        assert float(sae.b_enc.std()) > 0


def test_a_job_without_a_frozen_part_is_as_before() -> None:
    """What is frozen beside it does not change an SAE that is trained in the same reading."""
    acts = drawn(0, 1024, 12)
    config = TrainConfig(latent_dims=(40,), batch_size=128, num_epochs=1)
    free, frozen = Job("free", sae_config(), config), Job("frozen", sae_config(), config, "decoder")
    mean, scale, cpu = acts.mean(0), acts.std(), torch.device("cpu")
    (alone,) = train_saes(HeldTokens(acts), mean, scale, [free], cpu)
    beside, _ = train_saes(HeldTokens(acts), mean, scale, [free, frozen], cpu)
    assert torch.equal(alone.sae.W_dec, beside.sae.W_dec) and torch.equal(alone.sae.W_enc, beside.sae.W_enc)


def test_words_and_means() -> None:
    """Only words of train are units, once per headline; a headline without tokens has a mean of 0."""
    none = SourceCounts(0, 0, 0, 0, 0, 0, 0)
    report = CleaningReport(none, none, (), {}, {}, ())
    splits = split("Shares rise, shares fall", "Fed holds 5"), split("Shares"), split("Oil oil")
    words = bag_of_words(Headlines(*splits, ("a",), True, None, report, ""))
    assert words.train.toarray().tolist() == [[0, 1, 0, 0, 1, 1], [1, 0, 1, 1, 0, 0]]  # 5 fall fed holds rise shares
    assert words.dev.sum() == 1 and words.test.sum() == 0
    acts = torch.tensor([[1.0, 2], [3, 4], [5, 6]])
    assert np.array_equal(pooled(acts, torch.tensor([2, 0, 2]), 3), [[3, 4], [0, 0], [3, 4]])
