"""The causes of each prediction: its leading features, verified by ablation alone and together."""

from collections.abc import Mapping, Sequence

import numpy as np

from sae_pipeline.arrays import Floats, Ints
from sae_pipeline.causal.attribution import Ablations, ablate, ranked_groups
from sae_pipeline.causal.block import Block
from sae_pipeline.causal.interactions import Interactions
from sae_pipeline.causal.probe import Probe
from sae_pipeline.causal.searches import Searched
from sae_pipeline.classifier.logits import centred, kl_divergence, softmax
from sae_pipeline.schema.cause_dicts import FeatureEffectDict, HeadlineEffectsDict, WordEffectsDict
from sae_pipeline.schema.common import PER_HEADLINE


class HeadlineEffectsList:
    """Collects one record per headline, with the true effects and the completeness gaps of them all."""

    def __init__(
        self,
        probe: Probe,
        numbers: Sequence[int],
        ids: Sequence[str],
        features_per_headline: int,
        interactions: Interactions,
    ) -> None:
        self._probe, self._numbers, self._ids, self._k = probe, numbers, ids, features_per_headline
        self._interactions = interactions
        self.records: list[HeadlineEffectsDict] = []
        self.ablated: list[tuple[Ints, Floats]] = []  # features and their true effects [n, n_classes]
        self.gaps: list[float] = []  # largest |logits − base − Σ effects| of a class, per headline

    def add(
        self, block: Block, rebuilt: Floats, flips: Searched, repairs: Searched, words: Mapping[int, WordEffectsDict]
    ) -> None:
        """Ablate the leading features of every headline.

        `rebuilt` are the logits from the SAE's reconstruction; `words` are the word effects, by row.
        """
        reading, base = block.reading, block.attribution.base
        top = [groups[: self._k] for groups in ranked_groups(reading, "attribution", block.effects)]
        ablations = ablate(self._probe, reading, np.concatenate(top))
        joint = self._interactions.add(block, top, ablations)
        self.ablated.append((reading.firings.group_feature[ablations.group], ablations.logits))
        index = dict(zip(ablations.group.tolist(), range(len(ablations.group)), strict=True))
        before, after, end = softmax(reading.logits), softmax(rebuilt), centred(reading.logits)
        kl = kl_divergence(before, after)
        whole = self._probe.sae.config.positions in PER_HEADLINE
        for row, groups in enumerate(top):
            predicted = int(reading.logits[row].argmax())
            start, stop = reading.group_starts[row : row + 2]
            self.gaps.append(float(np.abs(end[row] - base[row] - block.effects[start:stop].sum(0)).max()))
            self.records.append(
                {
                    "headline": self._numbers[block.first + row],
                    "headline_id": self._ids[block.first + row],
                    "logits": end[row],
                    "base": base[row],
                    "rest": end[row] - base[row] - block.effects[groups].sum(0),
                    "features": [
                        _feature_effect(block, g, predicted, ablations, index[g], whole) for g in groups.tolist()
                    ],
                    "spliced_prediction": int(rebuilt[row].argmax()),
                    "spliced_delta_p": after[row, predicted] - before[row, predicted],
                    "spliced_kl": float(kl[row]),
                    "flip": flips.path(reading, row),
                    "unflipped": flips.hold(row),
                    "repair": repairs.path(reading, row),
                    "unrepaired": repairs.hold(row),
                    "joint_effects": joint.effects[row],
                    "interactions": joint.pairs.get(row),
                    "word_effects": words.get(row),
                }
            )


def _feature_effect(
    block: Block, group: int, predicted: int, ablations: Ablations, index: int, whole: bool
) -> FeatureEffectDict:
    """The effect of a group. It names no tokens where the feature fires on the headline as a `whole`."""
    firings = block.reading.firings
    start = firings.group_start[group]
    entries = slice(start, start if whole else start + firings.group_length[group])
    return {
        "feature": int(firings.group_feature[group]),
        "effects": block.effects[group],
        "gradient_effects": block.gradients[group],
        "positions": firings.position[entries],
        "position_effects": block.attribution.integrated[entries, predicted],
        "ablation_logits": ablations.logits[index],
        "ablation_probabilities": ablations.probabilities[index],
    }
