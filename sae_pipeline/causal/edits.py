"""Edits of features inside any forward pass of the classifier.

An edit is a delta on the true activation at the positions that the SAE was trained on, so what the SAE cannot
reconstruct stays:

    x' = x + scale · Σ_i (new_i − f_i) · W_dec[i]
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, get_args

import torch
from torch import Tensor

from sae_pipeline.activations.sites import Sites
from sae_pipeline.classifier.hooks import hooked, resolve_hookpoint
from sae_pipeline.errors import UserError
from sae_pipeline.sae.autoencoder import SparseAutoencoder
from sae_pipeline.schema.edits import MAX_EDITS, MAX_VALUE, Operation
from sae_pipeline.schema.run import Hookpoint


@dataclass(frozen=True)
class Edit:
    """A new value for one feature's activation f: ablate 0, scale value·f, clamp value, add f + value.

    Several edits of one feature at one position apply one after another. `clamp` and `add` also act where the feature
    is silent.
    """

    feature: int
    operation: Operation = "ablate"
    value: float = 0.0
    headline: int | None = None  # row of the batch; None: all rows
    positions: tuple[int, ...] | None = None  # 0-based; None: all counted positions

    def apply(self, f: Tensor) -> Tensor:
        """The new activations for f, of the same shape."""
        match self.operation:
            case "ablate":
                return torch.zeros_like(f)
            case "scale":
                return f * self.value
            case "clamp":
                return torch.full_like(f, self.value)
            case "add":
                return f + self.value


def check_edits(edits: Sequence[Edit], d_sae: int) -> None:
    """Raise UserError for an edit that no SAE of d_sae features can make."""
    if len(edits) > MAX_EDITS:
        raise UserError(f"{len(edits):,} edits are too many; make at most {MAX_EDITS} at once.")
    for edit in edits:
        if not 0 <= edit.feature < d_sae:
            raise UserError(f"There is no feature {edit.feature}; this SAE has features 0 to {d_sae - 1}.")
        if edit.operation not in get_args(Operation):
            raise UserError(f"{edit.operation!r} is no operation; choose from {', '.join(get_args(Operation))}.")
        if not math.isfinite(edit.value) or abs(edit.value) > MAX_VALUE:
            raise UserError(f"The value {edit.value:g} is out of range; use a number between ±{MAX_VALUE:g}.")


def edit_hidden(hidden: Tensor, counted: Tensor, sae: SparseAutoencoder, edits: Sequence[Edit]) -> Tensor:
    """Edit activations [n_headlines, n_positions, d_in] at the `counted` positions, bool [n_headlines, n_positions].

    Rows without an edit come back bit for bit. Raises UserError for edits that do not fit.
    """
    check_edits(edits, sae.config.d_sae)
    if hidden.shape != (*counted.shape, sae.config.d_in):
        raise UserError(
            f"The SAE edits activations of width {sae.config.d_in} at {tuple(counted.shape)} headlines × positions; "
            f"the model has {tuple(hidden.shape)}: use the SAE and the headlines of this classifier."
        )
    if not edits:
        return hidden
    ids, old, new = edited_features(hidden, counted, sae, edits)
    return Sites.of_mask(counted, sae.config.positions).moved(hidden, sae.scale * ((new - old) @ sae.W_dec[ids]))


def edited_features(
    hidden: Tensor, counted: Tensor, sae: SparseAutoencoder, edits: Sequence[Edit]
) -> tuple[Tensor, Tensor, Tensor]:
    """The features that the edits name, ascending, and their activations before and after.

    Features are int64 [n_features], activations [n_sites, n_features].
    """
    sites = Sites.of_mask(counted, sae.config.positions)
    column = {feature: j for j, feature in enumerate(sorted({edit.feature for edit in edits}))}
    ids = torch.tensor(list(column), device=hidden.device)
    old = sae.encode_features(sites.read(hidden), ids)
    new = old.clone()
    for edit in edits:
        chosen = _chosen(edit, counted, sites)
        new[chosen, column[edit.feature]] = edit.apply(new[chosen, column[edit.feature]])
    return ids, old, new


def _chosen(edit: Edit, counted: Tensor, sites: Sites) -> Tensor:
    """Whether an edit acts on each site, bool [n_sites]. Raises UserError for a position that is not counted."""
    n_headlines, n_positions = counted.shape
    if edit.headline is not None and not 0 <= edit.headline < n_headlines:
        raise UserError(f"There is no headline {edit.headline} in this batch of {n_headlines}.")
    rows = slice(None) if edit.headline is None else slice(edit.headline, edit.headline + 1)
    chosen = torch.ones_like(sites.headline, dtype=torch.bool)
    if edit.headline is not None:
        chosen &= sites.headline == edit.headline
    if edit.positions is None:
        return chosen
    if sites.owner is not None:
        raise UserError("This SAE reads one vector per headline, the mean of its words; leave the positions out.")
    for position in edit.positions:
        if not 0 <= position < n_positions or not counted[rows, position].all():
            raise UserError(f"Position {position} cannot be edited: the SAE was not trained on it or it is padding.")
    return chosen & torch.isin(sites.position, torch.tensor(edit.positions, device=counted.device))


@contextmanager
def intervene(
    model: Any, hookpoint: Hookpoint | int, sae: SparseAutoencoder, edits: Sequence[Edit], counted: Tensor
) -> Iterator[None]:
    """Edit every forward pass of `model` inside the context, on the batch that `counted` describes.

    `counted`, bool [n_headlines, n_positions] from `counted_mask`, holds the positions that the SAE was trained
    on. The hook is removed in any case. Raises UserError for edits that do not fit and for another layer's SAE.
    """
    layer = hookpoint if isinstance(hookpoint, int) else hookpoint.layer
    if layer != sae.config.hookpoint.layer:
        raise UserError(f"This SAE reads layer {sae.config.hookpoint.layer}, not layer {layer}.")
    site, _ = resolve_hookpoint(model, layer)
    with hooked(site, lambda hidden: edit_hidden(hidden, counted, sae, edits)):
        yield
