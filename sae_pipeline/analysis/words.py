"""The words on which each feature fires, counted over a run in bounded memory."""

from collections.abc import Sequence

import numpy as np

from sae_pipeline.arrays import Ints, ragged, rank_in_run, run_starts
from sae_pipeline.sae.firings import Firings
from sae_pipeline.schema.dicts import FiredWordDict

_WORD_BITS = 20  # only the first 2²⁰ different words are counted
_MAX_PAIRS = 1 << 23  # (feature, word) pairs in memory; beyond, each feature's rarest words are dropped
_KEPT_WORDS = 128  # words that a feature keeps then


class WordCounts:
    """How often each word occurs, and how often each feature fires on it. Words are case-folded; counts merge by `+`.

    The counts are exact up to 2²³ different pairs of feature and word (tens of thousands of headlines). Beyond, the
    rarest words of each feature are dropped, so that the count of a rare word may be too low.
    """

    def __init__(self, d_sae: int) -> None:
        self._ids: dict[str, int] = {}
        self._totals = np.zeros(1024, np.int64)
        self._fired = np.zeros(d_sae, np.int64)  # words on which the feature fires
        self._n_words = 0
        self._pairs = np.zeros(0, np.int64)  # feature << _WORD_BITS | word, ascending
        self._counts = np.zeros(0, np.int64)
        self._pending: list[tuple[Ints, Ints]] = []
        self._n_pending = 0

    def add(
        self, firings: Firings, first: int, word_numbers: Sequence[Sequence[int]], words: Sequence[Sequence[str]]
    ) -> None:
        """Count headlines first, first + 1, …; each position has a word's number (0-based, -1: none) and its text."""
        lengths = np.array([len(p) for p in word_numbers], np.int64)
        starts = np.cumsum(lengths) - lengths
        number = np.fromiter((w for p in word_numbers for w in p), np.int64, int(lengths.sum()))
        ids = np.fromiter((self._id(w) for row in words for w in row), np.int64, int(lengths.sum()))
        begins = np.diff(np.repeat(np.arange(len(word_numbers)), lengths) << 32 | (number + 1), prepend=-1) != 0
        counted = ids[begins & (number >= 0)]
        self._count_words(counted, np.ones(len(counted), np.int64))
        token = starts[firings.headline - first] + firings.position
        word = number[token]
        new = np.ones(len(token), bool)  # a word counts once, however many of its tokens fire
        new[1:] = (np.diff(word) != 0) | (np.diff(firings.feature) != 0) | (np.diff(firings.headline) != 0)
        new &= word >= 0
        feature, word_id = firings.feature[new], ids[token[new]]
        self._fired += np.bincount(feature, minlength=len(self._fired))
        keys = np.sort((feature << _WORD_BITS | word_id)[word_id >= 0])
        begin = run_starts(keys)
        self._put(keys[begin], np.diff(begin, append=len(keys)))

    def __add__(self, other: "WordCounts") -> "WordCounts":
        """Counts over the headlines of both."""
        total = WordCounts(len(self._fired))
        for part in (self, other):
            part._compact()
            words = list(part._ids)
            ids = np.array([total._id(word) for word in words] or [-1], np.int64)
            total._count_words(ids, part._totals[: len(ids)])
            total._n_words += part._n_words - int(part._totals.sum())  # occurrences of words beyond the first 2²⁰
            pairs = (part._pairs >> _WORD_BITS) << _WORD_BITS | ids[part._pairs & ((1 << _WORD_BITS) - 1)]
            total._put(pairs, part._counts)
            total._fired += part._fired
        return total

    def typical(self, features: Ints, limit: int) -> list[list[FiredWordDict]]:
        """Up to `limit` words for each feature on which it fires more often than on an average word.

        They are ranked by count · log(lift), the word's part in how far the feature's words are from all words.
        """
        self._compact()
        names = list(self._ids)
        ends = np.searchsorted(self._pairs, np.stack([features, features + 1]) << _WORD_BITS)
        found = ragged(ends[0], ends[1] - ends[0])
        owner = np.repeat(np.arange(len(features)), ends[1] - ends[0])
        word, count = self._pairs[found] & ((1 << _WORD_BITS) - 1), self._counts[found]
        total = self._totals[word]
        lift = count / total / (self._fired[features[owner]] / max(self._n_words, 1))
        score = count * np.log(lift)
        order = np.lexsort((word, -score, owner))
        order = order[(rank_in_run(owner[order]) < limit) & (lift[order] > 1)]
        result: list[list[FiredWordDict]] = [[] for _ in range(len(features))]
        for f, w, n, m, ratio in zip(*(c[order].tolist() for c in (owner, word, count, total, lift)), strict=True):
            result[f].append({"word": names[w], "count": n, "total": m, "lift": float(f"{ratio:.6g}")})
        return result

    def _id(self, word: str) -> int:
        """The word's index, given to it now if it is new; -1 beyond the first 2²⁰ words."""
        word = word.casefold()
        found = self._ids.get(word)
        if found is None:
            if len(self._ids) >= 1 << _WORD_BITS:
                return -1
            found = self._ids[word] = len(self._ids)
        return found

    def _count_words(self, ids: Ints, counts: Ints) -> None:
        if len(self._totals) < len(self._ids):
            self._totals = np.concatenate([self._totals, np.zeros(2 * len(self._ids), np.int64)])
        known = ids >= 0
        np.add.at(self._totals, ids[known], counts[known])
        self._n_words += int(counts.sum())

    def _put(self, pairs: Ints, counts: Ints) -> None:
        self._pending.append((pairs, counts))
        self._n_pending += len(pairs)
        if self._n_pending > _MAX_PAIRS // 2:
            self._compact()

    def _compact(self) -> None:
        if not self._pending:
            return
        parts = [(self._pairs, self._counts), *self._pending]
        pairs = np.concatenate([p for p, _ in parts])
        counts = np.concatenate([c for _, c in parts])
        order = np.argsort(pairs, kind="stable")
        pairs, counts = pairs[order], counts[order]
        start = run_starts(pairs)
        self._pairs = pairs[start]
        self._counts = np.add.reduceat(counts, start) if len(start) else counts
        self._pending, self._n_pending = [], 0
        if len(self._pairs) > _MAX_PAIRS:
            owner = self._pairs >> _WORD_BITS
            order = np.lexsort((self._pairs, -self._counts, owner))
            kept = np.sort(order[rank_in_run(owner[order]) < _KEPT_WORDS])
            self._pairs, self._counts = self._pairs[kept], self._counts[kept]


def word_texts(text: str, starts: Sequence[int], ends: Sequence[int], words: Sequence[int]) -> list[str]:
    """The whole word, as written, that each token belongs to; "" for special tokens.

    `starts`, `ends` and `words` are those of a `TokenizedHeadline`.
    """
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    for start, end, word in zip(starts, ends, words, strict=True):
        first.setdefault(word, start)
        last[word] = end
    return ["" if word < 0 else text[first[word] : last[word]] for word in words]
