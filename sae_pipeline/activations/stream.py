"""Activations without a store: the classifier computes them again each time they are read."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm.auto import tqdm

from sae_pipeline.activations.extraction import Extraction
from sae_pipeline.activations.manifest import Activations, Moments
from sae_pipeline.classifier.padding import equal_lengths
from sae_pipeline.headlines.tokens import length_batches


@dataclass(frozen=True)
class ActivationStream(Activations):
    """The tokens that a store would hold, in the same order, computed on demand."""

    extraction: Extraction

    @classmethod
    def open(cls, extraction: Extraction) -> Self:
        """Make one pass over the headlines for mean and scale."""
        started = time.perf_counter()
        moments = Moments()
        batches = [batch for shard in extraction.plan for batch in shard]
        with tqdm(total=int(extraction.counts.sum()), desc="mean and scale", unit="tok", unit_scale=True) as bar:
            for batch in extraction.read(batches):
                moments.add(batch.acts.half())
                bar.update(len(batch.places))
        return cls(extraction.manifest(moments, {}, time.perf_counter() - started), extraction)

    def read(self, spans: Sequence[tuple[int, int]]) -> Tensor:
        """The rows of half-open spans in the order given, float16 [n, d_in]."""
        order, ends = self._order
        rows = np.concatenate([np.arange(start, stop) for start, stop in spans])
        places = np.searchsorted(ends, rows, side="right")  # index into `order` of each row's headline
        within = rows - (ends - self.extraction.counts[order])[places]
        wanted = np.unique(places)
        known = np.empty(len(self.extraction.headlines), dtype=np.int64)
        known[order[wanted]] = np.arange(len(wanted))
        lengths = [len(self.extraction.headlines[i].input_ids) for i in order[wanted]]
        budget = self.extraction.config.tokens_per_batch
        grouped = length_batches(lengths, budget, equal_lengths(self.extraction.model))
        batches = [order[wanted[batch]] for batch in grouped]
        parts, firsts, filled = [], np.empty(len(wanted), dtype=np.int64), 0
        for batch in self.extraction.read(batches):
            acts = batch.acts.half().cpu()
            parts.append(acts)
            counts = self.extraction.counts[batch.rows]
            firsts[known[batch.rows]] = filled + counts.cumsum() - counts
            filled += len(acts)
        return torch.cat(parts)[firsts[known[order[places]]] + within]

    @cached_property
    def _order(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The headlines in a store's order, longest first, and the number of rows up to the end of each."""
        order = np.concatenate([batch for shard in self.extraction.plan for batch in shard])
        return order, self.extraction.counts[order].cumsum()
