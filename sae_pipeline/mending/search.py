"""The search for a few edits that mend errors, on headlines that the proof does not use.

Each step tries the edits that gradients predict to help most, by true reruns of the classifier on top of the edits that
are there, and keeps the best. What it lowers is the risk: the mean probability of all classes but the true one. Unlike
the number of errors it is smooth, and unlike the loss it gains little from headlines that are right already. Headlines
that the steps do not see choose how many of them are kept.
"""

from dataclasses import dataclass

import numpy as np
from tqdm.auto import tqdm

from sae_pipeline.arrays import Flags, Floats, Ints
from sae_pipeline.causal.attribution import attribute
from sae_pipeline.causal.edited import Factors, edited_logits, wrong_share
from sae_pipeline.causal.probe import Probe, Reading

FACTORS = (0.0, 0.5, 2.0)
_MIN_HEADLINES = 5  # in which a feature fires; rarer ones say too little
_TRIED = 16  # edits that are rerun in each step


@dataclass(frozen=True)
class Step:
    """An edit, and what it reaches together with those of the steps before it."""

    feature: int
    factor: float
    n_headlines: int  # of the search, in which the feature fires
    risk: float  # on the headlines of the search
    stopping_risk: float  # on those that choose the number of steps


@dataclass(frozen=True)
class Search:
    """All steps of a search, and the number of them that are kept."""

    risk: float  # before any edit
    stopping_risk: float
    steps: list[Step]

    @property
    def n_kept(self) -> int:
        """The steps up to the lowest risk on the headlines that choose; 0 where no step lowers it."""
        return int(np.argmin([self.stopping_risk, *(step.stopping_risk for step in self.steps)]))

    @property
    def edits(self) -> Factors:
        """The edits that are kept."""
        return {step.feature: step.factor for step in self.steps[: self.n_kept]}


def search(probe: Probe, reading: Reading, labels: Ints, stopping: Flags, most: int) -> Search:
    """Search at most `most` edits on the headlines of a reading that are not `stopping` [n_headlines]."""
    firings, searched = reading.firings, ~stopping
    effects = attribute(probe, reading, steps=0).by_feature(firings, "gradient")
    own = searched[firings.group_headline]
    d_sae = probe.sae.config.d_sae
    n_headlines = np.bincount(firings.group_feature[own], minlength=d_sae)
    logits, edits, steps = reading.logits, dict[int, float](), list[Step]()

    def risks(found: Floats) -> tuple[float, float]:
        wrong = wrong_share(found, labels)
        return float(wrong[searched].mean()), float(wrong[stopping].mean())

    before = risks(logits)
    for _ in tqdm(range(most), desc="search", unit="edit", leave=False):
        allowed = n_headlines >= _MIN_HEADLINES
        allowed[list(edits)] = False
        tried = _likely(reading, effects, logits, labels, own, allowed)
        if not tried:
            break
        found = edited_logits(probe, reading, [{**edits, feature: factor} for feature, factor in tried])
        reached = [risks(one) for one in found]
        best = min(range(len(tried)), key=lambda n: reached[n][0])
        if reached[best][0] >= (steps[-1].risk if steps else before[0]):
            break
        (feature, factor), logits = tried[best], found[best]
        edits[feature] = factor
        steps.append(Step(feature, factor, int(n_headlines[feature]), *reached[best]))
    return Search(*before, steps)


def _likely(
    reading: Reading, effects: Floats, logits: Floats, labels: Ints, own: Flags, allowed: Flags
) -> list[tuple[int, float]]:
    """The edits of `allowed` features [d_sae] that should lower the risk most, judged by their gradients.

    `effects` are [n_groups, n_classes], `logits` those under the present edits, and `own` [n_groups] marks the groups
    of headlines that are searched.
    """
    firings = reading.firings
    rows, features = firings.group_headline[own], firings.group_feature[own]
    now = wrong_share(logits, labels)[rows]
    gains = []
    for factor in FACTORS:
        after = wrong_share(logits[rows] + (factor - 1.0) * effects[own], labels[rows])
        gains.append(np.bincount(features, weights=now - after, minlength=len(allowed)))
    table = np.where(allowed, np.stack(gains), -np.inf)
    order = np.argsort(-table, axis=None, kind="stable")[:_TRIED]
    return [(int(n % len(allowed)), FACTORS[n // len(allowed)]) for n in order if table.flat[n] > 0.0]
