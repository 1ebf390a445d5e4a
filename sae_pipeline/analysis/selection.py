"""Which headlines stand for a feature: those where it is strongest, and a random sample of those where it fires.

A selection is bounded: k headlines per feature. It does not depend on the order or the blocks in which headlines come.
Selections merge, because the k best by (score, earlier headline) of two parts are among the k best of each.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from sae_pipeline.arrays import Ints, rank_in_run, run_starts
from sae_pipeline.sae.firings import Firings


class Selection:
    """The k headlines with the highest score for each feature. Of equal scores the earlier headline is kept."""

    def __init__(self, d_sae: int, k: int) -> None:
        """Make an empty selection that keeps k headlines for each of d_sae features."""
        self.k = k
        self.threshold = np.zeros(d_sae, np.uint32)  # the k-th best score; lower ones are dropped
        self.limit = max(1 << 20, d_sae * k)  # entries; twice as many are pruned
        self.pending: list[tuple[Firings, Ints]] = []
        self.n_pending = 0

    def add(self, firings: Firings, score: Ints) -> None:
        """Offer groups with their scores, uint32 [n_groups]. Each headline is offered once."""
        wanted = np.flatnonzero(score >= self.threshold[firings.group_feature])
        self.pending.append((firings.take(wanted), score[wanted]))
        self.n_pending += len(self.pending[-1][0].feature)
        if self.n_pending > 2 * self.limit:
            self._prune()

    def __add__(self, other: "Selection") -> "Selection":
        """The selection from the headlines of both."""
        total = Selection(len(self.threshold), self.k)
        total.pending = [*self.pending, *other.pending]
        total.n_pending = self.n_pending + other.n_pending
        total._prune()
        return total

    def _prune(self) -> tuple[Firings, Ints]:
        """Drop all but the k best of each feature. Returns their entries, and the score of each group."""
        firings = Firings.chain(firings for firings, _ in self.pending)
        score = np.concatenate([np.zeros(0, np.uint32), *(score for _, score in self.pending)])
        order = _order(firings.group_feature, score, firings.group_headline)
        feature = firings.group_feature[order]
        rank = rank_in_run(feature)
        self.threshold[feature[rank == self.k - 1]] = score[order[rank == self.k - 1]]
        kept = np.sort(order[rank < self.k])
        self.pending = [(firings.take(kept), score[kept])]
        self.n_pending = len(self.pending[0][0].feature)
        self.limit = max(self.limit, self.n_pending)
        return self.pending[0]

    def finish(self, features: Ints) -> tuple[Firings, dict[int, list[int]]]:
        """The kept entries of `features`, and by feature the indices of its groups, highest score first."""
        kept, score = self._prune()
        wanted = np.flatnonzero(np.isin(kept.group_feature, features))
        kept = kept.take(wanted)
        order = _order(kept.group_feature, score[wanted], kept.group_headline)
        feature, groups = kept.group_feature[order], order.tolist()
        starts = run_starts(feature)
        bounds = pairwise([*starts.tolist(), len(groups)])
        return kept, {f: groups[start:end] for f, (start, end) in zip(feature[starts].tolist(), bounds, strict=True)}


def _order(feature: Ints, score: Ints, headline: Ints) -> Ints:
    """The permutation that sorts by feature, falling score and headline, [n_groups].

    Feature and score make one key of 64 bits, which sorts several times faster than three keys; ties are sorted after.
    """
    key = (feature.astype(np.uint64) << np.uint64(32)) | ~score
    order = np.argsort(key)
    key = key[order]
    equal = np.flatnonzero(key[1:] == key[:-1])
    tied = np.union1d(equal, equal + 1)
    order[tied] = order[tied][np.lexsort((headline[order[tied]], key[tied]))]
    return np.asarray(order)


def strength_scores(firings: Firings) -> Ints:
    """Scores that rank groups by their largest activation, uint32 [n_groups].

    They are the bits of the float32, which for positive numbers have the same order as the numbers.
    """
    return firings.group_max.astype(np.float32).view(np.uint32)


def sampling_scores(firings: Firings, first: int, headline_ids: Sequence[str]) -> Ints:
    """Scores that rank groups at random, uint32 [n_groups], for a sample that is the same in every run.

    A score is a hash of headline and feature. `headline_ids` are those of headlines first, first + 1, ….
    """
    names = np.array([int(i, 16) for i in headline_ids], np.uint64)
    z = names[firings.group_headline - first] + firings.group_feature.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):  # splitmix64 (Steele et al. 2014)
        z = (z ^ (z >> np.uint64(shift))) * np.uint64(factor)
    return np.asarray(((z ^ (z >> np.uint64(31))) >> np.uint64(32)).astype(np.uint32))
