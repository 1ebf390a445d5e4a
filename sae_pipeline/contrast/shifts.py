"""How features differ between the two versions of a text, in one pair and over all pairs of a kind.

What a feature's change does to a class's centred logit c is estimated from the gradients in both versions (attribution
patching; Syed et al. 2023, "Attribution patching outperforms automated circuit discovery"):

    effect = (F_after − F_before) · mean of e/F over the versions in which it fires,   F = Σ f and e = Σ f·∂c/∂f

The sums are over the tokens of the text. So a feature that fires alike in both versions has no effect, however much
the rest of the classifier has changed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from sae_pipeline.arrays import Flags, Floats, Ints
from sae_pipeline.causal.attribution import attribute
from sae_pipeline.causal.probe import Probe, Reading
from sae_pipeline.classifier.classifier import Classifier
from sae_pipeline.contrast.pairs import Pair
from sae_pipeline.intervals import Z
from sae_pipeline.schema.common import MIN_HEADLINES, PositionKind
from sae_pipeline.schema.contrast import FeatureShift, MovedFeature

_BLOCK = 256  # texts in memory at a time
_ROUNDING = 1e-3  # share of an activation below which two versions count as equal


@dataclass(frozen=True)
class Texts:
    """Some texts that were read, with the estimated effects (gradient × activation) of their features."""

    row: dict[str, int]
    reading: Reading
    totals: Floats  # [n_groups] activations of a feature, summed over the tokens of a text
    effects: Floats  # [n_groups, n_classes]
    positions: PositionKind  # of the SAE

    @classmethod
    def read(cls, probe: Probe, classifier: Classifier, texts: Sequence[str]) -> "Texts":
        """Read texts, each once."""
        rows = {text: n for n, text in enumerate(dict.fromkeys(texts))}
        reading = probe.read(classifier.tokenize(list(rows)), logits=False)
        attribution = attribute(probe, reading, steps=0)
        known = Reading(
            reading.tokenized, reading.hidden, reading.input_ids, reading.starts, reading.firings, attribution.logits
        )
        values, starts = reading.firings.value.astype(np.float64), reading.firings.group_start
        totals = np.add.reduceat(values, starts) if len(starts) else values
        effects = attribution.by_feature(reading.firings, "gradient")
        return cls(rows, known, totals, effects, probe.sae.config.positions)

    def groups(self, text: str) -> slice:
        """The groups (features) of a text."""
        starts, row = self.reading.group_starts, self.row[text]
        return slice(int(starts[row]), int(starts[row + 1]))

    def word(self, group: int) -> str:
        """The word on which a group's feature fires most; "" where it fires on the text as a whole."""
        firings = self.reading.firings
        headline = self.reading.tokenized[int(firings.group_headline[group])]
        return headline.fired_on(int(firings.position[firings.group_argmax[group]]), self.positions)[1]

    def shift(self, pair: Pair) -> "Shift":
        """How the features of a pair differ between its versions."""
        return Shift.between(self, self.groups(pair.before), self.groups(pair.after))


def blocks(pairs: Sequence[Pair]) -> Iterator[list[Pair]]:
    """The pairs, in order, in blocks of few different texts: pairs of one text stand together."""
    block: list[Pair] = []
    texts: set[str] = set()
    for pair in pairs:
        if block and len(texts | {pair.before, pair.after}) > _BLOCK:
            yield block
            block, texts = [], set()
        block.append(pair)
        texts |= {pair.before, pair.after}
    if block:
        yield block


