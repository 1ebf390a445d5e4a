"""Which feature fires where: lists of the active entries, since a dense [n_tokens, d_sae] would not fit in memory."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sae_pipeline.arrays import Floats, Ints, ragged


@dataclass(frozen=True)
class Firings:
    """The active entries of some headlines, in groups.

    A group holds the entries of one feature in one headline, by position. `collect` sorts the groups by headline, then
    feature; other orders are possible.
    """

    headline: Ints  # [n_entries] 0-based index in the run
    feature: Ints  # [n_entries]
    position: Ints  # [n_entries] 0-based index of the token in the model's input
    value: Floats  # [n_entries] activation f > 0
    group_start: Ints  # [n_groups] index of the group's first entry
    group_max: Floats  # [n_groups] largest activation in the group
    group_argmax: Ints  # [n_groups] index of the first entry that has it

    @property
    def group_headline(self) -> Ints:
        """The headline of each group [n_groups]."""
        return self.headline[self.group_start]

    @property
    def group_feature(self) -> Ints:
        """The feature of each group [n_groups]."""
        return self.feature[self.group_start]

    @property
    def group_length(self) -> Ints:
        """The number of entries in each group [n_groups]."""
        return np.diff(self.group_start, append=len(self.feature))

    @property
    def group_mean(self) -> Floats:
        """The mean activation [n_groups] of each group, float32."""
        if not len(self.group_start):
            return self.value[:0]
        return (np.add.reduceat(self.value, self.group_start) / self.group_length).astype(np.float32)

    @classmethod
    def collect(cls, headline: Ints, position: Ints, feature: Ints, value: Floats) -> "Firings":
        """Group entries [n_entries] in any order, at most one per (headline, position, feature)."""
        order = _sorting(headline, feature, position)
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
        """The groups of all parts, one part after the other."""
        none = np.zeros(0, np.int64)
        parts = [cls.collect(none, none, none, np.zeros(0, np.float32)), *parts]
        offset = np.cumsum([0, *(len(p.feature) for p in parts)])

        def joined(column: str, is_index: bool = False) -> NDArray[Any]:
            columns = (getattr(p, column) for p in parts)
            return np.concatenate([c + at if is_index else c for c, at in zip(columns, offset, strict=False)])

        return cls(
            joined("headline"),
            joined("feature"),
            joined("position"),
            joined("value"),
            joined("group_start", is_index=True),
            joined("group_max"),
            joined("group_argmax", is_index=True),
        )

    def take(self, groups: Ints) -> "Firings":
        """Some of the groups, given by their ascending indices."""
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


def _sorting(headline: Ints, feature: Ints, position: Ints) -> Ints:
    """Indices that sort entries by headline, feature, position.

    One combined key is sorted where it fits into 63 bits, which is six times as fast as sorting by three.
    """
    if not len(headline):
        return np.zeros(0, np.int64)
    first = int(headline.min())
    widths = [int(headline.max()) - first + 1, int(feature.max()) + 1, int(position.max()) + 1]
    if widths[0] * widths[1] * widths[2] >= 1 << 63:
        return np.lexsort((position, feature, headline))
    key = ((headline - first).astype(np.int64) * widths[1] + feature) * widths[2] + position
    return np.argsort(key)
