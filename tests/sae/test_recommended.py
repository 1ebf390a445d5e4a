"""What is recommended where no size is named, and that narrow SAEs work in every kind."""

from pathlib import Path

import pytest
import torch

from sae_pipeline.config import TrainConfig
from sae_pipeline.errors import UserError
from sae_pipeline.evaluation.code_quality import code_quality
from sae_pipeline.sae.autoencoder import SparseAutoencoder
from sae_pipeline.sae.recommended import recommended_size, settled
from sae_pipeline.schema.kinds import KINDS
from tests.sae.test_training import N_TOKENS, mixtures, train


def test_sizes() -> None:
    """A size is a power of two that grows with the tokens, between the smallest and the largest."""
    sizes = [recommended_size(n) for n in range(512, 20_000_000, 10_007)]
    assert sizes == sorted(sizes) and (sizes[0], sizes[-1]) == (64, 32_768)
    assert all(size & (size - 1) == 0 for size in sizes)
    assert [recommended_size(n) for n in (9_000, 35_000, 150_000)] == [1024, 2048, 4096]


def test_what_is_named_stays() -> None:
    """Sizes, passes, k and the penalty of the user are kept; what is left out is filled in."""
    named = TrainConfig(latent_dims=(4096, 8192), num_epochs=3)
    assert settled(named, 150_000) == named
    found = settled(TrainConfig(), 2_000)
    assert (found.latent_dims, found.target_l0, found.num_epochs) == ((256,), 32, 30)
    assert [settled(TrainConfig(), n).num_epochs for n in (149_264, 300_000, 10**7)] == [10, 5, 3]
    assert [settled(TrainConfig(), n).batch_size for n in (512, 2_000, 16_384)] == [32, 64, None]
    assert settled(TrainConfig(l1_coefficient=2e-3), 2_000).target_l0 is None
    batchtopk = settled(TrainConfig(kind="batchtopk"), 2_000)
    assert (batchtopk.active, batchtopk.target_l0) == (32, None)
    assert settled(TrainConfig(kind="topk", k=5), 2_000).active == 5


@pytest.mark.parametrize(
    ("config", "n", "sentence"),
    [
        (TrainConfig(), 500, "500 headlines are too few for an SAE: the smallest has 64 features and needs 512; "),
        (TrainConfig(kind="topk", k=200), 600, "200 active features .* than the 64 .* 600 headlines; name a size"),
    ],
)
def test_too_little(config: TrainConfig, n: int, sentence: str) -> None:
    """Too few vectors, or a k that is too large for what is recommended, end with one sentence."""
    with pytest.raises(UserError, match=sentence):
        settled(config, n, "headlines")


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_narrow_saes(kind: str, tmp_path: Path) -> None:
    """64 features learn in each kind; the SAE is as sparse as its kind's default and can be saved and read."""
    acts = mixtures(0)
    config = TrainConfig(latent_dims=(64,), kind=kind, batch_size=250, num_epochs=4)
    trained = train(acts, config)[0]
    quality = code_quality(trained.sae, "train", [acts], N_TOKENS)
    assert quality.fvu < 0.95 and 0 < quality.l0 <= 64
    if config.fixes_k:
        assert config.active == 8 and quality.l0 == pytest.approx(8, rel=0.2)
    trained.sae.save(tmp_path / "layer_1_64.pt")
    again = SparseAutoencoder.load(tmp_path / "layer_1_64.pt")
    assert torch.equal(again.W_dec, trained.sae.W_dec)
