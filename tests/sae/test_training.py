"""SAE training: both recipes, reproducibility, errors and checkpoints."""

from pathlib import Path

import pytest
import torch

from sae_pipeline.activations.batches import HeldTokens
from sae_pipeline.artefacts.checkpoints import Checkpoint, unfinished
from sae_pipeline.config import TrainConfig
from sae_pipeline.errors import UserError
from sae_pipeline.evaluation.code_quality import code_quality
from sae_pipeline.kernels import backend, choose
from sae_pipeline.sae.training import Job, TrainedSae, sparsity_weight, train_saes
from sae_pipeline.schema.kinds import KINDS
from tests.support.saes import sae_config

D_IN, N_TOKENS = 64, 6000


def mixtures(seed: int) -> torch.Tensor:
    """Tokens [N_TOKENS, D_IN] that are sums of a few of 128 directions, with a mean and a scale of their own."""
    generator = torch.Generator().manual_seed(seed)
    directions = torch.randn(128, D_IN, generator=torch.Generator().manual_seed(9))
    strength = torch.rand(N_TOKENS, 128, generator=generator) * (torch.rand(N_TOKENS, 128, generator=generator) < 0.03)
    return (strength @ directions) * 7 + 3


def train(acts: torch.Tensor, config: TrainConfig, l1: float | None = None) -> list[TrainedSae]:
    """Train every size of `config` on activations in the classifier's units."""
    mean = acts.mean(0)
    scale = (acts - mean).square().mean().sqrt()
    l1 = config.l1_coefficient if l1 is None else l1
    templates = [
        sae_config(acts.shape[1], d_sae).model_copy(
            update={"recipe": config.recipe, "sparsity_weight": sparsity_weight(config.recipe, l1, D_IN, d_sae)}
        )
        for d_sae in config.latent_dims
    ]
    jobs = [Job(str(t.d_sae), t, config) for t in templates]
    return train_saes(HeldTokens(acts), mean, scale, jobs, torch.device("cpu"))


@pytest.fixture(scope="module")
def acts() -> torch.Tensor:
    """Activations to train on."""
    return mixtures(0)


@pytest.mark.parametrize("recipe", ["default", "seed"])
def test_learns_held_out_structure(acts: torch.Tensor, recipe: str) -> None:
    """Both recipes explain held-out tokens; one call trains all sizes; rows of W_dec have length 1."""
    config = TrainConfig(
        latent_dims=(192, 320), recipe=recipe, batch_size=100, num_epochs=6, learning_rate=4e-3, l1_coefficient=2e-4
    )
    held_out = mixtures(1)
    for trained, d_sae in zip(train(acts, config), (192, 320), strict=True):
        torch.testing.assert_close(trained.sae.W_dec.norm(dim=1), torch.ones(d_sae))
        quality = code_quality(trained.sae, "test", [held_out], N_TOKENS)
        assert quality.fvu < 0.25
        assert quality.l0 < (0.1 if recipe == "default" else 0.8) * d_sae
        assert trained.curve.fvu[-1] < trained.curve.fvu[0]
        assert trained.curve.tokens[-1] == 6 * N_TOKENS
        assert trained.tokens_per_second > 0


def test_default_recipe_is_the_sparser(acts: torch.Tensor) -> None:
    """The default recipe uses fewer features per token than the recipe seed."""
    l0 = {
        recipe: code_quality(
            train(acts, TrainConfig(latent_dims=(96,), recipe=recipe, batch_size=200))[0].sae, "train", [acts], N_TOKENS
        ).l0
        for recipe in ("default", "seed")
    }
    assert l0["default"] < l0["seed"]


def test_same_seed_same_bits(acts: torch.Tensor) -> None:
    """Training twice gives the same weights; another seed gives others."""
    config = TrainConfig(latent_dims=(96,), batch_size=500, num_epochs=1)
    first, again = train(acts, config)[0].sae, train(acts, config)[0].sae
    assert torch.equal(first.W_enc, again.W_enc) and torch.equal(first.W_dec, again.W_dec)
    assert not torch.equal(first.W_enc, train(acts, config.model_copy(update={"seed": 1}))[0].sae.W_enc)


def test_sizes_do_not_disturb_each_other(acts: torch.Tensor) -> None:
    """An SAE trained beside another is the SAE trained alone."""
    alone = train(acts, TrainConfig(latent_dims=(96,), batch_size=500, num_epochs=1))[0].sae
    beside = train(acts, TrainConfig(latent_dims=(160, 96), batch_size=500, num_epochs=1))[1].sae
    assert torch.equal(alone.W_dec, beside.W_dec)


