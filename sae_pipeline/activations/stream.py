"""Activations without a store."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm.auto import tqdm

from sae_pipeline.activations.extraction import Extraction, _Activations, _Moments, _plan
from sae_pipeline.headlines.tokens import length_batches


@dataclass(frozen=True)
class ActivationStream(_Activations):
    """The same tokens without a store: whatever is read is computed by the classifier, again each time."""

    extraction: Extraction

    @classmethod
    def open(cls, extraction: Extraction) -> "ActivationStream":
        """One pass over the headlines for mean and scale."""
        started = time.perf_counter()
        moments = _Moments()
        batches = [batch for shard in _plan(extraction) for batch in shard]
        with tqdm(total=int(extraction.counts.sum()), desc="mean and scale", unit="tok", unit_scale=True) as bar:
            for batch in extraction.read(batches):
                moments.add(batch.acts.cpu().half())
                bar.update(len(batch.acts))
        return cls(extraction.manifest(moments, [], time.perf_counter() - started), extraction)

    def read(self, spans: Sequence[tuple[int, int]]) -> Tensor:
        """The rows of half-open spans, in the order given: float16 [n, d_in]."""
        order, ends = self._order
        rows = np.concatenate([np.arange(start, stop) for start, stop in spans])
        places = np.searchsorted(ends, rows, side="right")  # of the row's headline in `order`
        within = rows - (ends - self.extraction.counts[order])[places]
        wanted = np.unique(places)
        known = np.empty(len(self.extraction.headlines), dtype=np.int64)
        known[order[wanted]] = np.arange(len(wanted))
        lengths = [len(self.extraction.headlines[i].input_ids) for i in order[wanted]]
        budget = self.extraction.config.tokens_per_batch
        batches = [order[wanted[batch]] for batch in length_batches(lengths, budget)]
        parts, firsts, filled = [], np.empty(len(wanted), dtype=np.int64), 0
        for batch, members in zip(self.extraction.read(batches), batches, strict=True):
            parts.append(batch.acts.cpu().half())
            counts = self.extraction.counts[members]
            firsts[known[members]] = filled + counts.cumsum() - counts
            filled += len(batch.acts)
        return torch.cat(parts)[firsts[known[order[places]]] + within]

    @cached_property
    def _order(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Headlines as in a store, longest first, and the rows up to the end of each."""
        order = np.concatenate([batch for shard in _plan(self.extraction) for batch in shard])
        return order, self.extraction.counts[order].cumsum()
