"""Flips: small sets of features whose ablation changes a prediction, found by a greedy search of true ablations.

Where a search finds none, `holds` says what holds the prediction.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sae_pipeline.arrays import Floats, Ints
from sae_pipeline.causal.probe import Probe, Reading, Variants
from sae_pipeline.classifier.logits import softmax
from sae_pipeline.schema.causes import UnflippedReason


@dataclass(frozen=True)
class Flip:
    """A small set of features whose ablation changes a prediction."""

    groups: list[int]  # groups of the reading's firings, in the order of ablation
    prediction: int  # after all are ablated
    path: Floats  # [n_groups + 1, n_classes] probabilities before, after the first group, after the first two, …
    logits: Floats  # [n_groups + 1, n_classes] logits at the same steps


@dataclass(frozen=True)
class Hold:
    """What holds a prediction that no small set of features flips.

    "base": it stays when all features are ablated, and when all that support it are. So something else can hold it:
    tokens that the SAE does not read, its reconstruction error, or its bias. "spread": one of the two changes it, but
    only with more features than a flip may ablate.
    """

    reason: UnflippedReason
    margin: float  # logits by which the goal is missed with all features ablated; below 0 it is reached
    n_needed: int | None  # features to ablate in the order of their estimated effects; None for "base"


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
    """Find, for each of `headlines`, a small set of features whose ablation changes its prediction.

    The goal is the class in `targets`, or any other class than the predicted one for None. The features are those
    whose `effects` [n_groups, n_classes] hold the prediction up; where they are fewer than `max_size` and do not
    suffice, others are added. The search is that of `smallest_sets`. With a
    `level` the features are set to it where they fire instead of being ablated; `effects` are then those of
    `clamp_effects`.
    """
    rankings = [_ranking(reading, effects, h, t) for h, t in zip(headlines, targets, strict=True)]
    settings = (candidates, max_size, level, patience)
    orders = [order[:n_support].tolist() for order, n_support in rankings]
    found = smallest_sets(probe, reading, orders, headlines, targets, *settings)
    few = [n for n, one in enumerate(found) if one is None and rankings[n][1] < min(max_size, len(rankings[n][0]))]
    more = [rankings[n][0][:max_size].tolist() for n in few]
    again = smallest_sets(probe, reading, more, [headlines[n] for n in few], [targets[n] for n in few], *settings)
    for n, one in zip(few, again, strict=True):
        found[n] = one
    return found


def smallest_sets(
    probe: Probe,
    reading: Reading,
    orders: Sequence[list[int]],
    headlines: Sequence[int],
    targets: Sequence[int | None],
    candidates: int = 32,
    max_size: int = 20,
    level: float | Floats = 0.0,
    patience: float = math.inf,
) -> list[Flip | None]:
    """Find, for each of `headlines`, a small set of groups which, set to `level`, change its prediction.

    `orders` has the groups that may be set, the most promising first. `level` holds for all groups, or [n_groups] for
    each. The search is greedy:

    1. Candidates are the first groups of the order.
    2. Each round sets every candidate on top of the chosen ones and keeps the one that moves the margin most. Once
       six are chosen it keeps two per round, from nine on three, and so on.
    3. Where no set is found, the first `max_size` groups of the order are tried together.
    4. Members without which the goal is still reached are dropped.

    The result is None where nothing was found. Rounds end early where neither one candidate nor all of them together
    reach the goal, and after `patience` seconds.
    """
    search = _Search(probe, reading, headlines, targets, level)
    deadline = time.monotonic() + patience
    pools = [order[:candidates] for order in orders]
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
    # The last round may have added several groups at once; of many small effects the best few need not be the best set.
    last = [(n, groups) for n in range(len(orders)) if n not in done for groups in (chosen[n], orders[n][:max_size])]
    if last := [(n, groups) for n, groups in last if len(groups) > 1]:
        margins = search.margins(last)
        for (n, groups), margin in zip(last, margins.tolist(), strict=True):
            if margin > 0:
                done.setdefault(n, groups)
    search.prune(done)
    return search.flips(done)


def holds(
    probe: Probe,
    reading: Reading,
    effects: Floats,
    headlines: Sequence[int],
    targets: Sequence[int | None],
    max_size: int = 20,
    level: float = 0.0,
) -> list[Hold]:
    """Say what holds the predictions of `headlines` that `flip`, with the same arguments, does not change.

    The number of features that it takes is bisected between one that fails and one that does not: fewer might do
    somewhere below it, as the margin need not fall with every further feature.
    """
    search = _Search(probe, reading, headlines, targets, level)
    rankings = [_ranking(reading, effects, h, t) for h, t in zip(headlines, targets, strict=True)]
    whole = [(n, order.tolist()) for n, (order, _) in enumerate(rankings)]
    support = [(n, order[:size].tolist()) for n, (order, size) in enumerate(rankings)]
    margins = search.margins([*whole, *support]) if whole else np.zeros(0)
    of_all, of_support = np.split(margins, 2)
    low, high = {}, {}
    for n, (order, n_support) in enumerate(rankings):
        if of_support[n] > 0 or of_all[n] > 0:
            low[n] = min(max_size, len(order))
            high[n] = n_support if of_support[n] > 0 else len(order)
    while open_ := [n for n in low if high[n] - low[n] > 1]:
        middle = [(low[n] + high[n]) // 2 for n in open_]
        trials = [(n, rankings[n][0][:size].tolist()) for n, size in zip(open_, middle, strict=True)]
        for n, size, margin in zip(open_, middle, search.margins(trials).tolist(), strict=True):
            (high if margin > 0 else low)[n] = size
    return [
        Hold("spread" if n in high else "base", float(-margin), high.get(n)) for n, margin in enumerate(of_all.tolist())
    ]


def _ranking(reading: Reading, effects: Floats, headline: int, target: int | None) -> tuple[Ints, int]:
    """A headline's groups, the first ones hold the prediction up most, and how many of them do.

    They hold it up against the target, or against the second class.
    """
    *_, second, first = np.argsort(reading.logits[headline])
    start, end = reading.group_starts[headline : headline + 2]
    rival = second if target is None or target == first else target
    key = effects[start:end, first] - effects[start:end, rival]
    return start + np.argsort(-key, kind="stable"), int((key > 0).sum())


@dataclass(frozen=True)
class _Search:
    """Runs the trials of a search. A trial is an index into `headlines` and the groups that are set to `level`."""

    probe: Probe
    reading: Reading
    headlines: Sequence[int]
    targets: Sequence[int | None]
    level: float | Floats

    def logits(self, trials: Sequence[tuple[int, list[int]]]) -> Floats:
        """The logits [n_trials, n_classes] of trials."""
        rows, groups = [self.headlines[n] for n, _ in trials], [groups for _, groups in trials]
        return self.probe.logits(self.reading, Variants.of_groups(self.reading.firings, rows, groups, self.level))

    def margins(self, trials: Sequence[tuple[int, list[int]]]) -> Floats:
        """How far each trial is beyond its goal, in logits [n_trials]; above 0 it is reached."""
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
        """Drop members without which the goal is still reached, one per round, the least needed first."""
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
        """The sets that were found, with the predictions after each of their members."""
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
