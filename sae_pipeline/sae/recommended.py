"""The recommended size, sparsity and training time of an SAE, from the number of vectors that it trains on.

    d_sae    = the power of two nearest min(4096·√(n / 150,000), n / 8), from 64 to 32,768
    k        = 64 active features, in narrow SAEs an eighth of them
    passes   = 1,500,000 / n, from 3 to 30
    batch    = that of the kind, halved until a pass has 16 steps

n is the number of vectors: one per token, or one per headline for the positions cls and mean.

With 150,000 tokens, 4,096 features have the same held-out FVU as 8,192, and a lower one than 16,384 and 32,768. With
35,000 tokens, an SAE of 1,024 features is found again by another seed more often, and one of 4,096 has a lower FVU, so
2,048 are a compromise. Both fit a square root: four times the tokens allow twice the features. Few vectors are read
more often, because the held-out FVU still falls between 3 and 30 passes. docs/results/small_data.md has the figures.
For comparison, HypotheSAEs (Movva et al. 2025) has 256 features, 8 of them active, for 10,000 vectors of texts.
"""

import math
from typing import Any

from pydantic import ValidationError

from sae_pipeline.config import TrainConfig, default_k
from sae_pipeline.errors import UserError

_SIZE, _AT = 4096, 150_000  # a size, and the number of vectors that it suits
_VECTORS_PER_FEATURE = 8  # at least
_SMALLEST, _LARGEST = 64, 32_768
_VECTORS_SEEN, _FEWEST_PASSES, _MOST_PASSES = 1_500_000, 3, 30
_STEPS_PER_PASS = 16
_L1 = TrainConfig.model_fields["l1_coefficient"].default


def recommended_size(n_vectors: int, what: str = "tokens") -> int:
    """The recommended d_sae for so many vectors, which messages call `what`.

    Raises UserError where they are too few for any SAE.
    """
    needed = _SMALLEST * _VECTORS_PER_FEATURE
    if n_vectors < needed:
        raise UserError(
            f"{n_vectors:,} {what} are too few for an SAE: the smallest has {_SMALLEST} features and needs {needed:,}; "
            "give more headlines, more text by --extra-text, or a size by --latent-dims."
        )
    features = min(_SIZE * math.sqrt(n_vectors / _AT), n_vectors / _VECTORS_PER_FEATURE)
    return int(min(_LARGEST, 2 ** round(math.log2(features))))


def passes(config: TrainConfig, n_vectors: int) -> int:
    """How often a training reads so many vectors."""
    return config.num_epochs or min(_MOST_PASSES, max(_FEWEST_PASSES, round(_VECTORS_SEEN / n_vectors)))


def settled(config: TrainConfig, n_vectors: int, what: str = "tokens") -> TrainConfig:
    """A config in which sizes, sparsity, passes and batch are set, if they were open, for so many vectors.

    Raises UserError where the vectors are too few, and where k is larger than the recommended size.
    """
    found: dict[str, Any] = {"num_epochs": passes(config, n_vectors)}
    if config.batch_size is None and config.tokens_per_step * _STEPS_PER_PASS > n_vectors:
        halvings = math.ceil(math.log2(config.tokens_per_step * _STEPS_PER_PASS / n_vectors))
        found["batch_size"] = max(1, config.tokens_per_step >> halvings)
    if not config.latent_dims:
        d_sae = recommended_size(n_vectors, what)
        found["latent_dims"] = (d_sae,)
        if not (config.fixes_k or config.target_l0 or config.l1_coefficient != _L1 or config.recipe == "seed"):
            found["target_l0"] = default_k(d_sae)
    try:
        return TrainConfig.model_validate(config.model_dump() | found)
    except ValidationError as error:
        problem = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise UserError(f"{problem} for {n_vectors:,} {what}; name a size by --latent-dims.") from error


def sentence(config: TrainConfig, n_vectors: int, what: str = "tokens") -> str:
    """What is recommended for so many vectors and why, given the settled config."""
    d_sae = config.latent_dims[0]
    wanted = config.active or config.target_l0
    times = "1 pass" if config.num_epochs == 1 else f"{config.num_epochs} passes"
    sparsity = f"{wanted:g} of them active" if wanted else f"L1_COEFFICIENT {config.l1_coefficient:g}"
    return (
        f"recommended for {n_vectors:,} {what}: {d_sae:,} features, {sparsity}, {times}; more features hardly "
        "reconstruct unseen headlines better, and differ more between seeds (--latent-dims names other sizes)"
    )
