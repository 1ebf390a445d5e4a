"""The example headlines of each feature: the strongest ones, and a random sample in quantiles of strength."""

import mmap
from collections.abc import Iterator
from functools import cache, lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import orjson

from sae_pipeline.analysis.feature_stats import FeatureStats
from sae_pipeline.analysis.selection import Selection
from sae_pipeline.analysis.words import WordCounts, word_texts
from sae_pipeline.arrays import Ints
from sae_pipeline.runs.compact_json import six_digits
from sae_pipeline.schema.dicts import ExampleDict, ExampleGroupDict, FeatureExamplesDict
from sae_pipeline.schema.run import GroupKind

SAMPLE = 24  # headlines of the random sample; _RANDOM are shown as they are, the others in _QUANTILES of strength
_RANDOM, _QUANTILES, _PER_QUANTILE = 4, 4, 3
_WORDS = 10  # words of each feature
_FEATURES_AT_ONCE = 1024


class PromptLines:
    """The lines of a written `prompts.jsonl`, by number. The file is mapped, so it does not have to fit into memory.

    It is unmapped at the end of the `with` block, because Windows does not rename a folder with a mapped file in it.
    """

    def __init__(self, path: Path, whole: bool = False) -> None:
        """Map the file at `path`. With `whole`, features fire on headlines as a whole, not on their tokens."""
        self.whole = whole
        with path.open("rb") as file:
            self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        ends = [np.zeros(1, np.int64)]
        for start in range(0, len(self._data), 1 << 24):
            piece = np.frombuffer(self._data[start : start + (1 << 24)], np.uint8)
            ends.append(np.flatnonzero(piece == ord("\n")) + start + 1)
        self._starts = np.concatenate(ends)
        self.tokens_and_words = lru_cache(1 << 12)(self._tokens_and_words)

    def __enter__(self) -> "PromptLines":
        return self

    def __exit__(self, *problem: object) -> None:
        self._data.close()

    def _tokens_and_words(self, line: int) -> tuple[list[str], list[str]]:
        prompt = orjson.loads(self._data[self._starts[line] : self._starts[line + 1]])
        return prompt["tokens"], word_texts(*(prompt[key] for key in ("text", "starts", "ends", "words")))


def example_records(
    features: Ints,
    strongest: Selection,
    sample: Selection,
    stats: FeatureStats,
    words: WordCounts,
    prompts: PromptLines,
) -> Iterator[bytes]:
    """The JSON of a `FeatureExamplesDict` for each of `features`, which ascend and all fire."""
    top = _SelectedExamples(strongest, features, prompts)
    sampled = _SelectedExamples(sample, features, prompts)
    for start in range(0, len(features), _FEATURES_AT_ONCE):
        some = features[start : start + _FEATURES_AT_ONCE]
        for feature, typical in zip(some.tolist(), words.typical(some, _WORDS), strict=True):
            examples = top.examples(top.groups[feature])
            n = int(stats.headline_counts[feature])
            record: FeatureExamplesDict = {
                "feature": feature,
                "word": examples[0]["word"],
                "histogram": stats.histogram[feature],
                "examples": examples,
                "groups": [] if n <= len(examples) else sampled.example_groups(feature, n),
                "words": typical,
            }
            yield orjson.dumps(record, option=orjson.OPT_SERIALIZE_NUMPY)


class _SelectedExamples:
    """A finished selection as plain lists, which Python reads several times faster than arrays."""

    def __init__(self, selection: Selection, features: Ints, prompts: PromptLines) -> None:
        firings, self.groups = selection.finish(features)
        self._prompts = prompts
        self._strength = firings.group_max.tolist()
        self._value, self._position = six_digits(firings.value).tolist(), firings.position.tolist()
        starts = firings.group_start.tolist()
        self._span = list(pairwise([*starts, len(self._value)]))
        self._peak, self._headline = firings.group_argmax.tolist(), firings.group_headline.tolist()

    def examples(self, groups: list[int]) -> list[ExampleDict]:
        """The records of some groups, in their order."""
        result: list[ExampleDict] = []
        for group in groups:
            headline, peak, (start, end) = self._headline[group], self._peak[group], self._span[group]
            tokens, words = self._prompts.tokens_and_words(headline)
            position, whole = self._position[peak], self._prompts.whole
            result.append(
                {
                    "activation": self._value[peak],
                    "position": position,
                    "token": "" if whole else tokens[position],
                    "word": "" if whole else words[position] or tokens[position],
                    "positions": [] if whole else self._position[start:end],
                    "values": [] if whole else self._value[start:end],
                    "headline": headline,
                }
            )
        return result

    def example_groups(self, feature: int, n_headlines: int) -> list[ExampleGroupDict]:
        """The sample of a feature in groups: quantiles by strength, weakest first, then some headlines at random.

        `n_headlines` is the number of headlines on which the feature fires.
        """
        drawn = self.groups[feature]  # in random order
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
    """The bounds (start, end) of the quantiles of n sorted headlines: as even as can be, none empty."""
    sizes = [len(part) for part in np.array_split(np.arange(n), _QUANTILES) if len(part)]
    return list(pairwise([0, *np.cumsum(sizes).tolist()]))


@cache
def _spread(n: int, k: int) -> list[int]:
    """Up to k of the indices 0 … n − 1, evenly spread."""
    indices: list[int] = np.unique(np.linspace(0, n - 1, min(n, k)).round().astype(np.int64)).tolist()
    return indices
