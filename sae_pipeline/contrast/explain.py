"""Whether features explain changed predictions: are the two predictions equal once the features are ablated?

A feature is ablated in the version in which it fires more: a word that a change puts in brings a feature with it, and
without this feature the prediction may be the earlier one.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sae_pipeline.causal.probe import Probe, Variants
from sae_pipeline.classifier.classifier import Classifier
from sae_pipeline.contrast.pairs import Pair
from sae_pipeline.contrast.shifts import Texts, blocks

SIZES = (1, 5, 20, 50)
"""How many of the leading features are ablated together."""


@dataclass(frozen=True)
class Explained:
    """How many pairs features explain, and the words on which they fire most."""

    alone: list[int]  # by each of the listed features
    together: list[int]  # by as many leading features as SIZES says
    words: list[str]  # of the listed features


def explain(
    probe: Probe,
    classifier: Classifier,
    changed: Sequence[Pair],
    others: Sequence[Pair],
    features: Sequence[int],
    n_listed: int,
) -> Explained:
    """Ablate the leading ones of `features` together, and the first `n_listed` alone, in pairs that change predictions.

    `others` are pairs that only tell on which words the features fire.
    """
    alone, together = np.zeros(min(n_listed, len(features)), np.int64), np.zeros(len(SIZES), np.int64)
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
                    found.append((i, int(shift.growth[at] > 0), int(shift.group[at])))
            if id(pair) in tested:
                asked.append((pair, found))
                rows = texts.row[pair.before], texts.row[pair.after]
                trials += [(rows[version], [group]) for i, version, group in found if i < len(alone)]
                trials += [
                    (rows[version], [g for i, v, g in found if v == version and i < size])
                    for size in SIZES
                    for version in (0, 1)
                ]
        if not trials:
            continue
        variants = Variants.of_groups(texts.reading.firings, [r for r, _ in trials], [g for _, g in trials])
        predictions = iter(probe.logits(texts.reading, variants).argmax(1).tolist())
        plain = texts.reading.logits.argmax(1)
        for pair, found in asked:
            own = plain[texts.row[pair.before]], plain[texts.row[pair.after]]
            for i, version, _ in found:
                if i < len(alone):
                    alone[i] += next(predictions) == own[1 - version]
            for k in range(len(SIZES)):
                together[k] += next(predictions) == next(predictions)
    listed = [counts.most_common(1)[0][0] if counts else "" for counts in words[: len(alone)]]
    return Explained(alone.tolist(), together.tolist(), listed)
