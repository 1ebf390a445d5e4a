"""Whether features explain changed predictions: are the two predictions equal once the features are ablated?

A feature is ablated in the version in which it fires more: a word that a change puts in brings a feature with it, and
without this feature the prediction may be the one of before.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sae_pipeline.causal.probe import Probe, Variants
from sae_pipeline.classifier.classifier import Classifier
from sae_pipeline.contrast.pairs import Pair
from sae_pipeline.contrast.shifts import Texts, blocks


@dataclass(frozen=True)
class Explained:
    """How many pairs features explain, and the words on which they fire most."""

    by_feature: list[int]
    together: int
    words: list[str]


def explain(
    probe: Probe, classifier: Classifier, changed: Sequence[Pair], others: Sequence[Pair], features: Sequence[int]
) -> Explained:
    """Ablate `features`, each alone and all together, in pairs whose predictions differ.

    `others` are pairs that only tell on which words the features fire.
    """
    by_feature, together = np.zeros(len(features), np.int64), 0
    words: list[Counter[str]] = [Counter() for _ in features]
    tested = {id(pair) for pair in changed}
    for block in blocks([*changed, *others]):
        texts = Texts.read(probe, classifier, [text for pair in block for text in (pair.before, pair.after)])
        trials: list[tuple[int, list[int]]] = []  # row of the text, groups that are ablated
        asked: list[tuple[Pair, list[tuple[int, int, int]]]] = []  # (feature's index, its version, its group)
        for pair in block:
            shift = texts.shift(pair)
            found = []
            for i, feature in enumerate(features):
                at = int(np.searchsorted(shift.feature, feature))
                if at < len(shift.feature) and shift.feature[at] == feature and shift.moved[at]:
                    words[i][texts.word(int(shift.group[at]))] += 1
                    found.append((i, int(shift.after[at] > shift.before[at]), int(shift.group[at])))
            if id(pair) in tested:
                asked.append((pair, found))
                rows = texts.row[pair.before], texts.row[pair.after]
                trials += [(rows[version], [group]) for _, version, group in found]
                trials += [(rows[version], [g for _, v, g in found if v == version]) for version in (0, 1)]
        if not trials:
            continue
        variants = Variants.of_groups(texts.reading.firings, [r for r, _ in trials], [g for _, g in trials])
        predictions = iter(probe.logits(texts.reading, variants).argmax(1).tolist())
        plain = texts.reading.logits.argmax(1)
        for pair, found in asked:
            own = plain[texts.row[pair.before]], plain[texts.row[pair.after]]
            for i, version, _ in found:
                by_feature[i] += next(predictions) == own[1 - version]
            together += next(predictions) == next(predictions)
    return Explained(by_feature.tolist(), together, [most_common(counts) for counts in words])


def most_common(words: Counter[str]) -> str:
    """The most frequent word; empty where there is none."""
    return words.most_common(1)[0][0] if words else ""
