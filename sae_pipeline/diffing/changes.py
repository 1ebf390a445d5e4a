"""Which features changed from one model to another, by their strengths and directions in a crosscoder.

    growth   log2(strength in the one / strength in the other), less its median over the live features, those that
             fire in at least ten headlines
    grown    growth of at least log2 1.5
    faded    growth of at most −log2 1.5
    turned   neither, and a cosine between the two directions below 0.3

The median is subtracted because a model whose activations the crosscoder explains less well has weaker directions
throughout, whatever they stand for.
"""

import math
from dataclasses import dataclass

import numpy as np
import scipy

from sae_pipeline.arrays import Flags, Floats, Ints
from sae_pipeline.diffing.crosscoder import Crosscoder
from sae_pipeline.schema.diff import ChangeKind, DiffCounts, Replication

MIN_HEADLINES = 10  # in which a live feature fires
GROWTH, COSINE = math.log2(1.5), 0.3
EDGES: Floats = np.linspace(-2.0, 2.0, 41)  # of histograms of growth
_TINY = 1e-9


@dataclass(frozen=True)
class Changes:
    """The change of every feature from one model to another; features that are not live have none."""

    live: Flags  # [d_sae]
    growth: Floats  # [d_sae]
    cosine: Floats  # [d_sae]

    @classmethod
    def between(cls, crosscoder: Crosscoder, before: int, after: int, live: Flags) -> "Changes":
        """From the model with the number `before` to `after`."""
        strengths = np.maximum(crosscoder.strengths, _TINY)
        growth = np.log2(strengths[after] / strengths[before])
        if live.any():
            growth = growth - np.median(growth[live])
        return cls(live, growth, crosscoder.cosines(before, after))

    @property
    def grown(self) -> Flags:
        """[d_sae]"""
        return self.live & (self.growth >= GROWTH)

    @property
    def faded(self) -> Flags:
        """[d_sae]"""
        return self.live & (self.growth <= -GROWTH)

    @property
    def turned(self) -> Flags:
        """[d_sae]"""
        return self.live & ~self.grown & ~self.faded & (self.cosine < COSINE)

    @property
    def counts(self) -> DiffCounts:
        """How many features changed."""
        return DiffCounts(grown=int(self.grown.sum()), faded=int(self.faded.sum()), turned=int(self.turned.sum()))

    @property
    def histogram(self) -> list[int]:
        """Live features by growth between `EDGES`; the outer bins take what is beyond."""
        inside = np.clip(self.growth[self.live], EDGES[0], EDGES[-1])
        return [int(n) for n in np.histogram(inside, EDGES)[0]]

    def most(self, kind: ChangeKind, n: int) -> Ints:
        """The n features that changed most in this way, the most changed first."""
        key = {"grown": -self.growth, "faded": self.growth, "turned": self.cosine}[kind]
        flags: Flags = getattr(self, kind)
        ranked: Ints = np.argsort(np.where(flags, key, np.inf), kind="stable")[: min(n, int(flags.sum()))]
        return ranked


def replication(after: Changes, control: Changes) -> Replication:
    """How many features that grew from before to after also grew from before to the control.

    Both growths contain the strength before, so they go together even if all strengths differ by chance alone. If they
    do so independently and equally, growths have a correlation of ½; the number that is expected is that of two normal
    variables with this correlation.
    """
    n_live, grown = max(1, int(after.live.sum())), [int(one.grown.sum()) for one in (after, control)]
    limits = scipy.stats.norm.ppf(np.array(grown) / n_live)
    both = scipy.stats.multivariate_normal(cov=[[1.0, 0.5], [0.5, 1.0]]).cdf(limits) if min(grown) else 0.0
    return Replication(
        n_after=grown[0],
        n_control=grown[1],
        n_both=int((after.grown & control.grown).sum()),
        expected=float(min(n_live * both, *grown)),
    )
