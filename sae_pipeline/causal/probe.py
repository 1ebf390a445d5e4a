"""Change what an SAE's features say inside the classifier, and rerun only what comes after.

An edit is a delta on the true activation, at positions that the SAE covers, so what the SAE cannot reconstruct stays:

    x' = x + scale · Σ_i (new_i − old_i) · W_dec[i]

`intervene` does that inside any forward pass of the model. `Probe` reads headlines once up to the hookpoint and then
answers many edits of them from the layers after it alone.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sae_pipeline.arrays import Floats, Ints, ragged
from sae_pipeline.classifier.hooks import hooked, resolve_hookpoint, stopping
from sae_pipeline.classifier.tail import Tail
from sae_pipeline.errors import UserError
from sae_pipeline.headlines.tokens import TokenizedHeadline, collate, counted_mask, length_batches
from sae_pipeline.sae.autoencoder import SparseAutoencoder
from sae_pipeline.sae.firings import Firings

# --- edits ---------------------------------------------------------------------------------------------


# --- many edits of headlines read once -----------------------------------------------------------------


@dataclass(frozen=True)
class Reading:
    """A block of headlines read up to the hookpoint, with the features that are active there."""

    tokenized: Sequence[TokenizedHeadline]
    hidden: Tensor  # float32 [n_tokens, d_in], headline by headline, special tokens included
    starts: Ints  # [n_headlines + 1] first token of each headline
    firings: Firings  # headline = row of this block
    logits: Floats  # [n_headlines, n_classes], unedited

    @property
    def lengths(self) -> Ints:
        """[n_headlines] tokens."""
        return np.diff(self.starts)

    @property
    def entry_starts(self) -> Ints:
        """[n_headlines + 1] first active entry of each headline."""
        return np.searchsorted(self.firings.headline, np.arange(len(self.tokenized) + 1))

    @property
    def group_starts(self) -> Ints:
        """[n_headlines + 1] first group (feature in a headline) of each headline."""
        return np.searchsorted(self.firings.group_headline, np.arange(len(self.tokenized) + 1))

    def padded(self, rows: Ints) -> tuple[Tensor, Tensor]:
        """Hidden states [n_rows, longest, d_in] of some headlines, repeats allowed, and their attention mask."""
        lengths = self.lengths[rows]
        place = np.arange(lengths.max())
        mask = torch.from_numpy(place < lengths[:, None]).to(self.hidden.device)
        index = np.minimum(self.starts[rows][:, None] + place, len(self.hidden) - 1)
        hidden = self.hidden[torch.from_numpy(index).to(self.hidden.device)]
        return hidden.masked_fill_(~mask[..., None], 0.0), mask.long()


@dataclass(frozen=True)
class Variants:
    """Versions of headlines, each with some active entries set to `level` (by default ablated)."""

    headline: Ints  # [n_variants] row of the reading
    starts: Ints  # [n_variants + 1] into `entry`
    entry: Ints  # active entries that are changed, variant by variant
    level: float = 0.0

    @classmethod
    def of_groups(
        cls, firings: Firings, headline: Sequence[int] | Ints, groups: Sequence[Any], level: float = 0.0
    ) -> "Variants":
        """Set `groups[v]` (indices of groups of that headline) to `level` in `headline[v]`, for every variant v."""
        sizes = np.array([len(g) for g in groups], np.int64)
        flat = np.concatenate([*(np.asarray(g, np.int64) for g in groups), np.zeros(0, np.int64)])
        lengths = np.asarray(firings.group_length)[flat]
        entries_before = np.concatenate([[0], np.cumsum(lengths)])
        starts = entries_before[np.concatenate([[0], np.cumsum(sizes)])]
        return cls(np.asarray(headline, np.int64), starts, ragged(firings.group_start[flat], lengths), level=level)


@dataclass(frozen=True)
class Probe:
    """A classifier cut at its SAE's hookpoint, in fp32."""

    model: Any
    sae: SparseAutoencoder
    tail: Tail
    pad_id: int
    tokens_per_batch: int = 4096

    @property
    def tokens_in_cache(self) -> int:
        """Token budget of a batch whose activations stay in a CPU's cache: a quarter faster than 4,096 of them."""
        return min(self.tokens_per_batch, 1024) if self.sae.W_dec.device.type == "cpu" else self.tokens_per_batch

    @classmethod
    def of(cls, model: Any, sae: SparseAutoencoder, pad_id: int, tokens_per_batch: int = 4096) -> "Probe":
        """Raises UserError when model and SAE do not fit."""
        if model.config.hidden_size != sae.config.d_in:
            raise UserError(
                f"The SAE expects activations of width {sae.config.d_in}, the classifier has "
                f"{model.config.hidden_size}; use an SAE that was trained on this classifier."
            )
        return cls(model, sae, Tail(model, sae.config.hookpoint.layer), pad_id, tokens_per_batch)

    @torch.no_grad()
    def read(self, tokenized: Sequence[TokenizedHeadline], logits: bool = True) -> Reading:
        """Read a block of headlines once and keep what is needed to rerun the tail.

        Without `logits` the tail is not run and they are NaN: `attribute` gives them with the effects.
        """
        module, _ = resolve_hookpoint(self.model, self.sae.config.hookpoint.layer)
        lengths = np.array([len(h.input_ids) for h in tokenized], np.int64)
        starts = np.concatenate([[0], np.cumsum(lengths)])
        device = self.sae.W_dec.device
        hidden = torch.empty(int(starts[-1]), self.sae.config.d_in, device=device)
        found = np.full((len(tokenized), self.model.config.num_labels), np.nan)
        parts: list[tuple[Any, ...]] = []
        seen: list[Tensor] = []
        for batch in length_batches(lengths.tolist(), self.tokens_in_cache):
            members = [tokenized[i] for i in batch]
            input_ids, mask = (t.to(device) for t in collate(members, self.pad_id))
            seen.clear()
            with hooked(module, seen.append, stop=True), stopping():
                self.model(input_ids=input_ids, attention_mask=mask)
            if logits:
                found[batch] = self.tail(seen[0].float(), mask).double().cpu().numpy()
            flat = torch.from_numpy(ragged(starts[batch], lengths[batch])).to(device)
            hidden[flat] = seen[0][mask.bool()].float()
            row, position = counted_mask(members, self.sae.config.positions).to(device).nonzero(as_tuple=True)
            token, feature, value = self.sae.encode_active(seen[0][row, position].float())
            parts.append((batch[row.cpu().numpy()][token], position.cpu().numpy()[token], feature, value))
        firings = Firings.collect(*(np.concatenate(column) for column in zip(*parts, strict=True)))
        return Reading(tokenized, hidden, starts, firings, found)

    def shift(self, shape: Sequence[int], site: Tensor, feature: Tensor, delta: Tensor) -> Tensor:
        """scale · Σ δ·W_dec[feature] at every site (row · n_positions + position), [*shape, d_in]; differentiable in δ.

        `shape` is (n_rows, n_positions).
        """
        order = site.argsort(stable=True)
        counts = torch.bincount(site, minlength=math.prod(shape))
        bags = nn.functional.embedding_bag(
            feature[order],
            self.sae.W_dec,
            counts.cumsum(0) - counts,
            mode="sum",
            per_sample_weights=delta[order],
        )
        return self.sae.scale * bags.view(*shape, -1)

    @torch.no_grad()
    def logits(self, reading: Reading, variants: Variants) -> Floats:
        """Logits [n_variants, n_classes] of edited headlines, from the layers after the hookpoint."""
        firings, device = reading.firings, reading.hidden.device
        result = np.zeros((len(variants.headline), reading.logits.shape[1]))
        sizes = np.diff(variants.starts)
        for batch in length_batches(reading.lengths[variants.headline].tolist(), self.tokens_in_cache):
            hidden, mask = reading.padded(variants.headline[batch])
            entry = variants.entry[ragged(variants.starts[batch], sizes[batch])]
            site = np.repeat(np.arange(len(batch)), sizes[batch]) * hidden.shape[1] + firings.position[entry]
            delta = variants.level - firings.value[entry]
            hidden += self.shift(
                hidden.shape[:2],
                torch.from_numpy(site).to(device),
                torch.from_numpy(firings.feature[entry]).to(device),
                torch.from_numpy(delta).to(device, torch.float32),
            )
            result[batch] = self.tail(hidden, mask).double().cpu().numpy()
        return result

    @torch.no_grad()
    def replaced_logits(self, reading: Reading, replacement: Tensor) -> Floats:
        """Logits with all covered activations replaced by `replacement` [n_covered_tokens, d_in], in their order."""
        hidden = reading.hidden.clone()
        hidden[self.covered(reading)] = replacement
        replaced = Reading(reading.tokenized, hidden, reading.starts, reading.firings, reading.logits)
        everything = np.arange(len(reading.tokenized))
        return self.logits(replaced, Variants(everything, np.zeros(len(everything) + 1, np.int64), everything[:0]))

    def covered(self, reading: Reading) -> Tensor:
        """Tokens of the reading (rows of `hidden`) that the SAE covers."""
        kind = self.sae.config.positions
        headlines = zip(reading.starts[:-1], reading.tokenized, strict=True)
        places = np.concatenate([start + np.array(h.counted(kind), np.int64) for start, h in headlines])
        return torch.from_numpy(places).to(reading.hidden.device)
