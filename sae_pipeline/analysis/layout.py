"""Placing features in the plane: features with like decoder rows lie together.

The layout is t-SNE (van der Maaten & Hinton 2008) by openTSNE, on the exact nearest decoder rows by cosine. Attraction
is exaggerated fourfold throughout, which draws groups together as UMAP does (Böhm, Berens & Kobak 2022). One thread
and a fixed seed make it the same each time.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sae_pipeline.analysis.neighbours import decoder_neighbours
from sae_pipeline.arrays import Floats, Ints
from sae_pipeline.errors import UserError
from sae_pipeline.schema.map import MAX_REGIONS

NEIGHBOURS = 15
EXAGGERATION = 4
_STEPS = 250  # of each of the two phases
_FEWEST = 8  # features below which nearest neighbours say nothing, so that they stand on a circle
_SHARE_OF_REGION = 0.004  # of the features, in the smallest region
_SMALLEST_REGION = 8  # features


class Regions(NamedTuple):
    """Dense parts of a layout, the largest first."""

    of_feature: Ints
    """[n] index of each feature's region; -1 between regions."""
    n: int


def method() -> str:
    """How `place` works, for the record. Raises UserError where openTSNE is not installed."""
    tsne = _tsne()
    return (
        f"t-SNE of the decoder rows by openTSNE {tsne.__version__}: the {NEIGHBOURS} nearest rows by cosine with equal "
        f"weight, exaggeration {EXAGGERATION}, {2 * _STEPS} steps from principal components"
    )


def place(W_dec: Tensor, seed: int) -> Floats:
    """A place in the unit square for each decoder row [n, d_in], [n, 2].

    Fewer than 8 features stand on a circle. Raises UserError where openTSNE is not installed.
    """
    tsne = _tsne()
    n = len(W_dec)
    if n < _FEWEST:
        angle = 2 * np.pi * np.arange(n) / max(n, 1)
        return 0.5 + 0.4 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    from openTSNE.affinity import Uniform
    from openTSNE.nearest_neighbors import PrecomputedNeighbors

    k = min(NEIGHBOURS, n - 1)
    found, cosines = decoder_neighbours(W_dec, k)
    distances = (1 - cosines.clamp(-1, 1)).numpy()
    affinities = Uniform(
        knn_index=PrecomputedNeighbors(found.numpy().astype(np.int64), distances), k_neighbors=k, symmetrize="mean"
    )
    embedding = tsne.TSNEEmbedding(_start(W_dec), affinities, random_state=seed, n_jobs=1)
    for momentum in (0.5, 0.8):
        embedding = embedding.optimize(_STEPS, exaggeration=EXAGGERATION, momentum=momentum)
    return _in_square(np.asarray(embedding, np.float64))


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


def _start(W_dec: Tensor) -> NDArray[np.float64]:
    """The rows' first two principal components, as small as t-SNE wants them, with signs that are always the same."""
    rows = torch.nn.functional.normalize(W_dec.double(), dim=1)
    rows = rows - rows.mean(0)
    _, vectors = torch.linalg.eigh(rows.T @ rows)
    axes = vectors[:, [-1, -2]]
    axes = axes * axes.gather(0, axes.abs().argmax(0, keepdim=True)).sign()
    start = (rows @ axes).numpy()
    found: NDArray[np.float64] = start / max(float(start[:, 0].std()), 1e-12) * 1e-4
    return found


def _in_square(places: Floats) -> Floats:
    """Places moved and shrunk evenly, so that they lie within the unit square."""
    low, high = places.min(0), places.max(0)
    size = max(float((high - low).max()), 1e-12)
    return np.clip(0.5 + (places - (low + high) / 2) / (1.02 * size), 0, 1)


def _tsne() -> Any:
    try:
        import openTSNE
    except ImportError as error:
        raise UserError('The map needs openTSNE: run `pip install "finbert-sae-explorer[map]"`.') from error
    return openTSNE
