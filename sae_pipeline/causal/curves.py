"""Deletion and insertion curves: what is left of predictions as features are removed, or as only some are kept."""

from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from sae_pipeline.arrays import Floats, Ints
from sae_pipeline.causal.attribution import ORDERS, Order, ranked_groups
from sae_pipeline.causal.block import Block
from sae_pipeline.causal.faithfulness import curve
from sae_pipeline.causal.probe import Probe
from sae_pipeline.classifier.logits import centred
from sae_pipeline.schema.cause_dicts import RemovalCurveDict
from sae_pipeline.schema.causes import CurveKind

_SIZES = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256)
_KINDS: tuple[CurveKind, ...] = ("deletion", "insertion")


class Curves:
    """Collects the points of both curves, for every order of features, over a sample of headlines."""

    def __init__(self, probe: Probe, seed: int, headlines: set[int]) -> None:
        self._probe, self._seed, self._sample = probe, seed, headlines
        self._headlines: list[int] = []
        self._logits: dict[tuple[CurveKind, Order], list[Floats]] = defaultdict(list)  # [n_sizes, n, n_classes]

    def add(self, block: Block) -> None:
        """Remove features from the block's headlines in the sample."""
        rows = block.rows_in(self._sample)
        if not rows:
            return
        self._headlines += [block.first + row for row in rows]
        for order in ORDERS:
            ranked = ranked_groups(block.reading, order, block.gradients, self._seed + block.first, signed=True)
            chosen = [ranked[row] for row in rows]
            for kind in _KINDS:
                logits = curve(self._probe, block.reading, rows, chosen, _SIZES, keep=kind == "insertion")
                self._logits[kind, order].append(logits)

    def records(self, clean: Floats, truth: Ints) -> Iterator[RemovalCurveDict]:
        """One record per curve and order, from all headlines' own logits [n_headlines, n_classes] and labels."""
        rows = np.array(self._headlines, np.int64)
        before = clean[rows].argmax(1)
        for (kind, order), parts in self._logits.items():
            logits = np.concatenate(parts, 1)  # [n_sizes, n_headlines, n_classes]
            after = logits.argmax(2)
            yield {
                "kind": kind,
                "order": order,
                "n_headlines": len(rows),
                "n_features": list(_SIZES),
                "accuracy": (after == truth[rows]).mean(1),
                "unchanged": (after == before).mean(1),
                "logit": centred(logits)[:, np.arange(len(rows)), before].mean(1),
            }
