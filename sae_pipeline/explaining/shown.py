"""The headlines that a language model is shown of a feature: some to explain it, others to test the explanation."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from sae_pipeline.analysis.blocks import Block
from sae_pipeline.arrays import Floats, Ints
from sae_pipeline.headlines.text import in_testing_half
from sae_pipeline.headlines.tokens import TokenizedHeadline
from sae_pipeline.schema.common import PER_HEADLINE

T = TypeVar("T")
STRONGEST, WEAKER, SILENT = 8, 6, 6  # headlines that explain
LEAST = 3  # headlines of either kind that a test needs


@dataclass(frozen=True)
class Headline:
    """A headline, its word of each position, and where the feature fires, with the activations.

    There are activations and no positions where the feature fires on the headline as a whole.
    """

    number: int  # in the run, 0-based
    tokens: TokenizedHeadline
    positions: tuple[int, ...] = ()
    values: tuple[float, ...] = ()

    @property
    def plain(self) -> str:
        """The text on one line."""
        return " ".join(self.tokens.text.split())

    def marked(self, words: set[int]) -> str:
        """The text on one line, with «» around some of its words, given by number."""
        text, at = "", 0
        spans = [
            (s, e)
            for s, e, w in zip(self.tokens.starts, self.tokens.ends, self.tokens.words, strict=True)
            if w in words
        ]
        for start, end in _joined(spans, self.tokens.text):
            text += f"{self.tokens.text[at:start]}«{self.tokens.text[start:end]}»"
            at = end
        return " ".join((text + self.tokens.text[at:]).split())

    @property
    def fired_words(self) -> set[int]:
        """The numbers of the words on which the feature fires at least half as strongly as at its strongest."""
        most = max(self.values, default=0.0)
        return {self.tokens.words[p] for p, v in zip(self.positions, self.values, strict=False) if 2 * v >= most}

    @property
    def other_words(self) -> set[int]:
        """The numbers of all other words."""
        return set(self.tokens.words) - self.fired_words - {-1}


@dataclass(frozen=True)
class ShownHeadlines:
    """What a model is shown of one feature. The halves have no headline in common."""

    feature: int
    strongest: list[Headline]  # of the choosing half, strongest first; then some at random
    silent: list[Headline]  # of the choosing half
    positive: list[Headline]  # of the testing half, in which the feature fires
    negative: list[Headline]  # of the testing half, in which it does not


class FiringHeadlines:
    """Where some features fire, gathered block by block. `features` are sorted."""

    def __init__(self, features: Ints) -> None:
        self.features = features
        self.tokens: list[TokenizedHeadline] = []
        self.ids: list[str] = []
        self._fired: dict[int, list[tuple[int, Ints, Floats]]] = {feature: [] for feature in features.tolist()}

    def add(self, block: Block) -> None:
        """Take a block of headlines."""
        firings = block.firings
        wanted = firings.take(np.flatnonzero(np.isin(firings.group_feature, self.features)))
        length = wanted.group_length
        for start, n, feature, headline in zip(
            wanted.group_start.tolist(),
            length.tolist(),
            wanted.group_feature.tolist(),
            wanted.group_headline.tolist(),
            strict=True,
        ):
            part = slice(start, start + n)
            where = wanted.position[part]
            if block.positions in PER_HEADLINE:  # on none of its words
                where = where[:0]
            self._fired[feature].append((headline, where, wanted.value[part]))
        self.tokens += block.headlines
        self.ids += block.ids

    def shown(self, feature: int, above: float, n_tests: int, seed: int) -> ShownHeadlines:
        """Draw the headlines of a feature, which fires where its maximum is above `above`."""
        rng = np.random.default_rng([seed, feature])
        tests = in_testing_half(self.ids)
        fired = sorted(
            (one for one in self._fired[feature] if float(one[2].max()) > above), key=lambda one: -float(one[2].max())
        )
        firing = [self._headline(*one) for one in fired]
        quiet = np.ones(len(self.ids), bool)
        quiet[[headline for headline, *_ in self._fired[feature]]] = False
        choosing = [one for one in firing if not tests[one.number]]
        testing = [one for one in firing if tests[one.number]]
        rest = choosing[STRONGEST:]
        return ShownHeadlines(
            feature=feature,
            strongest=[*choosing[:STRONGEST], *_drawn(rest, WEAKER, rng)],
            silent=[self._headline(n) for n in _drawn(np.flatnonzero(quiet & ~tests).tolist(), SILENT, rng)],
            positive=_drawn(testing, n_tests // 2, rng),
            negative=[self._headline(n) for n in _drawn(np.flatnonzero(quiet & tests).tolist(), n_tests // 2, rng)],
        )

    def _headline(
        self, number: int, positions: Sequence[int] | Ints = (), values: Sequence[float] | Floats = ()
    ) -> Headline:
        where, strengths = tuple(int(p) for p in positions), tuple(float(v) for v in values)
        return Headline(number, self.tokens[number], where, strengths)


def _drawn(all_: Sequence[T], n: int, rng: np.random.Generator) -> list[T]:
    """Up to n of them at random, in the order of the draw."""
    return [all_[i] for i in rng.permutation(len(all_))[:n]]


def _joined(spans: Sequence[tuple[int, int]], text: str) -> list[tuple[int, int]]:
    """Spans in order; neighbours with nothing but white space between become one."""
    found: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if found and not text[found[-1][1] : start].strip():
            found[-1] = found[-1][0], max(end, found[-1][1])
        else:
            found.append((start, end))
    return found
