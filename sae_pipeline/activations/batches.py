"""Shuffled batches of tokens for training, from activations of any size, in bounded memory."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from sae_pipeline.machine.memory import fits
from sae_pipeline.machine.transfers import to_device

_RUN = 256  # neighbouring rows that are read together where not all fit into memory: about 15 headlines
_CPU = torch.device("cpu")


class Tokens(Protocol):
    """Activations that can be read in parts."""

    @property
    def n_tokens(self) -> int:
        """The number of tokens."""

    @property
    def d_in(self) -> int:
        """The width of the activations."""

    def read(self, spans: Sequence[tuple[int, int]]) -> Tensor:
        """The rows of half-open spans, in the order given: [n, d_in], in the classifier's units."""


@dataclass(frozen=True)
class HeldTokens:
    """Activations [n_tokens, d_in] that are in memory."""

    acts: Tensor

    @property
    def n_tokens(self) -> int:
        """The number of tokens."""
        return len(self.acts)

    @property
    def d_in(self) -> int:
        """The width of the activations."""
        return self.acts.shape[1]

    def read(self, spans: Sequence[tuple[int, int]]) -> Tensor:
        """The rows of half-open spans; see `Tokens`."""
        parts = [self.acts[start:stop] for start, stop in spans]
        return parts[0] if len(parts) == 1 else torch.cat(parts)


def chunks(tokens: Tokens, size: int = 4096) -> Iterator[Tensor]:
    """All tokens in their order, [size, d_in] at a time."""
    for start in range(0, tokens.n_tokens, size):
        yield tokens.read([(start, min(start + size, tokens.n_tokens))])


def steps_per_epoch(tokens: Tokens, batch_size: int) -> int:
    """Batches in one pass; the last, smaller one is kept."""
    return -(-tokens.n_tokens // batch_size)


def batches(
    tokens: Tokens,
    batch_size: int,
    epochs: int,
    seed: int,
    start: int = 0,
    in_memory: int | None = None,
    device: torch.device = _CPU,
) -> Iterator[Tensor]:
    """Shuffled batches [batch_size, d_in] over `epochs` passes, from the `start`-th on; the same for the same seed.

    At most `in_memory` tokens are held. Where all fit the order is one permutation; else runs of 256 neighbouring
    tokens are drawn at random until the memory is full, and shuffled among themselves. Batches are on `device`, which
    also gathers them if it has room for what is held.
    """
    generator = torch.Generator().manual_seed(seed)
    n, per_epoch = tokens.n_tokens, steps_per_epoch(tokens, batch_size)
    room = n if in_memory is None else max(1, in_memory // batch_size) * batch_size
    held = _near(tokens.read([(0, n)]), device) if n <= room else None
    for epoch in range(epochs):
        skip = max(0, start - epoch * per_epoch)  # batches of this pass that are not wanted
        runs = None if held is not None else torch.randperm(-(-n // _RUN), generator=generator)
        for first in range(0, n, room):
            size = min(room, n - first)
            order = torch.randperm(size, generator=generator)
            n_batches = -(-size // batch_size)
            if skip >= n_batches:
                skip -= n_batches
                continue
            block = held if held is not None else _near(tokens.read(_spans(runs, n, first, first + size)), device)
            for rows in to_device(order, block.device).split(batch_size)[skip:]:
                yield to_device(block[rows], device)
            skip = 0


def _near(acts: Tensor, device: torch.device) -> Tensor:
    """Activations on `device` if they fit there, else where they are."""
    return acts.to(device) if fits(acts.nbytes, device) else acts


def _spans(runs: Tensor | None, n: int, first: int, last: int) -> list[tuple[int, int]]:
    """The rows that are `first` to `last` when the runs of `n` rows are laid in this order."""
    assert runs is not None
    starts = runs * _RUN
    stops = (starts + _RUN).clamp_max(n)
    ends = (stops - starts).cumsum(0)
    a = int(torch.searchsorted(ends, first, right=True))
    b = int(torch.searchsorted(ends, last))
    spans = [[int(i), int(j)] for i, j in zip(starts[a : b + 1], stops[a : b + 1], strict=True)]
    spans[-1][1] -= int(ends[b]) - last
    spans[0][0] = int(stops[a]) - (int(ends[a]) - first)
    return [(i, j) for i, j in spans]
