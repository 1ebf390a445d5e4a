"""The headlines that names are found on: a bounded sample, the same however the headlines are shared or ordered."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from sae_pipeline.arrays import Floats, Ints
from sae_pipeline.headlines.tokens import TokenizedHeadline
from sae_pipeline.schema.run import Prompt

MAX_HEADLINES = 1 << 14
MAX_ENTRIES = 1 << 24  # peaks in memory, 8 bytes each


class Peaks(NamedTuple):
    """The units that fire in one headline, and the largest activation of each."""

    unit: NDArray[np.int32]
    peak: NDArray[np.float32]


class SampledHeadline(NamedTuple):
    """A headline as far as the classifier read it."""

    text: str
    words: tuple[str, ...]  # in order, as written
    prediction: int
    features: Peaks
    neurons: NDArray[np.float16]  # [2 · d_in] the largest x_norm of each coordinate, then of its negative


class HeadlineSample:
    """The headlines with the lowest ids, which are hashes. Samples of different headlines merge by `+`.

    A headline is kept if at most `MAX_HEADLINES` ids and `MAX_ENTRIES` peaks are not above its own.
    """

    def __init__(self) -> None:
        self.kept: dict[str, SampledHeadline] = {}
        self._below: str | None = None  # ids from this one on are not kept

    def wants(self, headline_id: str) -> bool:
        """Whether a headline may belong to the sample."""
        return self._below is None or headline_id < self._below

    def add(self, headlines: Mapping[str, SampledHeadline]) -> None:
        """Take headlines, by id."""
        self.kept |= {name: headline for name, headline in headlines.items() if self.wants(name)}
        if len(self.kept) > 2 * MAX_HEADLINES or self._n_entries() > 2 * MAX_ENTRIES:
            self._prune()

    def __add__(self, other: "HeadlineSample") -> "HeadlineSample":
        """The sample from the headlines of both."""
        total = HeadlineSample()
        total.kept = {**self.kept, **other.kept}
        total._prune()
        return total

    def finish(self) -> list[tuple[str, SampledHeadline]]:
        """The headlines of the sample with their ids, ascending."""
        self._prune()
        return sorted(self.kept.items())

    def _prune(self) -> None:
        names = sorted(self.kept)
        entries = np.cumsum([_size(self.kept[name]) for name in names])
        n = min(MAX_HEADLINES, int(np.searchsorted(entries, MAX_ENTRIES, side="right")))
        if n < len(names):
            self._below = names[n]
            for name in names[n:]:
                del self.kept[name]

    def _n_entries(self) -> int:
        return sum(_size(headline) for headline in self.kept.values())


def read_words(tokens: TokenizedHeadline | Prompt) -> tuple[str, ...]:
    """The words of a headline that the classifier reads, in order, as written."""
    first, last = dict[int, int](), dict[int, int]()
    for start, end, word in zip(tokens.starts, tokens.ends, tokens.words, strict=True):
        first.setdefault(word, start)
        last[word] = end
    return tuple(tokens.text[first[word] : last[word]] for word in sorted(first) if word >= 0)


def _size(headline: SampledHeadline) -> int:
    return len(headline.features.unit) + len(headline.neurons) // 4


def peaks_by_headline(headline: Ints, feature: Ints, peak: Floats, n: int) -> list[Peaks]:
    """The peaks of headlines 0 to n − 1, from flat arrays that are sorted by headline."""
    bounds = np.searchsorted(headline, np.arange(n + 1)).tolist()
    unit, peaks = feature.astype(np.int32), peak.astype(np.float32)
    return [Peaks(unit[start:end].copy(), peaks[start:end].copy()) for start, end in pairwise(bounds)]


def peak_matrix(headlines: Sequence[SampledHeadline], d_sae: int) -> sparse.csr_matrix:
    """The peaks of all features, float32 [n_headlines, d_sae], 0 where a feature does not fire."""
    rows = [headline.features for headline in headlines]
    ptr = np.cumsum([0, *(len(row.unit) for row in rows)])
    units = np.concatenate([np.zeros(0, np.int32), *(row.unit for row in rows)])
    peaks = np.concatenate([np.zeros(0, np.float32), *(row.peak for row in rows)])
    return sparse.csr_matrix((peaks, units, ptr), shape=(len(rows), d_sae))
