"""Headlines that were read once up to the hookpoint, so that the layers after it can be rerun on edits of them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor

from sae_pipeline.activations.reading import HiddenBatch
from sae_pipeline.activations.sites import Sites
from sae_pipeline.arrays import Floats, Ints, ragged
from sae_pipeline.classifier.tail import Tail
from sae_pipeline.headlines.tokens import TokenizedHeadline, length_batches
from sae_pipeline.machine.device import token_budget
from sae_pipeline.machine.memory import for_each_batch
from sae_pipeline.schema.common import PositionKind


@dataclass(frozen=True)
class HiddenStates:
    """The hidden states of some headlines at the hookpoint, without padding."""

    tokenized: Sequence[TokenizedHeadline]
    hidden: Tensor  # float32 [n_tokens, d_in], headline by headline, special tokens included
    input_ids: Tensor  # int64 [n_tokens]
    starts: Ints  # [n_headlines + 1] the first token of each headline

    @classmethod
    def empty(cls, tokenized: Sequence[TokenizedHeadline], d_in: int, device: torch.device) -> Self:
        """Room for headlines that `put` fills."""
        starts = np.cumsum([0, *(len(headline.input_ids) for headline in tokenized)])
        input_ids = np.array([token for headline in tokenized for token in headline.input_ids], np.int64)
        hidden = torch.empty(int(starts[-1]), d_in, device=device)
        return cls(tokenized, hidden, torch.from_numpy(input_ids).to(device), starts)

    @classmethod
    def collect(
        cls, tokenized: Sequence[TokenizedHeadline], d_in: int, device: torch.device, batches: Iterable[HiddenBatch]
    ) -> Self:
        """The hidden states of `tokenized` from batches that hold each headline once, in any order."""
        states = cls.empty(tokenized, d_in, device)
        for batch in batches:
            states.put(batch)
        return states

    def put(self, batch: HiddenBatch) -> None:
        """Copy a batch of these headlines to its place."""
        tokens = ragged(self.starts[batch.rows], self.lengths[batch.rows])
        self.hidden[torch.from_numpy(tokens).to(self.hidden.device)] = batch.hidden[batch.mask.bool()].float()

    @property
    def lengths(self) -> Ints:
        """[n_headlines] tokens of each headline."""
        return np.diff(self.starts)

    def padded(self, rows: Ints) -> tuple[Tensor, Tensor, Tensor]:
        """Hidden states [n_rows, longest, d_in] of some headlines, their input_ids and their mask [n_rows, longest].

        A headline may come several times. Where the mask is 0, hidden states are 0 and input_ids mean nothing.
        """
        lengths = self.lengths[rows]
        position = np.arange(lengths.max())
        mask = torch.from_numpy(position < lengths[:, None]).to(self.hidden.device)
        clipped = np.minimum(self.starts[rows][:, None] + position, len(self.hidden) - 1)
        token = torch.from_numpy(clipped).to(self.hidden.device)
        return self.hidden[token].masked_fill_(~mask[..., None], 0.0), self.input_ids[token], mask.long()

    def sites(self, positions: PositionKind) -> Sites:
        """The sites of all headlines."""
        return Sites.of_headlines(self.tokenized, positions, self.hidden.device)

    def acts(self, positions: PositionKind) -> Tensor:
        """[n_sites, d_in]: the activations of the sites."""
        return self.hidden if positions == "all" else self.sites(positions).read(self.hidden)

    def replaced(self, positions: PositionKind, acts: Tensor) -> Self:
        """A copy with `acts` [n_sites, d_in] in place of the sites' activations."""
        if positions == "all":
            return replace(self, hidden=acts)
        return replace(self, hidden=self.sites(positions).replaced(self.hidden, acts))

    @torch.no_grad()
    def rerun(self, tail: Tail, tokens_per_batch: int) -> Floats:
        """Logits [n_headlines, n_classes] from the layers after the hookpoint."""
        logits = np.zeros((len(self.tokenized), tail.n_classes))

        def run(rows: Ints) -> None:
            logits[rows] = tail(*self.padded(rows)).cpu().double().numpy()

        budget = token_budget(self.hidden.device, tokens_per_batch)
        batches = length_batches(self.lengths.tolist(), budget, tail.equal_lengths)
        for_each_batch("the layers after the hookpoint", batches, run)
        return logits
