"""The causes of each prediction: its leading features, verified by ablation, and the sets that flip or repair it."""

from collections.abc import Mapping, Sequence

import numpy as np

from sae_pipeline.arrays import Floats, Ints
from sae_pipeline.causal.attribution import Ablations, ablate, clamp_effects, ranked_groups
from sae_pipeline.causal.block import Block
from sae_pipeline.causal.flips import Flip, flip
from sae_pipeline.causal.probe import Probe, Reading
from sae_pipeline.classifier.logits import centred, kl_divergence, softmax
from sae_pipeline.config import InterveneConfig
from sae_pipeline.schema.common import PER_HEADLINE
from sae_pipeline.schema.dicts import FeatureEffectDict, FlipPathDict, HeadlineEffectsDict, WordEffectsDict

Flips = dict[int, Flip | None]  # by row of a block


class FlipSearches:
    """Searches flips for a sample of headlines and repairs for the first wrong predictions, and counts both."""

    def __init__(self, probe: Probe, config: InterveneConfig, truth: Ints, headlines: set[int]) -> None:
        self._probe, self._config, self._truth, self._sample = probe, config, truth, headlines
        self.flips_searched = self.repairs_searched = 0

    def search(self, block: Block) -> tuple[Flips, Flips]:
        """The flips and the repairs of a block; None where none was found."""
        reading = block.reading
        effects = clamp_effects(block.attribution, reading.firings, self._config.flip_level)
        truth = self._truth[block.first : block.first + len(reading.tokenized)]
        rows = block.rows_in(self._sample)
        left = max(self._config.flip_headlines - self.repairs_searched, 0)
        wrong = np.flatnonzero(reading.logits.argmax(1) != truth)[:left].tolist()
        self.flips_searched += len(rows)
        self.repairs_searched += len(wrong)
        return (
            self._search(reading, effects, rows, [None] * len(rows)),
            self._search(reading, effects, wrong, truth[wrong].tolist()),
        )

    def _search(self, reading: Reading, effects: Floats, rows: list[int], targets: Sequence[int | None]) -> Flips:
        level, max_size = self._config.flip_level, self._config.max_flip_features
        found = flip(self._probe, reading, effects, rows, targets, max_size=max_size, level=level)
        return dict(zip(rows, found, strict=True))


class HeadlineEffectsList:
    """Collects one record per headline, with the true effects and the completeness gaps of them all."""

    def __init__(self, probe: Probe, numbers: Sequence[int], ids: Sequence[str], features_per_headline: int) -> None:
        self._probe, self._numbers, self._ids, self._k = probe, numbers, ids, features_per_headline
        self.records: list[HeadlineEffectsDict] = []
        self.ablated: list[tuple[Ints, Floats]] = []  # features and their true effects [n, n_classes]
        self.gaps: list[float] = []  # largest |logits − base − Σ effects| of a class, per headline

    def add(
        self, block: Block, rebuilt: Floats, flips: Flips, repairs: Flips, words: Mapping[int, WordEffectsDict]
    ) -> None:
        """Ablate the leading features of every headline.

        `rebuilt` are the logits from the SAE's reconstruction; `words` are the word effects, by row.
        """
        reading, base = block.reading, block.attribution.base
        top = [groups[: self._k] for groups in ranked_groups(reading, "attribution", block.effects)]
        ablations = ablate(self._probe, reading, np.concatenate(top))
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
                    "flip": _flip_path(reading, flips.get(row)),
                    "repair": _flip_path(reading, repairs.get(row)),
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


def _flip_path(reading: Reading, found: Flip | None) -> FlipPathDict | None:
    if found is None:
        return None
    features = reading.firings.group_feature[found.groups]
    return {"features": features, "prediction": found.prediction, "path": found.path.tolist()}
