"""The smallest set of features whose ablation changes a prediction."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sae_pipeline.arrays import Floats
from sae_pipeline.causal.probe import Probe, Reading, Variants
from sae_pipeline.classifier.logits import softmax


@dataclass(frozen=True)
class Flip:
    """A small set of features whose ablation changes a prediction."""

    groups: list[int]  # in the order of ablation
    prediction: int  # afterwards
    path: Floats  # [n_groups + 1, n_classes] probabilities before, after the first, the first two, …
    logits: Floats  # [n_groups + 1, n_classes] likewise


def flip(
    probe: Probe,
    reading: Reading,
    effects: Floats,
    headlines: Sequence[int],
    targets: Sequence[int | None],
    candidates: int = 32,
    max_size: int = 20,
    level: float = 0.0,
    patience: float = math.inf,
) -> list[Flip | None]:
    """For each of `headlines` the smallest set found whose ablation makes the prediction `target`, or any other.

    Greedy: in each round every one of the `candidates` most promising features by `effects` [n_groups, n_classes] is
    really ablated on top of the chosen ones, and the one that moves the margin most is kept; from six chosen ones on
    two at a time, from nine on three, and so on. Members that turn out not to be needed are dropped again. None where
    `max_size` features do not suffice, or neither one candidate nor all of them together, or where `patience` seconds
    have passed. With a `level` the features are set to it where they fire, and `effects` are those of `clamp_effects`.
    """
    search = _Search(probe, reading, headlines, targets, level)
    deadline = time.monotonic() + patience
    pools = [_candidates(reading, effects, h, t, candidates) for h, t in zip(headlines, targets, strict=True)]
    chosen: list[list[int]] = [[] for _ in headlines]
    done: dict[int, list[int]] = {}
    open_ = {n for n, pool in enumerate(pools) if pool}
    everything = [(n, pools[n]) for n in sorted(open_)]
    reach: Any = search.margins(everything) if everything else []
    within_reach = {n for (n, _), margin in zip(everything, reach, strict=True) if margin > 0}
    while open_ and time.monotonic() < deadline:
        trials = [(n, [*chosen[n], g]) for n in sorted(open_) for g in pools[n]]
        margins = search.margins(trials)
        owner = np.array([n for n, _ in trials])
        for n in sorted(open_):
            own = np.flatnonzero(owner == n)
            ranked = own[np.argsort(-margins[own], kind="stable")]
            if margins[ranked[0]] > 0:
                done[n] = trials[ranked[0]][1]
            grow = min(max(1, len(chosen[n]) // 3), max_size - len(chosen[n]))
            joining = [trials[i][1][-1] for i in ranked[:grow]]
            chosen[n] = chosen[n] + joining
            pools[n] = [g for g in pools[n] if g not in joining]
        open_ = {n for n in open_ & within_reach if n not in done and pools[n] and len(chosen[n]) < max_size}
    last = [(n, groups) for n, groups in enumerate(chosen) if n not in done and len(groups) > 1]
    if last:  # several may have joined in the last round
        margins = search.margins(last)
        done |= {n: groups for (n, groups), margin in zip(last, margins.tolist(), strict=True) if margin > 0}
    search.prune(done)
    return search.flips(done)


def _candidates(reading: Reading, effects: Floats, headline: int, target: int | None, n: int) -> list[int]:
    """The groups that hold the present prediction up most, against the target or the runner-up."""
    *_, second, first = np.argsort(reading.logits[headline])
    start, end = reading.group_starts[headline : headline + 2]
    rival = second if target is None or target == first else target
    key = effects[start:end, first] - effects[start:end, rival]
    order = np.argsort(-key, kind="stable")[:n]
    return [int(start + i) for i in order if key[i] > 0]


@dataclass(frozen=True)
class _Search:
    """Trials of a search for flips: (index into `headlines`, groups set to `level`)."""

    probe: Probe
    reading: Reading
    headlines: Sequence[int]
    targets: Sequence[int | None]
    level: float

    def logits(self, trials: Sequence[tuple[int, list[int]]]) -> Floats:
        """[n_trials, n_classes]."""
        rows, groups = [self.headlines[n] for n, _ in trials], [groups for _, groups in trials]
        return self.probe.logits(self.reading, Variants.of_groups(self.reading.firings, rows, groups, self.level))

    def margins(self, trials: Sequence[tuple[int, list[int]]]) -> Floats:
        """How far each trial is beyond the goal, in logits; > 0: reached."""
        logits = self.logits(trials)
        wanted = np.array([-1 if self.targets[n] is None else self.targets[n] for n, _ in trials], np.int64)
        away = wanted < 0
        wanted[away] = self.reading.logits[[self.headlines[n] for n, _ in trials]].argmax(1)[away]
        index = np.arange(len(trials))
        own = logits[index, wanted]
        logits[index, wanted] = -np.inf
        others = logits.max(1)
        margin: Floats = np.where(away, others - own, own - others)
        return margin

    def prune(self, done: dict[int, list[int]]) -> None:
        """Drop members without which the goal is still reached, one at a time, the one least missed first."""
        open_ = {n for n, groups in done.items() if len(groups) > 1}
        while open_:
            trials = [(n, [g for g in done[n] if g != left_out]) for n in sorted(open_) for left_out in done[n]]
            best: dict[int, tuple[float, list[int]]] = {}
            for (n, groups), margin in zip(trials, self.margins(trials).tolist(), strict=True):
                if margin > best.get(n, (0.0, []))[0]:
                    best[n] = (margin, groups)
            for n, (_, groups) in best.items():
                done[n] = groups
            open_ = {n for n in best if len(done[n]) > 1}

    def flips(self, done: dict[int, list[int]]) -> list[Flip | None]:
        """The sets found, with the probabilities after each member."""
        steps = [(n, groups[:k]) for n, groups in done.items() for k in range(len(groups) + 1)]
        found: list[Flip | None] = [None] * len(self.headlines)
        if not steps:
            return found
        logits = self.logits(steps)
        owner = np.array([n for n, _ in steps])
        for n, groups in done.items():
            own = logits[owner == n]
            found[n] = Flip(groups, int(own[-1].argmax()), softmax(own), own)
        return found
