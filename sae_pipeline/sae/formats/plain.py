"""An SAE in plain formulas: the step between this program's own form and the files of other libraries.

    pre = x · W_enc + b_enc
    f   = pre where pre > threshold, else 0;  with k only the k largest of each token
    x̂   = f · W_dec + b_dec

x and x̂ are in the classifier's units. Mean and scale of our own form are folded into the weights, and
taken out again, so that f stays the same number:

    W_enc/scale,    b_enc − mean·W_enc/scale,    scale·W_dec,    mean + scale·b_dec
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from torch import Tensor

from sae_pipeline.errors import UserError
from sae_pipeline.sae.autoencoder import SaeConfig, SparseAutoencoder
from sae_pipeline.schema.common import PositionKind
from sae_pipeline.schema.run import Hookpoint


@dataclass(frozen=True)
class Recorded:
    """What the files of an SAE say about it; None where they say nothing."""

    layer: int | None = None  # index into hidden_states
    positions: PositionKind | None = None
    classifier_hash: str | None = None
    l0: float | None = None  # measured, or k, or what training aimed at
    fvu: float | None = None


@dataclass(frozen=True)
class PlainSae:
    """Weights in float64: W_enc [d_in, d_sae], b_enc and threshold [d_sae], W_dec [d_sae, d_in], b_dec [d_in]."""

    kind: str
    W_enc: Tensor
    b_enc: Tensor
    threshold: Tensor
    W_dec: Tensor
    b_dec: Tensor
    k: int | None = None  # of the kinds that fix it
    prefixes: tuple[int, ...] = ()
    architecture: str = ""  # the name that the other library gives it
    recorded: Recorded = field(default_factory=Recorded)
    notes: tuple[str, ...] = ()  # sentences for the user

    @property
    def d_in(self) -> int:
        """The width of the activations."""
        return self.W_dec.shape[1]

    @property
    def d_sae(self) -> int:
        """The number of features."""
        return self.W_dec.shape[0]

    def centred(self) -> "PlainSae":
        """The same SAE with pre = (x − b_dec) · W_enc + b_enc, as libraries that subtract b_dec hold it."""
        return replace(self, b_enc=self.b_enc + self.b_dec @ self.W_enc)

    def uncentred(self) -> "PlainSae":
        """The same SAE with pre = x · W_enc + b_enc, from one that subtracts b_dec first."""
        return replace(self, b_enc=self.b_enc - self.b_dec @ self.W_enc)

    def with_rows_of_length_1(self) -> "PlainSae":
        """The same x̂ from decoder rows of length 1. Each f becomes the length of its feature's contribution."""
        norms = self.W_dec.norm(dim=1)
        return replace(
            self,
            W_enc=self.W_enc * norms,
            b_enc=self.b_enc * norms,
            threshold=self.threshold * norms,
            W_dec=self.W_dec / norms.clamp_min(1e-300)[:, None],
        )


class Encoder(NamedTuple):
    """The encoder of a `PlainSae`."""

    W_enc: Tensor
    b_enc: Tensor
    threshold: Tensor


def gated_encoder(W_enc: Tensor, r_mag: Tensor, b_mag: Tensor, b_gate: Tensor) -> Encoder:
    """Write a gated SAE with its magnitude path as pre, and its gate as a threshold on pre.

    x·W_enc + b_gate > 0 exactly where exp(r_mag)·x·W_enc + b_mag > b_mag − exp(r_mag)·b_gate.
    """
    factor = r_mag.exp()
    return Encoder(W_enc * factor, b_mag, b_mag - factor * b_gate)


def plain(sae: SparseAutoencoder) -> PlainSae:
    """Fold mean and scale of one of our SAEs into its weights."""
    own = sae.config
    mean, scale = sae.mean.detach().cpu().double(), sae.scale.detach().cpu().double()
    W_enc, b_enc, threshold, W_dec, b_dec = (
        t.detach().cpu().double() for t in (sae.W_enc, sae.b_enc, sae.threshold, sae.W_dec, sae.b_dec)
    )
    return PlainSae(
        kind=own.kind,
        W_enc=W_enc / scale,
        b_enc=b_enc - mean / scale @ W_enc,
        threshold=threshold,
        W_dec=W_dec * scale,
        b_dec=mean + scale * b_dec,
        k=None if own.k is None else min(own.k, own.d_sae),
        prefixes=own.prefixes,
    )


def own_form(
    sae: PlainSae, mean: Tensor, hookpoint: Hookpoint, positions: PositionKind, classifier_hash: str, data_hash: str
) -> SparseAutoencoder:
    """Take mean and scale out of the weights again; f and x̂ stay the same numbers.

    `mean` [d_in] is that of the study's activations. The scale is the root mean square of the decoder rows' lengths, so
    rows that were equally long get length 1. Raises UserError for weights that float32 cannot hold.
    """
    scale = sae.W_dec.square().sum(1).mean().sqrt()
    if not scale > 0:
        raise UserError("All decoder rows of the SAE are zero, so it reconstructs nothing; was it ever trained?")
    mean = mean.cpu().double()
    config = SaeConfig(
        d_in=sae.d_in,
        d_sae=sae.d_sae,
        kind=sae.kind,
        k=sae.k,
        prefixes=sae.prefixes,
        recipe="imported",
        l1_coefficient=0.0,
        sparsity_weight=0.0,
        positions=positions,
        hookpoint=hookpoint,
        classifier_hash=classifier_hash,
        data_hash=data_hash,
    )
    own = SparseAutoencoder(config, mean, scale)
    values: Mapping[str, Tensor] = {
        "W_enc": sae.W_enc * scale,
        "b_enc": sae.b_enc + mean @ sae.W_enc,
        "threshold": sae.threshold.clamp_min(0),  # f is never negative, so a lower threshold does nothing
        "W_dec": sae.W_dec / scale,
        "b_dec": (sae.b_dec - mean) / scale,
    }
    with torch.no_grad():
        for name, value in values.items():
            getattr(own, name).copy_(value)
            if not getattr(own, name).isfinite().all():
                raise UserError(f"The SAE's {name} becomes larger than float32 can hold; it cannot be imported.")
    return own.requires_grad_(False)