def test_a_slow_training_says_so(
    acts: torch.Tensor, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A training knows its kernels; where they could not be had, it ends with the reason."""
    config = TrainConfig(latent_dims=(96,), batch_size=500, num_epochs=1)
    kernels = choose()
    assert train(acts, config)[0].backend == (kernels.name if kernels else "reference")
    assert kernels is None or "plain torch" not in capsys.readouterr().err
    monkeypatch.setattr(backend, "_choose_cpu", lambda requested: None)
    monkeypatch.setitem(backend._REASONS, "cpu", "there is no compiler")
    assert train(acts, config)[0].backend == "reference"
    says = "Training ran in plain torch on cpu, several times slower, because there is no compiler.\n"
    assert capsys.readouterr().err.endswith(says)
    monkeypatch.setenv("SAE_KERNELS", "reference")  # as the user wishes
    train(acts, config)
    assert "slower" not in capsys.readouterr().err


def test_bad_input(acts: torch.Tensor) -> None:
    """Too few tokens and a penalty that kills every feature each raise an error that says what to change."""
    config = TrainConfig(latent_dims=(96,), batch_size=500, num_epochs=2)
    with pytest.raises(UserError, match="fewer than one batch of 500"):
        train(acts[:400], config)
    config = config.model_copy(update={"learning_rate": 0.1, "num_epochs": 9})
    with pytest.raises(UserError, match="dead; use a smaller --l1-coefficient"):
        train(acts, config, l1=1e3)


def test_one_reading_has_one_batch_size(acts: torch.Tensor) -> None:
    """SAEs that cannot see the same batches are not trained together in silence."""
    configs = (TrainConfig(latent_dims=(96,), batch_size=size, num_epochs=2) for size in (250, 500))
    jobs = [Job(str(n), sae_config(D_IN, 96), config) for n, config in enumerate(configs)]
    with pytest.raises(ValueError, match="different batch sizes"):
        train_saes(HeldTokens(acts), acts.mean(0), torch.ones(()), jobs, torch.device("cpu"))


def test_activations_that_are_no_numbers(acts: torch.Tensor) -> None:
    """NaN, infinity and constant tokens raise an error; a constant dimension does not."""
    config = TrainConfig(latent_dims=(96,), batch_size=500, num_epochs=1)
    mean, scale = acts.mean(0), torch.tensor(1.0)
    for value in (float("nan"), float("inf")):
        bad = acts.clone()
        bad[1234, 5] = value
        with pytest.raises(UserError, match="NaN or infinite"):
            train_saes(HeldTokens(bad), mean, scale, [Job("96", sae_config(D_IN, 96), config)], torch.device("cpu"))
    constant = acts.clone()
    constant[:, 3] = 7.0
    assert torch.isfinite(train(constant, config)[0].sae.W_enc).all()
    with pytest.raises(UserError, match="same at every token"):
        train(torch.ones(600, D_IN), config)


def test_target_l0(acts: torch.Tensor) -> None:
    """λ is steered until the L0 asked for is reached, and stored."""
    config = TrainConfig(latent_dims=(192,), batch_size=100, num_epochs=6, learning_rate=4e-3, target_l0=8.0)
    trained = train(acts, config)[0]
    assert code_quality(trained.sae, "train", [acts], N_TOKENS).l0 == pytest.approx(8.0, rel=0.15)
    assert trained.sae.config.sparsity_weight != sparsity_weight("default", 1e-3, D_IN, 192)


@pytest.mark.parametrize(
    "changes", [{"kind": "topk", "k": 97}, {"kind": "relu", "k": 4}, {"recipe": "seed", "target_l0": 9}]
)
def test_settings_that_do_not_fit(changes: dict[str, object]) -> None:
    """The config refuses k above d_sae, k for a kind without one, and a target L0 for the recipe seed."""
    with pytest.raises(ValueError, match=r"more than the 96|k belongs to|recipe seed"):
        TrainConfig.model_validate({"latent_dims": (96,), **changes})


def test_sparsity_weight() -> None:
    """Recipe seed: λ = l1·d_in. Recipe default: λ is proportional to l1 and grows with d_in."""
    assert sparsity_weight("seed", 1e-3, 384, 4096) == pytest.approx(0.384)
    assert sparsity_weight("default", 2e-3, 384, 4096) == 2 * sparsity_weight("default", 1e-3, 384, 4096)
    assert sparsity_weight("default", 1e-3, 768, 4096) > sparsity_weight("default", 1e-3, 384, 4096)


@pytest.mark.parametrize("kind", [*KINDS, "seed"])
def test_resumes_in_the_same_bits(acts: torch.Tensor, tmp_path: Path, kind: str) -> None:
    """A training of two SAEs that is interrupted resumes from its checkpoint and ends in the same bits."""
    recipe, kind = ("seed", "relu") if kind == "seed" else ("default", kind)
    config = TrainConfig(latent_dims=(96,), kind=kind, recipe=recipe, batch_size=500, num_epochs=2, buffer_mib=1)
    mean, scale = acts.mean(0), (acts - acts.mean(0)).square().mean().sqrt()
    sizes = {"k": 8 if KINDS[kind].fixes_k else None, "prefixes": (32, 96) if KINDS[kind].nested else ()}
    template = sae_config(D_IN, 96).model_copy(update={"kind": kind, "recipe": recipe, "sparsity_weight": 1.0, **sizes})
    jobs = [Job(str(seed), template, config.model_copy(update={"seed": seed})) for seed in (0, 1)]

    def run(tokens: HeldTokens, checkpoint: Checkpoint | None) -> list[TrainedSae]:
        return train_saes(tokens, mean, scale, jobs, torch.device("cpu"), checkpoint)

    expected = run(HeldTokens(acts), None)
    with pytest.MonkeyPatch.context() as patch, unfinished(tmp_path, "kept") as checkpoint:
        patch.setattr(Checkpoint, "due", property(lambda self: True))
        saves = iter([None] * 7)
        save = Checkpoint.save

        def interrupt(self: Checkpoint, *args: object) -> None:
            if next(saves, "none left") == "none left":
                raise KeyboardInterrupt
            save(self, *args)  # type: ignore[arg-type]

        patch.setattr(Checkpoint, "save", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run(HeldTokens(acts), checkpoint)
        patch.setattr(Checkpoint, "save", save)
        found = run(HeldTokens(acts), checkpoint)
    for a, b in zip(found, expected, strict=True):
        assert all(torch.equal(x, b.sae.state_dict()[name]) for name, x in a.sae.state_dict().items())
        assert a.curve == b.curve
