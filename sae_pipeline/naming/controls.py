"""What the scores of names are compared with: names of other features, and names found for neurons.

A raw neuron is active in every headline. So that the same procedure applies, each neuron, with either sign, fires in
the headlines in which it is strongest: in as many of them as a feature that is drawn at random.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from sae_pipeline.arrays import Floats, Ints
from sae_pipeline.schema.names import ControlKind, NameScores

_SEED = 0
_BINS = np.linspace(0, 1, 21)


def other_units(n: int) -> Ints:
    """Draw another unit at random for each of n units; each is drawn once. A single unit gets itself."""
    order = np.random.default_rng(_SEED).permutation(n)
    other = np.empty(n, np.int64)
    other[order] = np.roll(order, 1)
    return other


def sparsified(strengths: NDArray[np.floating], rates: Floats) -> sparse.csr_matrix:
    """Keep the strengths of dense units [n_headlines, n_units] where each is strongest, and set the others to 0.

    `rates` are the shares of headlines in which features fire; each unit gets one of them.
    """
    n, n_units = strengths.shape
    drawn = np.random.default_rng(_SEED).choice(rates, n_units) if len(rates) else np.zeros(n_units)
    kept = np.round(drawn * n).astype(np.int64)
    order = np.argsort(-strengths, axis=0, kind="stable")
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.arange(n)[:, None], axis=0)
    fires = rank < kept
    shifted = strengths - strengths.min(initial=0.0) + 1.0  # a strength may be negative, an activation is above 0
    return sparse.csr_matrix(np.where(fires, shifted, 0.0).astype(np.float32))


def summary(kind: ControlKind, scores: Floats, named: Sequence[bool] | NDArray[np.bool_]) -> NameScores:
    """The distribution of scores [n_units] (NaN: not tested), and the share of all units that have a name."""
    tested = scores[~np.isnan(scores)]
    quartiles = np.quantile(tested, (0, 0.25, 0.5, 0.75, 1)).tolist() if len(tested) else None
    return NameScores(
        kind=kind,
        n_features=len(scores),
        n_scored=len(tested),
        share_named=round(float(np.mean(named)), 6) if len(scores) else 0.0,
        quartiles=quartiles and [round(float(q), 6) for q in quartiles],
        histogram=np.histogram(tested, _BINS)[0].tolist(),
    )
