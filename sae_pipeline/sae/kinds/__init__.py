"""The training steps of the kinds in `schema/kinds.py`. They work on tensors only; training.py runs them."""

from pkgutil import resolve_name
from typing import Any, Unpack

import torch
from torch import Tensor

from sae_pipeline.errors import UserError
from sae_pipeline.sae.kinds.engine import Options, SparseStepper
from sae_pipeline.sae.kinds.sharing import UNSHARED, StepSharing
from sae_pipeline.sae.kinds.stepper import Stepper, StepStats, Weights
from sae_pipeline.schema.kinds import KINDS, Kind

__all__ = ["StepSharing", "StepStats", "Stepper", "Weights", "nested_prefixes", "stepper", "unit_rows"]


def stepper(
    kind: Kind, W_dec: Tensor, k: int | None = None, prefixes: tuple[int, ...] = (), **options: Unpack[Options]
) -> Stepper:
    """Start the training of an SAE of `kind` from decoder rows W_dec [d_sae, d_in] of length 1.

    `k` is for the kinds that fix it, `prefixes` for those with nested dictionaries. Where ranks share the features,
    W_dec are this rank's; UserError is raised for a kind whose features cannot be shared.
    """
    record = KINDS[kind]
    if not record.splits_by_features and options.get("sharing", UNSHARED).by_features:
        nested = "nested " if record.nested else ""
        raise UserError(f"A {kind} SAE's {nested}features cannot be split; use --split tokens.")
    sizes: dict[str, Any] = {"k": k} if record.fixes_k else {}
    if record.nested:
        sizes["prefixes"] = prefixes
    step: Stepper = resolve_name(record.step)(W_dec, **sizes, **options)
    if isinstance(step, SparseStepper) and step.on_card:
        from sae_pipeline.sae.kinds.card import CardStep  # Triton is not on every platform

        return CardStep(step) if CardStep.suits(step) else step
    return step


def nested_prefixes(d_sae: int) -> tuple[int, ...]:
    """Sizes of the nested dictionaries: 1/32, 1/8 and all of d_sae, as multiples of 32.

    Measured with MiniLM's 32k on dev (k = 64): with 1/16, 1/8, 1/4, 1/2 and 1 the FVU is 1 % lower, but the
    predictions' KL is 12 % higher. With seven sizes from 1/64 both are the same, and each size costs a pass over the
    residuals.
    """
    parts = (d_sae // share // 32 * 32 for share in (32, 8))
    return (*sorted({part for part in parts if part}), d_sae)


def unit_rows(d_sae: int, d_in: int, generator: torch.Generator) -> Tensor:
    """Random directions [d_sae, d_in] of length 1: decoder rows to start from."""
    rows = torch.randn(d_sae, d_in, generator=generator)
    rows /= rows.norm(dim=1, keepdim=True)
    return rows
