"""Which headlines stand for a feature, and their records: the strongest, and a fair sample of all on which it fires.

Selections are bounded (k headlines per feature), do not depend on the order or the blocks in which headlines come,
and merge: the k best by (score, earlier headline) of two parts are among the k best of each.
"""

import mmap
from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import orjson

from sae_pipeline.analysis.feature_stats import FeatureStats
from sae_pipeline.analysis.words import WordCounts, word_texts
from sae_pipeline.arrays import Ints, rank_in_run, run_starts
from sae_pipeline.runs.compact_json import six_digits
from sae_pipeline.sae.firings import Firings
from sae_pipeline.schema.dicts import ExampleDict, ExampleGroupDict, FeatureExamplesDict
from sae_pipeline.schema.run import GroupKind

SAMPLE = 24  # headlines of the fair sample: RANDOM of them shown as they are, the rest cut into QUANTILES
_RANDOM, _QUANTILES, _PER_QUANTILE = 4, 4, 3
_WORDS = 10
_FEATURES_AT_ONCE = 1024


class Selection:
    """The k headlines of the highest score for each feature, ties to the earlier headline."""

    def __init__(self, d_sae: int, k: int) -> None:
        """Keep k headlines for each of d_sae features."""
        self.k = k
        self.threshold = np.zeros(d_sae, np.uint32)  # a lower score is not among the k best
        self.limit = max(1 << 20, d_sae * k)
        self.pending: list[tuple[Firings, Ints]] = []
        self.n_pending = 0

    def add(self, firings: Firings, score: Ints) -> None:
        """Offer groups with their scores [n_groups] uint32; a headline's groups come once."""
        wanted = np.flatnonzero(score >= self.threshold[firings.group_feature])
        self.pending.append((firings.take(wanted), score[wanted]))
        self.n_pending += len(self.pending[-1][0].feature)
        if self.n_pending > 2 * self.limit:
            self._compact()

    def __add__(self, other: "Selection") -> "Selection":
        """The best of both."""
        total = Selection(len(self.threshold), self.k)
        total.pending = [*self.pending, *other.pending]
        total.n_pending = self.n_pending + other.n_pending
        total._compact()
        return total

    def _compact(self) -> tuple[Firings, Ints]:
        """Keep only the best: their entries and scores."""
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
        """The kept entries of some features, and for each of these its groups among them, highest score first."""
        kept, score = self._compact()
        wanted = np.flatnonzero(np.isin(kept.group_feature, features))
        kept = kept.take(wanted)
        order = _order(kept.group_feature, score[wanted], kept.group_headline)
        feature, groups = kept.group_feature[order], order.tolist()
        starts = run_starts(feature)
        bounds = pairwise([*starts.tolist(), len(groups)])
        return kept, {f: groups[start:end] for f, (start, end) in zip(feature[starts].tolist(), bounds, strict=True)}


def _order(feature: Ints, score: Ints, headline: Ints) -> Ints:
    """What sorts by feature, falling score, headline: by one key of 64 bits, several times faster than by three."""
    key = (feature.astype(np.uint64) << np.uint64(32)) | ~score
    order = np.argsort(key)
    key = key[order]
    equal = np.flatnonzero(key[1:] == key[:-1])
    tied = np.union1d(equal, equal + 1)
    order[tied] = order[tied][np.lexsort((headline[order[tied]], key[tied]))]
    return np.asarray(order)


def strengths(firings: Firings) -> Ints:
    """A score for each group that ranks by its largest activation: the bits of a positive float32 rank as it does."""
    return firings.group_max.astype(np.float32).view(np.uint32)


def lots(firings: Firings, first: int, headline_ids: Sequence[str]) -> Ints:
    """A score for each group, drawn from uint32 by the hash of headline and feature: the same in every run."""
    names = np.array([int(i, 16) for i in headline_ids], np.uint64)
    z = names[firings.group_headline - first] + firings.group_feature.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):  # splitmix64 (Steele et al. 2014)
        z = (z ^ (z >> np.uint64(shift))) * np.uint64(factor)
    return np.asarray(((z ^ (z >> np.uint64(31))) >> np.uint64(32)).astype(np.uint32))


# --- records -----------------------------------------------------------------------------------------------------


