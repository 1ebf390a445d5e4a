"""Places features in the plane: near each other if their decoder rows are similar or they fire on the same headlines.

The layout is t-SNE (van der Maaten & Hinton 2008) by openTSNE. Two features attract each other by the cosine of their
decoder rows, where one is among the other's 15 nearest. Where the run knows the Jaccard index of the headlines on which
they fire, it is added. There is no early exaggeration: decoder rows are spread so evenly that it would pull all
features into one point. One thread and fixed starting places make the layout the same each time.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sae_pipeline.analysis.neighbours import decoder_neighbours
from sae_pipeline.arrays import Floats, Ints
from sae_pipeline.schema.map import MAX_REGIONS

NEIGHBOURS = 15
_PHASES = ((100, 0.5), (300, 0.8))  # steps and their momentum
_FEWEST = 8  # features below which nearest neighbours say nothing, so that they stand on a circle
_SHARE_OF_REGION = 0.005  # of the features, in the smallest region
_SMALLEST_REGION = 8  # features


class Pairs(NamedTuple):
    """Features that fire on the same headlines. Each list has one entry per pair."""

    one: Ints
    other: Ints
    jaccard: Floats


class Regions(NamedTuple):
    """Dense parts of a layout, the largest first."""

    of_feature: Ints
    """[n] index of each feature's region; -1 between regions."""
    n: int


def method(n: int, by_firing: bool) -> str:
    """How `place` treats n features, for the record."""
    if n < _FEWEST:
        return "on a circle: nearest neighbours say nothing of so few features"
    import openTSNE

    also = ", and by the Jaccard index of the headlines on which both fire" if by_firing else ""
    return (
        f"t-SNE by openTSNE {openTSNE.__version__}: features attract each other by the cosine of their decoder rows "
        f"({NEIGHBOURS} nearest){also}"
    )


def place(W_dec: Tensor, firing: Pairs | None, seed: int) -> Floats:
    """A place in the unit square for each decoder row [n, d_in], [n, 2].

    Fewer than 8 features stand on a circle.
    """
    n = len(W_dec)
    if n < _FEWEST:
        angle = 2 * np.pi * np.arange(n) / max(n, 1)
        return 0.5 + 0.4 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    import openTSNE  # loads scikit-learn, of which other verbs need less
    from openTSNE.affinity import PrecomputedAffinities

    embedding = openTSNE.TSNEEmbedding(
        _start(W_dec, seed), PrecomputedAffinities(_attraction(W_dec, firing)), random_state=seed, n_jobs=1
    )
    for steps, momentum in _PHASES:
        embedding = embedding.optimize(steps, momentum=momentum)
    return _in_square(np.asarray(embedding, np.float64))


def _attraction(W_dec: Tensor, firing: Pairs | None) -> Any:
    """How strongly features attract each other: a sparse symmetric matrix [n, n] whose entries add up to 1."""
    from scipy.sparse import coo_array, diags_array

    n = len(W_dec)
    k = min(NEIGHBOURS, (n - 1) // 3)  # were all joined with all, they would end in one point
    found, cosines = decoder_neighbours(W_dec, k)
    rows: list[Ints] = [np.repeat(np.arange(n), k)]
    columns: list[Ints] = [found.numpy().ravel()]
    weights: list[Floats] = [cosines.clamp(1e-6, 1).numpy().ravel().astype(np.float64)]
    if firing is not None:
        rows.append(firing.one)
        columns.append(firing.other)
        weights.append(firing.jaccard)
    pairs = (np.concatenate(rows), np.concatenate(columns))
    near = coo_array((np.concatenate(weights), pairs), (n, n)).tocsr()
    near = near + near.T
    near = diags_array(1 / np.asarray(near.sum(1)).ravel()) @ near  # each feature is attracted as strongly
    near = near + near.T
    return (near / near.sum()).tocsr()


def regions(places: Floats) -> Regions:
    """The dense parts of a layout [n, 2], found by HDBSCAN; at most as many as a map may have."""
    from sklearn.cluster import HDBSCAN

    least = max(_SMALLEST_REGION, round(_SHARE_OF_REGION * len(places)))
    if len(places) < 2 * least:
        return Regions(np.full(len(places), -1), 0)
    found = (
        HDBSCAN(min_cluster_size=least, min_samples=5, cluster_selection_method="leaf", copy=True).fit(places).labels_
    )
    sizes = np.bincount(found[found >= 0], minlength=1)
    order = np.argsort(-sizes, kind="stable")[:MAX_REGIONS]
    order = order[sizes[order] > 0]
    numbers = np.full(len(sizes) + 1, -1)  # the last entry is for −1
    numbers[order] = np.arange(len(order))
    return Regions(numbers[found], len(order))


def _start(W_dec: Tensor, seed: int) -> NDArray[np.float64]:
    """The rows' first two principal components, as small as t-SNE wants them, with signs that are always the same.

    The seed moves each place a little, so that equal rows part.
    """
    rows = torch.nn.functional.normalize(W_dec.double(), dim=1)
    rows = rows - rows.mean(0)
    _, vectors = torch.linalg.eigh(rows.T @ rows)
    axes = vectors[:, [-1, -2]]
    axes = axes * axes.gather(0, axes.abs().argmax(0, keepdim=True)).sign()
    start = (rows @ axes).numpy()
    start = start / max(float(start[:, 0].std()), 1e-12)
    found: NDArray[np.float64] = 1e-4 * (start + 0.01 * np.random.default_rng(seed).normal(size=start.shape))
    return found


def _in_square(places: Floats) -> Floats:
    """Places moved and shrunk evenly, so that they lie within the unit square."""
    low, high = places.min(0), places.max(0)
    size = max(float((high - low).max()), 1e-12)
    found: Floats = np.clip(0.5 + (places - (low + high) / 2) / (1.02 * size), 0, 1)
    return found
