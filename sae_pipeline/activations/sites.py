"""Sites: the vectors that an SAE reads in hidden states, and how an edit of them changes the hidden states.

A site is one vector x that an SAE reads. It is made from its members M: one token, or, for the positions `mean`, all
tokens of words in a headline.

    read     x = mean of h_m over M
    moved    h_m + δ for every m in M, so that x becomes x + δ
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sae_pipeline.headlines.tokens import TokenizedHeadline
from sae_pipeline.machine.transfers import to_device
from sae_pipeline.schema.common import PositionKind


@dataclass(frozen=True)
class Sites:
    """The sites of some headlines, headline by headline. Hidden states are [n_tokens, d_in] or padded."""

    member: Tensor  # int64 [n_members] rows of the hidden states, where these are listed as [n_tokens, d_in]
    headline: Tensor  # int64 [n_sites] 0-based index of each site's headline
    position: Tensor  # int64 [n_sites] position of the token in the model's input, 0-based; 0 for several words
    owner: Tensor | None = None  # int64 [n_members] the site of each member; None: each member is a site

    @classmethod
    def of_mask(cls, counted: Tensor, positions: PositionKind) -> "Sites":
        """The sites of a padded batch from its `counted_mask`, bool [n_headlines, n_positions]."""
        headline, position = counted.nonzero(as_tuple=True)
        return cls._grouped(positions, headline * counted.shape[1] + position, headline, position)

    @classmethod
    def of_headlines(
        cls, headlines: Sequence[TokenizedHeadline], positions: PositionKind, device: torch.device
    ) -> "Sites":
        """The sites of headlines whose tokens are listed one headline after the other, without padding."""
        places = [np.array(h.counted(positions), np.int64) for h in headlines]
        starts = np.cumsum([0, *(len(h.input_ids) for h in headlines)])
        sizes = [len(place) for place in places]
        headline = np.repeat(np.arange(len(headlines)), sizes)
        position = np.concatenate([*places, np.zeros(0, np.int64)])
        columns = (torch.from_numpy(c).to(device) for c in (starts[headline] + position, headline, position))
        return cls._grouped(positions, *columns)

    @classmethod
    def _grouped(cls, positions: PositionKind, member: Tensor, headline: Tensor, position: Tensor) -> "Sites":
        if positions != "mean":
            return cls(member, headline, position)
        with_words, owner = headline.unique_consecutive(return_inverse=True)
        return cls(member, with_words, torch.zeros_like(with_words), owner)

    def to(self, device: torch.device) -> "Sites":
        """The same sites with their tensors on `device`."""
        owner = None if self.owner is None else to_device(self.owner, device)
        member, headline, position = (to_device(t, device) for t in (self.member, self.headline, self.position))
        return Sites(member, headline, position, owner)

    def __len__(self) -> int:
        return len(self.headline)

    def read(self, hidden: Tensor) -> Tensor:
        """The vector x of each site, float32 [n_sites, d_in]."""
        x = hidden.flatten(0, -2)[self.member].float()
        if self.owner is None:
            return x
        return self._summed(x, self.owner) / torch.bincount(self.owner, minlength=len(self))[:, None]

    def moved(self, hidden: Tensor, delta: Tensor) -> Tensor:
        """A copy of the hidden states in which the sites have moved by `delta` [n_sites, d_in]."""
        delta = delta if self.owner is None else delta[self.owner]
        flat = hidden.flatten(0, -2)
        return flat.index_copy(0, self.member, (flat[self.member].float() + delta).to(flat.dtype)).view_as(hidden)

    def gradient(self, slopes: Tensor) -> Tensor:
        """The gradient [n_sites, d_in] with respect to `delta` of `moved`, given that of the hidden states."""
        at_members = slopes.flatten(0, -2)[self.member]
        if self.owner is None:
            return at_members
        return self._summed(at_members, self.owner)

    def _summed(self, members: Tensor, owner: Tensor) -> Tensor:
        """The sum of `members` [n_members, d_in] over each site, [n_sites, d_in]."""
        sizes = torch.bincount(owner, minlength=len(self))
        return torch.segment_reduce(members, "sum", lengths=sizes, initial=0, unsafe=True)  # index_add knows no order

    def replaced(self, hidden: Tensor, acts: Tensor) -> Tensor:
        """A copy of the hidden states in which the sites have the vectors `acts` [n_sites, d_in]."""
        if self.owner is not None:
            return self.moved(hidden, acts - self.read(hidden))
        return hidden.flatten(0, -2).index_copy(0, self.member, acts.to(hidden.dtype)).view_as(hidden)
