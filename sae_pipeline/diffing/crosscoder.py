"""A crosscoder: one dictionary whose features have a direction in each of several models.

    x = [x_1, …, x_M]      the x_norm of M models at one token, each by its own mean and scale
    f = BatchTopK(x · W_enc + b_enc)
    x̂_m = f · W_dec_m + b_dec_m,    Σ_m ‖W_dec_m[i]‖² = 1

So it is an SAE of the concatenated activations and is trained as one. The strength of feature i in model m is
‖W_dec_m[i]‖: the length of its direction, in units of that model's x_norm. (Lindsey et al. 2024, "Sparse Crosscoders
for Cross-Layer Features and Model Diffing"; BatchTopK after Minder et al. 2025, "Overcoming Sparsity Artifacts in
Crosscoders", because an L1 penalty shrinks a feature to 0 in a model that has it.)
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sae_pipeline.activations.batches import HeldTokens, chunks
from sae_pipeline.activations.hidden_states import HiddenStates
from sae_pipeline.activations.manifest import Moments
from sae_pipeline.activations.reading import HiddenBatch, read_batches
from sae_pipeline.arrays import Floats, Ints
from sae_pipeline.artefacts.checkpoints import Checkpoint
from sae_pipeline.causal.probe import Probe, Reading
from sae_pipeline.config import Precision, TrainConfig
from sae_pipeline.headlines.tokens import TokenizedHeadline
from sae_pipeline.sae.autoencoder import SaeConfig, SparseAutoencoder
from sae_pipeline.sae.firings import Firings
from sae_pipeline.sae.recommended import settled
from sae_pipeline.sae.training import Job, train_saes
from sae_pipeline.schema.common import PER_HEADLINE, PositionKind
from sae_pipeline.schema.run import Hookpoint


@dataclass(frozen=True)
class Place:
    """Where the models are read."""

    hookpoint: Hookpoint
    positions: PositionKind
    pad_id: int
    tokens_per_batch: int

    def training_acts(self, network: Any, headlines: Sequence[TokenizedHeadline]) -> Tensor:
        """The activations of one model, float16 [n_vectors, d_model]; the longest headlines come first."""
        return torch.cat([batch.acts.half() for batch in self._read(network, headlines, "auto")])

    def hidden_states(self, network: Any, headlines: Sequence[TokenizedHeadline]) -> HiddenStates:
        """The hidden states of one model, headline by headline, in fp32."""
        device = next(network.parameters()).device
        width = network.config.hidden_size
        return HiddenStates.collect(headlines, width, device, self._read(network, headlines, "fp32"))

    def _read(
        self, network: Any, headlines: Sequence[TokenizedHeadline], precision: Precision
    ) -> Iterator[HiddenBatch]:
        where, budget = (self.hookpoint.layer, self.positions), self.tokens_per_batch
        return read_batches(network, headlines, self.pad_id, *where, tokens_per_batch=budget, precision=precision)


@dataclass(frozen=True)
class Crosscoder:
    """A trained crosscoder of M models."""

    sae: SparseAutoencoder  # of x, [M · d_model]
    means: list[Tensor]  # M of [d_model]
    scales: list[Tensor]  # M of []

    @classmethod
    def train(
        cls, acts: list[Tensor], place: Place, config: TrainConfig, device: torch.device, checkpoint: Checkpoint
    ) -> "Crosscoder":
        """Train on the activations of M models, float16 [n_vectors, d_model] each, of the same tokens in one order.

        The list is emptied, so that they are not in memory twice. Raises UserError for too few vectors.
        """
        what = "headlines" if place.positions in PER_HEADLINE else "tokens"
        config = settled(config, len(acts[0]), what)
        config = config.model_copy(update={"k": config.active, "target_l0": None})
        moments = [_moments(one) for one in acts]
        means, scales = ([moment[n].to(device) for moment in moments] for n in (0, 1))
        parts = []
        for mean, scale in moments:
            parts.append(((acts.pop(0).float().cpu() - mean) / scale).half())
        x = torch.cat(parts, 1)
        parts.clear()
        template = SaeConfig(
            d_in=x.shape[1],
            d_sae=config.latent_dims[0],
            kind=config.kind,
            k=config.active,
            recipe="default",
            l1_coefficient=0.0,
            sparsity_weight=0.0,
            positions=place.positions,
            hookpoint=place.hookpoint,
            classifier_hash="",
            data_hash="",
        )
        nothing, one = torch.zeros(x.shape[1]), torch.ones(())
        job = Job("crosscoder", template, config)
        sae = train_saes(HeldTokens(x), nothing, one, [job], device, checkpoint)[0].sae
        return cls(sae, means, scales)

    @property
    def d_sae(self) -> int:
        """The number of features."""
        return self.sae.config.d_sae

    @property
    def k(self) -> int:
        """Active features per vector, on average."""
        assert self.sae.config.k is not None
        return self.sae.config.k

    def directions(self, model: int) -> Tensor:
        """W_dec of one model, [d_sae, d_model]."""
        width = len(self.means[model])
        return self.sae.W_dec[:, model * width : (model + 1) * width]

    @cached_property
    def strengths(self) -> Floats:
        """[M, d_sae] how strong each feature is in each model."""
        lengths = [self.directions(m).norm(dim=1) for m in range(len(self.means))]
        return torch.stack(lengths).cpu().double().numpy()

    def cosines(self, one: int, other: int) -> Floats:
        """[d_sae] between the directions of a feature in two models."""
        alike = torch.nn.functional.cosine_similarity(self.directions(one), self.directions(other), dim=1)
        return alike.cpu().double().numpy()

    def normalised(self, acts: Sequence[Tensor]) -> Tensor:
        """x [n, M · d_model] of the models' activations [n, d_model], in their own units."""
        parts = zip(acts, self.means, self.scales, strict=True)
        return torch.cat([(one.float() - mean) / scale for one, mean, scale in parts], 1)

    def probe(self, model: int, network: Any, pad_id: int, tokens_per_batch: int) -> Probe:
        """One model, cut at the layer, for edits of the features in it. The probe's SAE does not encode."""
        width = len(self.means[model])
        config = self.sae.config.model_copy(update={"d_in": width})
        sae = SparseAutoencoder(config, self.means[model], self.scales[model])
        sae = sae.to(self.means[model].device).requires_grad_(False)
        sae.W_dec.copy_(self.directions(model))
        return Probe.of(network, sae, pad_id, tokens_per_batch)