@dataclass(frozen=True)
class Shift:
    """The features that fire in either version of a text; all lists are [n_features]."""

    feature: Ints
    before: Floats  # maximum over the text
    after: Floats
    growth: Floats  # F_after − F_before
    effects: Floats  # [n_features, n_classes]
    group: Ints  # where it fires more: a group of the reading

    @classmethod
    def between(cls, texts: Texts, before: slice, after: slice) -> "Shift":
        """Compare the groups of two texts."""
        firings = texts.reading.firings
        ids = [firings.group_feature[part] for part in (before, after)]
        feature = np.union1d(*ids)
        maxima, totals = np.zeros((2, 2, len(feature)))
        slopes = np.zeros((2, len(feature), texts.effects.shape[1]))
        groups = np.zeros((2, len(feature)), np.int64)
        for version, part in enumerate((before, after)):
            place = np.searchsorted(feature, ids[version])
            maxima[version, place] = firings.group_max[part]
            totals[version, place] = texts.totals[part]
            slopes[version, place] = texts.effects[part] / texts.totals[part][:, None]
            groups[version, place] = np.arange(part.start, part.stop)
        growth = totals[1] - totals[0]
        slope = slopes.sum(0) / np.maximum((totals > 0).sum(0), 1)[:, None]
        more = (growth > 0).astype(int)
        group = groups[more, np.arange(len(feature))]
        return cls(feature, maxima[0], maxima[1], growth, growth[:, None] * slope, group)

    @property
    def moved(self) -> Flags:
        """Whether each activation differs by more than rounding."""
        differs: Flags = np.abs(self.growth) > _ROUNDING * np.maximum(self.after, self.before)
        return differs

    @property
    def size(self) -> Floats:
        """The largest |effect| on a class."""
        return np.abs(self.effects).max(1) if len(self.feature) else np.zeros(0)

    def leading(self, texts: Texts, n: int) -> list[FeatureShift]:
        """The n features with the largest effects."""
        order = np.argsort(-self.size, kind="stable")[:n]
        return [
            FeatureShift(
                feature=int(self.feature[i]),
                word=texts.word(int(self.group[i])),
                before=float(self.before[i]),
                after=float(self.after[i]),
                effects=self.effects[i].tolist(),
            )
            for i in order
            if self.moved[i]
        ]


@dataclass
class FeatureSums:
    """What a kind of change does to every feature, added up over its pairs."""

    d_sae: int
    n_classes: int
    n_pairs: int = 0
    moved: Ints = field(init=False)
    switched: Ints = field(init=False)
    size: Floats = field(init=False)
    effects: Floats = field(init=False)  # [d_sae, n_classes], where a feature fires more − where it fires less
    squares: Floats = field(init=False)

    def __post_init__(self) -> None:
        self.moved, self.switched = np.zeros((2, self.d_sae), np.int64)
        self.size = np.zeros(self.d_sae)
        self.effects, self.squares = np.zeros((2, self.d_sae, self.n_classes))

    def add(self, shift: Shift) -> None:
        """Add a pair."""
        self.n_pairs += 1
        moved = shift.moved
        feature, before, after = shift.feature[moved], shift.before[moved], shift.after[moved]
        more = np.sign(shift.growth[moved])[:, None] * shift.effects[moved]
        self.moved[feature] += 1
        self.switched[feature] += (before == 0) | (after == 0)
        self.size[feature] += shift.size[moved]
        self.effects[feature] += more
        self.squares[feature] += more**2

    def leading(self, n: int) -> list[int]:
        """The n features with the largest effects, over all pairs."""
        order = np.argsort(-self.size, kind="stable")[:n]
        return [int(feature) for feature in order if self.size[feature] > 0]

    def record(self, feature: int, word: str, n_explained: int) -> MovedFeature:
        """What is kept of a feature."""
        n = int(self.moved[feature])
        mean = self.effects[feature] / n
        low = high = None
        if n >= MIN_HEADLINES:
            variance = np.maximum(self.squares[feature] / n - mean**2, 0) * n / (n - 1)
            half = Z * np.sqrt(variance / n)
            low, high = (mean - half).tolist(), (mean + half).tolist()
        return MovedFeature(
            feature=feature,
            word=word,
            n_moved=n,
            n_switched=int(self.switched[feature]),
            shift=float(self.size[feature] / self.n_pairs),
            effects=mean.tolist(),
            low=low,
            high=high,
            n_explained=n_explained,
        )
