"""The kinds of SAE, each a training step on the active entries. Tensors only; training.py runs them.

relu         Bricken et al. 2023, Cunningham et al. 2023     λ weighs Σf
topk         Gao et al. 2024                                 k features per token
batchtopk    Bussmann et al. 2024                            k features per token on average
jumprelu     Rajamanoharan et al. 2024 (July)                λ weighs L0
gated        Rajamanoharan et al. 2024 (April)               λ weighs Σgate
matryoshka   Bussmann et al. 2025                            batchtopk in nested dictionaries
"""

from typing import Unpack

import torch
from torch import Tensor

from sae_pipeline.errors import UserError
from sae_pipeline.sae.kinds.engine import Options
from sae_pipeline.sae.kinds.gated import GatedStep
from sae_pipeline.sae.kinds.group import ALONE, Group
from sae_pipeline.sae.kinds.jumprelu import JumpReluStep
from sae_pipeline.sae.kinds.notebook import NotebookStep
from sae_pipeline.sae.kinds.relu import ReluStep
from sae_pipeline.sae.kinds.stepper import Stepper, StepStats, Weights
from sae_pipeline.sae.kinds.topk import BatchTopKStep, MatryoshkaStep, TopKStep
from sae_pipeline.schema.common import Kind

__all__ = [
    "ALONE",
    "BatchTopKStep",
    "GatedStep",
    "Group",
    "JumpReluStep",
    "MatryoshkaStep",
    "NotebookStep",
    "ReluStep",
    "StepStats",
    "Stepper",
    "TopKStep",
    "Weights",
    "nested_prefixes",
    "stepper",
    "unit_rows",
]


def stepper(
    kind: Kind, W_dec: Tensor, k: int | None = None, prefixes: tuple[int, ...] = (), **options: Unpack[Options]
) -> Stepper:
    """A fresh step of `kind` from decoder rows W_dec [d_sae, d_in] of length 1; `k` for the kinds that fix it.

    With a `group` that splits the features, W_dec are this rank's. Raises UserError for a kind that cannot be split.
    """
    if kind in ("topk", "batchtopk", "matryoshka"):
        assert k is not None
        if kind == "matryoshka":
            if options.get("group", ALONE).split == "features":
                raise UserError("A matryoshka SAE's nested features cannot be split; use --split tokens.")
            return MatryoshkaStep(W_dec, k, prefixes, **options)
        return (TopKStep if kind == "topk" else BatchTopKStep)(W_dec, k, **options)
    if kind == "jumprelu":
        return JumpReluStep(W_dec, **options)
    return GatedStep(W_dec, **options) if kind == "gated" else ReluStep(W_dec, **options)


def nested_prefixes(d_sae: int) -> tuple[int, ...]:
    """Matryoshka's sizes: 1/32, 1/8 and all of d_sae, as multiples of 32.

    Of MiniLM's 32k on dev (k = 64): with 1/16, 1/8, 1/4, 1/2, 1 the FVU is 1 % lower, but the predictions' KL 12 %
    higher; with seven sizes from 1/64 both are the same, and each size costs a pass over the residuals.
    """
    parts = (d_sae // share // 32 * 32 for share in (32, 8))
    return (*sorted({part for part in parts if part}), d_sae)


def unit_rows(d_sae: int, d_in: int, generator: torch.Generator) -> Tensor:
    """Random directions [d_sae, d_in] of length 1: decoder rows to start from."""
    rows = torch.randn(d_sae, d_in, generator=generator)
    rows /= rows.norm(dim=1, keepdim=True)
    return rows