@dataclass(frozen=True)
class JointReading:
    """The same headlines as M models read them, and the features that are active in them."""

    states: list[HiddenStates]
    firings: Firings  # headline = row of the reading
    residuals: list[Tensor]  # M of [n_sites, d_model]: x_norm − x̂
    fvu: list[float]  # of each model
    headline: Ints  # [n_sites] ascending
    position: Ints  # [n_sites] ascending within a headline

    @classmethod
    def of(cls, crosscoder: Crosscoder, states: list[HiddenStates]) -> "JointReading":
        """Encode and decode headlines that M models have read."""
        sae = crosscoder.sae
        positions = sae.config.positions
        sites = states[0].sites(positions)
        x = crosscoder.normalised([one.acts(positions) for one in states])
        entries, residuals = [], []
        start = 0
        for part in chunks(HeldTokens(x)):
            lists = sae.encode_lists(part)
            residuals.append(part - sae.decode_lists(lists))
            columns = (lists.rows.cpu().numpy() + start, lists.cols.long().cpu().numpy(), lists.values.cpu().numpy())
            entries.append(columns)
            start += len(part)
        row, feature, value = (np.concatenate(column) for column in zip(*entries, strict=True))
        headline, position = sites.headline.cpu().numpy(), sites.position.cpu().numpy()
        firings = Firings.collect(headline[row], position[row], feature, value)
        widths = [len(mean) for mean in crosscoder.means]
        parts = list(torch.cat(residuals).split(widths, 1))
        whole = x.split(widths, 1)
        fvu = [float(r.square().sum() / (y - y.mean(0)).square().sum()) for r, y in zip(parts, whole, strict=True)]
        return cls(states, firings, parts, fvu, headline, position)

    @property
    def n_headlines(self) -> int:
        """The number of headlines."""
        return len(self.states[0].tokenized)

    def reading(self, model: int, logits: Floats) -> Reading:
        """What a probe of one model needs; `logits` [n_headlines, n_classes] are those of the headlines as they are."""
        one = self.states[model]
        return Reading(one.tokenized, one.hidden, one.input_ids, one.starts, self.firings, logits)


def _moments(acts: Tensor) -> tuple[Tensor, Tensor]:
    """Mean, float32 [d_model], and scale, float32 [], of activations."""
    moments = Moments()
    moments.add(acts)
    mean, scale = moments.finish()
    return torch.tensor(mean), torch.tensor(scale)
