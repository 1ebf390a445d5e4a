"""Many edits of headlines that were read once: only the layers after the hookpoint run again.

An edit is a delta on the true activation, so what the SAE cannot reconstruct stays (see `edits.py`):

    x' = x + scale · Σ_i (new_i − f_i) · W_dec[i]
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sae_pipeline.activations.hidden_states import HiddenStates
from sae_pipeline.activations.reading import HiddenBatch, read_batches
from sae_pipeline.arrays import Floats, Ints, ragged
from sae_pipeline.classifier.tail import Tail
from sae_pipeline.config import TOKENS_PER_BATCH
from sae_pipeline.errors import UserError
from sae_pipeline.headlines.tokens import TokenizedHeadline, counted_mask, length_batches
from sae_pipeline.kernels import Lists
from sae_pipeline.machine.device import token_budget, wants
from sae_pipeline.machine.memory import MicroBatches, for_each_batch
from sae_pipeline.sae.autoencoder import SparseAutoencoder
from sae_pipeline.sae.encoding import active_entries
from sae_pipeline.sae.firings import Firings


@dataclass(frozen=True)
class Reading(HiddenStates):
    """Headlines read up to the hookpoint, with the features that are active there."""

    firings: Firings  # headline = row of this reading
    logits: Floats  # [n_headlines, n_classes] of the headlines as they are

    @property
    def entry_starts(self) -> Ints:
        """[n_headlines + 1] the first active entry of each headline."""
        return np.searchsorted(self.firings.headline, np.arange(len(self.tokenized) + 1))

    @property
    def group_starts(self) -> Ints:
        """[n_headlines + 1] the first group (a feature in a headline) of each headline."""
        return np.searchsorted(self.firings.group_headline, np.arange(len(self.tokenized) + 1))


@dataclass(frozen=True)
class Variants:
    """Versions of headlines in which some active entries are set to a level; 0 ablates them."""

    headline: Ints  # [n_variants] row of the reading
    starts: Ints  # [n_variants + 1] into `entry`
    entry: Ints  # the active entries that are changed, variant by variant
    level: float | Floats = 0.0  # of all entries, or [n_entries] of each in `entry`

    @classmethod
    def of_groups(
        cls, firings: Firings, headline: Sequence[int] | Ints, groups: Sequence[Any], level: float | Floats = 0.0
    ) -> "Variants":
        """One variant of each `headline[v]`, in which the groups `groups[v]` of that headline are set to `level`.

        An array [n_groups] gives each group of the firings a level of its own.
        """
        sizes = np.array([len(g) for g in groups], np.int64)
        flat = np.concatenate([*(np.asarray(g, np.int64) for g in groups), np.zeros(0, np.int64)])
        lengths = np.asarray(firings.group_length)[flat]
        entries_before = np.concatenate([[0], np.cumsum(lengths)])
        starts = entries_before[np.concatenate([[0], np.cumsum(sizes)])]
        entries = ragged(firings.group_start[flat], lengths)
        levels = np.repeat(level[flat], lengths) if isinstance(level, np.ndarray) else level
        return cls(np.asarray(headline, np.int64), starts, entries, levels)


@dataclass(frozen=True)
class Probe:
    """A classifier that is cut at its SAE's hookpoint, in fp32."""

    model: Any
    sae: SparseAutoencoder
    tail: Tail
    pad_id: int
    tokens_per_batch: int = TOKENS_PER_BATCH

    @classmethod
    def of(cls, model: Any, sae: SparseAutoencoder, pad_id: int, tokens_per_batch: int = TOKENS_PER_BATCH) -> "Probe":
        """Cut `model` at the layer of `sae`. Raises UserError when the two do not fit."""
        if model.config.hidden_size != sae.config.d_in:
            raise UserError(
                f"The SAE expects activations of width {sae.config.d_in}, the classifier has "
                f"{model.config.hidden_size}; use an SAE that was trained on this classifier."
            )
        return cls(model, sae, Tail(model, sae.config.hookpoint.layer), pad_id, tokens_per_batch)

    @property
    def budget(self) -> int:
        """The number of tokens, padding included, that the tail runs on at a time."""
        return min(token_budget(self.device, self.tokens_per_batch), wants(self.device).tail)

    @property
    def device(self) -> torch.device:
        """The device of classifier and SAE."""
        return self.sae.W_dec.device

    @torch.no_grad()
    def read(self, tokenized: Sequence[TokenizedHeadline], logits: bool = True) -> Reading:
        """Read headlines up to the hookpoint and encode their sites.

        Without `logits` the tail does not run and they are NaN; `attribute` returns them with the effects.
        """
        sae, place = self.sae, (self.sae.config.hookpoint.layer, self.sae.config.positions)
        states = HiddenStates.empty(tokenized, sae.config.d_in, sae.W_dec.device)
        found = np.full((len(tokenized), self.tail.n_classes), np.nan)
        entries, micro = [], MicroBatches("the layers after the hookpoint", len(tokenized))
        for batch in read_batches(self.model, tokenized, self.pad_id, *place, tokens_per_batch=self.budget):
            states.put(batch)
            entries.append(active_entries(sae, batch))
            if logits:
                found[batch.rows] = micro.run(partial(self._logits_of, batch), len(batch.rows))
        firings = Firings.collect(*(np.concatenate(column) for column in zip(*entries, strict=True)))
        return Reading(tokenized, states.hidden, states.input_ids, states.starts, firings, found)

    def _logits_of(self, batch: HiddenBatch, parts: list[slice]) -> Floats:
        """The logits [n_headlines, n_classes] of a batch as it was read, in parts."""
        inputs = ((batch.hidden[part].float(), batch.input_ids[part], batch.mask[part]) for part in parts)
        return np.concatenate([self.tail(*some).cpu().double().numpy() for some in inputs])

    def acts(self, reading: Reading) -> Tensor:
        """The activations [n_sites, d_in] at the positions that the SAE was trained on."""
        return reading.acts(self.sae.config.positions)

    @torch.no_grad()
    def rebuilt(self, reading: Reading) -> Tensor:
        """The SAE's reconstruction [n_sites, d_in] of `acts`, from the features that are known to be active there."""
        fires, sites, width = reading.firings, reading.sites(self.sae.config.positions), int(reading.lengths.max())
        key = fires.headline * width + fires.position
        by_site = np.lexsort((fires.feature, key))
        site = np.searchsorted((sites.headline * width + sites.position).cpu().numpy(), key[by_site])
        starts = np.searchsorted(site, np.arange(len(sites) + 1))
        columns = starts, fires.feature[by_site].astype(np.int32), fires.value[by_site]
        return self.sae.decode_lists(Lists(*(torch.from_numpy(column).to(self.device) for column in columns)))

    def shift(self, reading: Reading, rows: Ints, n_positions: int, at: Ints, entry: Ints, delta: Tensor) -> Tensor:
        """How hidden states move when active entries change by δ, [n_rows, n_positions, d_in]; differentiable in δ.

        A site moves by scale · Σ δ·W_dec[feature]. `rows` [n_rows] are headlines of the reading, and `at`, `entry` and
        `delta` [n_entries] say in which of these rows which entry changes by how much.
        """
        firings, device = reading.firings, reading.hidden.device
        shape = (len(rows), n_positions)
        site = torch.from_numpy(at * n_positions + firings.position[entry]).to(device)
        feature = torch.from_numpy(firings.feature[entry]).to(device)
        order = site.argsort(stable=True)
        counts = torch.bincount(site, minlength=math.prod(shape))
        bags = nn.functional.embedding_bag(
            feature[order],
            self.sae.W_dec,
            counts.cumsum(0) - counts,
            mode="sum",
            per_sample_weights=delta[order],
        )
        shifts = self.sae.scale * bags.view(*shape, -1)
        if self.sae.config.positions != "mean":
            return shifts
        words = counted_mask([reading.tokenized[row] for row in rows], "mean").to(device)
        return shifts[:, :1] * words[..., None]

    @torch.no_grad()
    def logits(self, reading: Reading, variants: Variants) -> Floats:
        """The logits [n_variants, n_classes] of edited headlines."""
        firings, device = reading.firings, reading.hidden.device
        result = np.zeros((len(variants.headline), self.tail.n_classes))
        sizes = np.diff(variants.starts)
        lengths = reading.lengths[variants.headline].tolist()

        def run(batch: Ints) -> None:
            hidden, input_ids, mask = reading.padded(variants.headline[batch])
            own = ragged(variants.starts[batch], sizes[batch])
            entry, at = variants.entry[own], np.repeat(np.arange(len(batch)), sizes[batch])
            level = variants.level[own] if isinstance(variants.level, np.ndarray) else variants.level
            delta = torch.from_numpy(level - firings.value[entry]).to(device, torch.float32)
            hidden += self.shift(reading, variants.headline[batch], hidden.shape[1], at, entry, delta)
            result[batch] = self.tail(hidden, input_ids, mask).cpu().double().numpy()

        for_each_batch("interventions", length_batches(lengths, self.budget, self.tail.equal_lengths), run)
        return result

    def replaced_logits(self, reading: Reading, acts: Tensor) -> Floats:
        """The logits [n_headlines, n_classes] with `acts` [n_sites, d_in] in place of the reading's."""
        return reading.replaced(self.sae.config.positions, acts).rerun(self.tail, self.budget)
