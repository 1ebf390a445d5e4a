"""Flips and repairs of a run's headlines; where there are none, why, and what clamping features does."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from sae_pipeline.arrays import Floats, Ints
from sae_pipeline.causal.attribution import clamp_effects
from sae_pipeline.causal.block import Block
from sae_pipeline.causal.clamping import clamp, typical_activations
from sae_pipeline.causal.flips import Flip, Hold, flip, holds
from sae_pipeline.causal.probe import Probe, Reading
from sae_pipeline.config import InterveneConfig
from sae_pipeline.headlines.tokens import TokenizedHeadline
from sae_pipeline.schema.cause_dicts import FlipPathDict, HeadlineEffectsDict, UnflippedDict, UnflippedSummaryDict


@dataclass(frozen=True)
class Searched:
    """What a search in a block came to, by row."""

    flips: dict[int, Flip]
    holds: dict[int, Hold]  # of the rows that were searched without finding a flip

    def path(self, reading: Reading, row: int) -> FlipPathDict | None:
        """The record of a flip; None where none was searched or found."""
        found = self.flips.get(row)
        if found is None:
            return None
        features = reading.firings.group_feature[found.groups]
        return {"features": features, "prediction": found.prediction, "path": found.path.tolist()}

    def hold(self, row: int) -> UnflippedDict | None:
        """The record of what holds a prediction; None where no flip was searched, or one was found."""
        found = self.holds.get(row)
        if found is None:
            return None
        return {"reason": found.reason, "margin": found.margin, "n_needed": found.n_needed, "clamped": None}


class FlipSearches:
    """Searches flips for a sample of headlines and repairs for the first wrong predictions, and counts both."""

    def __init__(self, probe: Probe, config: InterveneConfig, truth: Ints, headlines: set[int]) -> None:
        self._probe, self._config, self._truth, self._sample = probe, config, truth, headlines
        self.flips_searched = self.repairs_searched = 0

    def search(self, block: Block) -> tuple[Searched, Searched]:
        """Search the flips and the repairs of a block."""
        reading = block.reading
        effects = clamp_effects(block.attribution, reading.firings, self._config.flip_level)
        truth = self._truth[block.first : block.first + len(reading.tokenized)]
        rows = block.rows_in(self._sample)
        left = max(self._config.flip_headlines - self.repairs_searched, 0)
        wrong = np.flatnonzero(reading.logits.argmax(1) != truth)[:left].tolist()
        self.flips_searched += len(rows)
        self.repairs_searched += len(wrong)
        flips = self._search(reading, effects, rows, [None] * len(rows))
        repairs = self._search(reading, effects, wrong, truth[wrong].tolist())
        return flips, repairs

    def _search(self, reading: Reading, effects: Floats, rows: list[int], targets: Sequence[int | None]) -> Searched:
        level, max_size = self._config.flip_level, self._config.max_flip_features
        found = flip(self._probe, reading, effects, rows, targets, max_size=max_size, level=level)
        flips = {row: one for row, one in zip(rows, found, strict=True) if one}
        missed = [(row, target) for row, target in zip(rows, targets, strict=True) if row not in flips]
        held, goals = [row for row, _ in missed], [target for _, target in missed]
        return Searched(
            flips, dict(zip(held, holds(self._probe, reading, effects, held, goals, max_size, level), strict=True))
        )

    def clamp(
        self,
        tokenized: Sequence[TokenizedHeadline],
        records: Sequence[HeadlineEffectsDict],
        groups: tuple[Ints, Ints, Floats],
        predictions: Ints,
    ) -> None:
        """Clamp features in the headlines that were not flipped, and add to their `records` what is found.

        All are in the order of reading. `groups` are those of `typical_activations`.
        """
        wanted: dict[int, dict[int, list[UnflippedDict]]] = defaultdict(lambda: defaultdict(list))
        for headline, record in enumerate(records):
            second = int(np.argsort(record["logits"])[-2])
            for hold, rival in ((record["unflipped"], second), (record["unrepaired"], int(self._truth[headline]))):
                if hold is not None:
                    wanted[rival][headline].append(hold)
        for rival, headlines in wanted.items():
            typical = typical_activations(groups, predictions == rival, self._probe.sae.config.d_sae)
            if typical is None:
                continue
            members = [tokenized[headline] for headline in headlines]
            found = clamp(self._probe, members, rival, typical, self._config.max_flip_features)
            for of_headline, path in zip(headlines.values(), found, strict=True):
                for hold in of_headline:
                    hold["clamped"] = path


def unflipped_summary(holds: Iterable[UnflippedDict | None]) -> UnflippedSummaryDict:
    """Count what holds predictions."""
    found = [hold for hold in holds if hold]
    reasons = [hold["reason"] for hold in found]
    return {
        "n_base": reasons.count("base"),
        "n_spread": reasons.count("spread"),
        "n_clamped": sum(hold["clamped"] is not None for hold in found),
    }