class PromptLines:
    """The lines of a written `prompts.jsonl`, by number: memory does not grow with the file."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        ends = [np.zeros(1, np.int64)]
        for start in range(0, len(self._data), 1 << 24):
            piece = np.frombuffer(self._data[start : start + (1 << 24)], np.uint8)
            ends.append(np.flatnonzero(piece == ord("\n")) + start + 1)
        self._starts = np.concatenate(ends)
        self.tokens_and_words = lru_cache(1 << 12)(self._tokens_and_words)

    def _tokens_and_words(self, line: int) -> tuple[list[str], list[str]]:
        prompt = orjson.loads(self._data[self._starts[line] : self._starts[line + 1]])
        return prompt["tokens"], word_texts(*(prompt[key] for key in ("text", "starts", "ends", "words")))


def example_records(
    features: Ints, top: Selection, sample: Selection, stats: FeatureStats, words: WordCounts, prompts: PromptLines
) -> Iterator[bytes]:
    """The JSON of a `FeatureExamplesDict` for each of `features`, which ascend and all fire."""
    strongest, sampled = Chosen(top, features, prompts), Chosen(sample, features, prompts)
    for start in range(0, len(features), _FEATURES_AT_ONCE):
        some = features[start : start + _FEATURES_AT_ONCE]
        for feature, telling in zip(some.tolist(), words.telling(some, _WORDS), strict=True):
            examples = strongest.examples(strongest.groups[feature])
            n = int(stats.headline_counts[feature])
            record: FeatureExamplesDict = {
                "feature": feature,
                "word": examples[0]["word"],
                "histogram": stats.histogram[feature],
                "examples": examples,
                "groups": [] if n <= len(examples) else sampled.example_groups(feature, n),
                "words": telling,
            }
            yield orjson.dumps(record, option=orjson.OPT_SERIALIZE_NUMPY)


class Chosen:
    """A finished selection, as plain lists, which Python reads several times faster than arrays."""

    def __init__(self, selection: Selection, features: Ints, prompts: PromptLines) -> None:
        firings, self.groups = selection.finish(features)
        self._prompts = prompts
        self._strength = firings.group_max.tolist()
        self._value, self._position = six_digits(firings.value).tolist(), firings.position.tolist()
        starts = firings.group_start.tolist()
        self._span = list(pairwise([*starts, len(self._value)]))
        self._peak, self._headline = firings.group_argmax.tolist(), firings.group_headline.tolist()

    def examples(self, groups: list[int]) -> list[ExampleDict]:
        """The records of some groups."""
        result: list[ExampleDict] = []
        for group in groups:
            headline, peak, (start, end) = self._headline[group], self._peak[group], self._span[group]
            tokens, words = self._prompts.tokens_and_words(headline)
            position = self._position[peak]
            result.append(
                {
                    "activation": self._value[peak],
                    "position": position,
                    "token": tokens[position],
                    "word": words[position] or tokens[position],
                    "positions": self._position[start:end],
                    "values": self._value[start:end],
                    "headline": headline,
                }
            )
        return result

    def example_groups(self, feature: int, n_headlines: int) -> list[ExampleGroupDict]:
        """The fair sample in groups: quantiles, weakest first, then some at random."""
        drawn = self.groups[feature]  # in the order of the draw
        shown, rest = drawn[:_RANDOM], drawn[_RANDOM:]
        by_strength = sorted(rest, key=self._strength.__getitem__)
        result = []
        for start, end in _cuts(len(rest)):
            part = by_strength[start:end]
            estimate = round(n_headlines * len(part) / len(rest))
            chosen = [part[i] for i in _spread(len(part), _PER_QUANTILE)]
            result.append(self._group("quantile", part, chosen, estimate))
        result.append(self._group("random", drawn, shown, n_headlines))
        return result

    def _group(self, kind: GroupKind, within: list[int], shown: list[int], n_headlines: int) -> ExampleGroupDict:
        peaks = [self._value[self._peak[group]] for group in within]
        return {
            "kind": kind,
            "low": min(peaks),
            "high": max(peaks),
            "n_headlines": n_headlines,
            "examples": self.examples(sorted(shown, key=self._strength.__getitem__, reverse=True)),
        }


@cache
def _cuts(n: int) -> list[tuple[int, int]]:
    """Where n sorted headlines are cut into quantiles, as even as can be; none is empty."""
    sizes = [len(part) for part in np.array_split(np.arange(n), _QUANTILES) if len(part)]
    return list(pairwise([0, *np.cumsum(sizes).tolist()]))


@cache
def _spread(n: int, k: int) -> list[int]:
    """Up to k of n places, evenly spread."""
    places: list[int] = np.unique(np.linspace(0, n - 1, min(n, k)).round().astype(np.int64)).tolist()
    return places
