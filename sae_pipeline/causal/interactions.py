"""Interactions: what features do together, beyond what each of them does alone.

    joint effect        c(x) − c(x without all listed features)
    interaction_ab      effect(a and b) − effect(a) − effect(b)

c are centred logits, and all effects are true ablations. The single effects miss the joint one by joint − Σ single.
With the interactions of all pairs added, what is left are those of three and more features. It may be larger than the
miss: where features only act together, pairs count the same thing several times.
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from sae_pipeline.arrays import Floats, Ints
from sae_pipeline.causal.attribution import Ablations
from sae_pipeline.causal.block import Block
from sae_pipeline.causal.probe import Probe, Variants
from sae_pipeline.classifier.logits import centred
from sae_pipeline.config import InterveneConfig
from sae_pipeline.schema.cause_dicts import InteractionDict, InteractionSummaryDict

FLOOR = 0.05  # logits; a smaller miss does not count, whatever its share
_KEPT = 5  # pairs per headline


@dataclass(frozen=True)
class JointEffects:
    """What the listed features of a block's headlines do together."""

    effects: Floats  # [n_headlines, n_classes]
    pairs: dict[int, list[InteractionDict]]  # by row: the largest interactions, where they were measured


class Interactions:
    """Compares single ablations with joint ones, and measures pairs where the two differ."""

    def __init__(self, probe: Probe, config: InterveneConfig, headlines: set[int]) -> None:
        """Pairs are measured only in `headlines`, numbers in the order of reading."""
        self._probe, self._share, self._headlines = probe, config.interaction_share, headlines
        self._misses: list[float] = []  # |joint − Σ single| on the predicted class
        self._n_above = 0
        self._measured: list[tuple[float, float]] = []  # the miss, and what is left of it with all pairs added

    def add(self, block: Block, listed: list[Ints], ablations: Ablations) -> JointEffects:
        """Ablate the `listed` groups of each headline together, given the ablations of all of them in this order."""
        reading = block.reading
        rows = np.arange(len(listed))
        before, own = centred(reading.logits), reading.logits.argmax(1)
        after = self._probe.logits(reading, Variants.of_groups(reading.firings, rows, listed))
        joint = before - centred(after)
        single = np.split(ablations.logits, np.cumsum([len(groups) for groups in listed])[:-1])
        misses = joint - np.array([effects.sum(0) for effects in single]).reshape(joint.shape)
        above = []
        for row, groups in enumerate(listed):
            if len(groups) > 1:
                miss = abs(float(misses[row, own[row]]))
                self._misses.append(miss)
                if miss > max(self._share * abs(joint[row, own[row]]), FLOOR):
                    above.append(row)
        self._n_above += len(above)
        measured = [row for row in above if block.first + row in self._headlines]
        pairs = self._pairs(block, [listed[row] for row in measured], [single[row] for row in measured], measured)
        kept = {}
        for row, of_pairs in pairs.items():
            miss, of_all = float(misses[row, own[row]]), float(of_pairs[:, own[row]].sum())
            self._measured.append((abs(miss), abs(miss - of_all)))
            features = reading.firings.group_feature[listed[row]]
            members = list(combinations(features.tolist(), 2))
            largest = np.argsort(-np.abs(of_pairs[:, own[row]]), kind="stable")[:_KEPT]
            kept[row] = [InteractionDict(features=list(members[i]), effects=of_pairs[i]) for i in largest.tolist()]
        return JointEffects(joint, kept)

    def _pairs(self, block: Block, listed: list[Ints], single: list[Floats], rows: list[int]) -> dict[int, Floats]:
        """The interactions [n_pairs, n_classes] of all pairs of the `listed` groups, by row."""
        reading = block.reading
        pairs = [np.array(list(combinations(range(len(groups)), 2))) for groups in listed]
        variants = [groups[pair] for groups, of_row in zip(listed, pairs, strict=True) for pair in of_row]
        sizes = [len(of_row) for of_row in pairs]
        owner = np.repeat(np.array(rows, np.int64), sizes)
        if not len(owner):
            return {}
        after = self._probe.logits(reading, Variants.of_groups(reading.firings, owner, variants))
        together = np.split(centred(reading.logits[owner]) - centred(after), np.cumsum(sizes)[:-1])
        return {
            row: both - effects[of_row].sum(1)
            for row, both, effects, of_row in zip(rows, together, single, pairs, strict=True)
        }

    def summary(self) -> InteractionSummaryDict | None:
        """All headlines together; None where no headline has two listed features."""
        if not self._misses:
            return None
        medians = np.median(self._measured, axis=0).tolist() if self._measured else [None, None]
        return {
            "n_headlines": len(self._misses),
            "share": self._share,
            "floor": FLOOR,
            "median_miss": float(np.median(self._misses)),
            "n_above": self._n_above,
            "n_measured": len(self._measured),
            "measured_miss": medians[0],
            "left_miss": medians[1],
        }
