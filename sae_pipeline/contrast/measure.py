"""What kinds of change do to predictions and features."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from tqdm.auto import tqdm

from sae_pipeline.arrays import Floats
from sae_pipeline.causal.probe import Probe
from sae_pipeline.classifier.classifier import Classifier
from sae_pipeline.classifier.logits import softmax
from sae_pipeline.config import ContrastConfig
from sae_pipeline.contrast.explain import SIZES, explain
from sae_pipeline.contrast.kinds import KINDS, spans_of_change
from sae_pipeline.contrast.pairs import Pair
from sae_pipeline.contrast.shifts import FeatureSums, Texts, blocks
from sae_pipeline.intervals import share_interval
from sae_pipeline.schema.contrast import (
    ContrastPair,
    Expectation,
    ExplainedPairs,
    FeatureShift,
    KindOfChange,
    PairSource,
    ShareOfPairs,
)

_PER_PAIR = 3  # features kept of a pair
_MOST_TESTED = 200  # pairs of a kind in which features are ablated
_FOR_WORDS = 30  # pairs that are read again at least, for the words of features
_OWN = "pairs from a table of your own"
_Key = tuple[str, PairSource, Expectation]


@dataclass(frozen=True)
class Compared:
    """A pair with what the classifier says of its versions."""

    pair: Pair
    probabilities: Floats  # [2, n_classes] before, after
    features: list[FeatureShift]

    @property
    def predictions(self) -> tuple[int, int]:
        """The predicted classes before and after."""
        before, after = self.probabilities.argmax(1).tolist()
        return before, after

    @property
    def changed(self) -> bool:
        """Whether the predicted class changes."""
        return len(set(self.predictions)) > 1

    @property
    def as_expected(self) -> bool:
        """Whether the prediction does what the pair's expectation says."""
        target = self.pair.target
        if target is None:
            return not self.changed
        before, after = self.probabilities[:, target]
        is_target = self.predictions[1] == target
        return (
            bool(is_target or after > before)
            if self.pair.expectation == "toward"
            else bool(not is_target or after < before)
        )

    def record(self) -> ContrastPair:
        """What is kept of the pair."""
        pair = self.pair
        removed, added = spans_of_change(pair.before, pair.after)
        return ContrastPair(
            headline=pair.headline,
            before=pair.before,
            after=pair.after,
            before_spans=removed,
            after_spans=added,
            target=pair.target,
            predictions=self.predictions,
            probabilities=(self.probabilities[0].tolist(), self.probabilities[1].tolist()),
            as_expected=self.as_expected,
            features=self.features,
        )


@dataclass
class _Found:
    sums: FeatureSums
    compared: list[Compared] = field(default_factory=list)


def measure(probe: Probe, classifier: Classifier, pairs: Sequence[Pair], config: ContrastConfig) -> list[KindOfChange]:
    """Compare the versions of all pairs. Returns a record per kind, source and expectation, in the order of KINDS."""
    d_sae, n_classes = probe.sae.config.d_sae, probe.tail.n_classes
    found: dict[_Key, _Found] = defaultdict(lambda: _Found(FeatureSums(d_sae, n_classes)))
    with tqdm(total=len(pairs), desc="contrast", unit="pair") as bar:
        for block in blocks(pairs):
            texts = Texts.read(probe, classifier, [text for pair in block for text in (pair.before, pair.after)])
            probabilities = softmax(texts.reading.logits)
            for pair in block:
                shift = texts.shift(pair)
                versions = probabilities[[texts.row[pair.before], texts.row[pair.after]]]
                of_kind = found[pair.kind, pair.source, pair.expectation]
                of_kind.sums.add(shift)
                of_kind.compared.append(Compared(pair, versions, shift.leading(texts, _PER_PAIR)))
            bar.update(len(block))
    order = {kind.name: n for n, kind in enumerate(KINDS)}
    keys = sorted(found, key=lambda key: (key[1] == "table", order.get(key[0], len(order))))
    return [_record(probe, classifier, key, found[key], config) for key in keys]


def _record(probe: Probe, classifier: Classifier, key: _Key, found: _Found, config: ContrastConfig) -> KindOfChange:
    (name, source, expectation), compared, sums = key, found.compared, found.sums
    kind = next((kind for kind in KINDS if kind.name == name and source != "table"), None)
    changed = [one for one in compared if one.changed]
    features = sums.leading(max(SIZES))
    tested = changed[:_MOST_TESTED]
    others = [one.pair for one in compared if not one.changed][: max(_FOR_WORDS - len(tested), 0)]
    explained = explain(probe, classifier, [one.pair for one in tested], others, features, config.features)
    before, after = np.array([one.predictions for one in compared]).T
    n_classes = probe.tail.n_classes
    counts = np.bincount(before * n_classes + after, minlength=n_classes**2)
    shifts = np.stack([one.probabilities[1] - one.probabilities[0] for one in compared])
    return KindOfChange(
        kind=name,
        label=kind.label if kind else name,
        description=kind.description if kind else _OWN,
        source=source,
        expectation=expectation,
        n_pairs=len(compared),
        changed=_share(len(changed), len(compared)),
        as_expected=_share(sum(one.as_expected for one in compared), len(compared)),
        transitions=counts.reshape(n_classes, n_classes).tolist(),
        mean_shift=shifts.mean(0).tolist(),
        n_tested=len(tested),
        explained=[
            ExplainedPairs(n_features=size, n_pairs=n) for size, n in zip(SIZES, explained.together, strict=True)
        ],
        features=[
            sums.record(feature, word, n)
            for feature, word, n in zip(features, explained.words, explained.alone, strict=False)
        ],
        pairs=[one.record() for one in _telling(compared)[: config.keep]],
    )


def _telling(compared: Sequence[Compared]) -> list[Compared]:
    """The pairs in the order of what they tell: those against expectation first, then by how far predictions move."""

    def key(one: Compared) -> tuple[bool, float]:
        return one.as_expected, -float(np.abs(one.probabilities[1] - one.probabilities[0]).max())

    return sorted(compared, key=key)


def _share(k: int, n: int) -> ShareOfPairs:
    low, high = share_interval(k, n)
    return ShareOfPairs(n=n, share=k / n, low=low, high=high)
