"""Active entries as lists: which feature fires where, never a dense [n_tokens, d_sae]."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sae_pipeline.arrays import Floats, Ints, ragged, rank_in_run, run_starts


@dataclass(frozen=True)
class Firings:
    """Active entries by group, which is one feature in one headline; positions ascend within it.

    `collect` orders the groups by headline, then feature.
    """

    headline: Ints  # [n_entries] index in the run
    feature: Ints  # [n_entries]
    position: Ints  # [n_entries]
    value: Floats  # [n_entries]
    group_start: Ints  # [n_groups] index of the group's first entry
    group_max: Floats  # [n_groups]
    group_argmax: Ints  # [n_groups] index of its first entry that holds the maximum

    @property
    def group_headline(self) -> Ints:
        """[n_groups]."""
        return self.headline[self.group_start]

    @property
    def group_feature(self) -> Ints:
        """[n_groups]."""
        return self.feature[self.group_start]

    @property
    def group_length(self) -> Ints:
        """[n_groups] entries in each group."""
        return np.diff(self.group_start, append=len(self.feature))

    @classmethod
    def collect(cls, headline: Ints, position: Ints, feature: Ints, value: Floats) -> "Firings":
        """From entries in any order, at most one per (headline, position, feature)."""
        order = _order(headline, feature, position)
        headline, position, feature, value = headline[order], position[order], feature[order], value[order]
        changed = (np.diff(headline, prepend=-1) != 0) | (np.diff(feature, prepend=-1) != 0)
        start = np.flatnonzero(changed)
        if not len(start):
            return cls(headline, feature, position, value, start, value[:0], start)
        peak = np.maximum.reduceat(value, start)
        index = np.arange(len(value))
        is_peak = value == np.repeat(peak, np.diff(start, append=len(value)))
        argmax = np.minimum.reduceat(np.where(is_peak, index, len(value)), start)
        return cls(headline, feature, position, value, start, peak, argmax)

    @classmethod
    def chain(cls, parts: Iterable["Firings"]) -> "Firings":
        """The groups of several one after the other, in no order."""
        none = np.zeros(0, np.int64)
        parts = [cls.collect(none, none, none, np.zeros(0, np.float32)), *parts]
        offset = np.cumsum([0, *(len(p.feature) for p in parts)])

        def whole(name: str, shift: bool = False) -> NDArray[Any]:
            columns = (getattr(p, name) for p in parts)
            return np.concatenate([c + at if shift else c for c, at in zip(columns, offset, strict=False)])

        return cls(
            whole("headline"),
            whole("feature"),
            whole("position"),
            whole("value"),
            whole("group_start", shift=True),
            whole("group_max"),
            whole("group_argmax", shift=True),
        )

    def take(self, groups: Ints) -> "Firings":
        """Some of the groups; `groups` ascending."""
        length = self.group_length[groups]
        entries = ragged(self.group_start[groups], length)
        start = np.cumsum(length) - length
        offset = self.group_argmax[groups] - self.group_start[groups]
        return Firings(
            self.headline[entries],
            self.feature[entries],
            self.position[entries],
            self.value[entries],
            start,
            self.group_max[groups],
            start + offset,
        )

    def strongest_groups(self, k: int) -> Ints:
        """Groups that are among the k strongest of their headline: by headline, strongest first, ties by feature."""
        headline = self.group_headline
        bounds = np.append(run_starts(headline), len(headline)).tolist()
        candidates = []
        for start, end in pairwise(bounds):
            peaks = self.group_max[start:end]
            if len(peaks) > k:
                weakest = np.partition(peaks, len(peaks) - k)[len(peaks) - k]
                candidates.append(start + np.flatnonzero(peaks >= weakest))
            else:
                candidates.append(np.arange(start, end))
        found = np.concatenate([*candidates, np.zeros(0, np.int64)])
        found = found[np.lexsort((self.group_feature[found], -self.group_max[found], headline[found]))]
        return found[rank_in_run(headline[found]) < k]


def _order(headline: Ints, feature: Ints, position: Ints) -> Ints:
    """What sorts by headline, feature, position: one key where it fits 63 bits, which is six times faster."""
    if not len(headline):
        return np.zeros(0, np.int64)
    first = int(headline.min())
    widths = [int(headline.max()) - first + 1, int(feature.max()) + 1, int(position.max()) + 1]
    if widths[0] * widths[1] * widths[2] >= 1 << 63:
        return np.lexsort((position, feature, headline))
    key = ((headline - first).astype(np.int64) * widths[1] + feature) * widths[2] + position
    return np.argsort(key)
