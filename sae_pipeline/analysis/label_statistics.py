"""AUROC, mutual information and selectivity of features, from counts of headlines.

The unit is the headline, and m is the feature's maximum over its counted tokens. A headline enters the counts by its
true label and its bin of m alone.

Values within a bin count as ties. A tie counts one half, so binning moves AUROC by at most ½·Σ_b p_b·n_b over the bins
of firing headlines, p_b and n_b being their shares of the class and of the rest.
"""

import numpy as np

from sae_pipeline.analysis.feature_stats import FeatureStats
from sae_pipeline.arrays import Flags, Floats, Ints
from sae_pipeline.schema.common import MIN_HEADLINES

TINY = 1e-12


def cells_of(stats: FeatureStats, half: int) -> Ints:
    """Headlines of a half by bin and class, [d_sae, 1 + bins, n_classes]. In bin 0 the feature is silent."""
    fired = stats.class_histogram[half].transpose(1, 2, 0)
    silent = stats.class_sizes[half] - fired.sum(1)
    return np.concatenate([silent[:, None], fired], 1)


def class_and_rest(cells: Ints, label: int) -> tuple[Ints, Ints]:
    """The counts of a class and of all other classes, each [d_sae, 1 + bins]."""
    return cells[..., label], cells.sum(-1) - cells[..., label]


def auroc_of(positive: Ints | Floats, negative: Ints | Floats) -> Floats:
    """AUROC [n] from counts [n, bins] in ascending bins; 0.5 where either side has no headlines."""
    below = np.cumsum(negative, 1) - 0.5 * negative
    pairs = positive.sum(1).astype(np.float64) * negative.sum(1)
    wins = (positive * below).sum(1)
    return np.asarray(np.divide(wins, pairs, out=np.full(pairs.shape, 0.5), where=pairs > 0))


def silent_and_firing(cells: Ints | Floats) -> Floats:
    """Add up the bins in which a feature fires: [n, 1 + bins, n_classes, …] → [n, 2, n_classes, …]."""
    return np.stack([cells[:, 0], cells[:, 1:].sum(1)], 1)


def information_of(table: Floats) -> Floats:
    """Plug-in mutual information in bits of tables [n, 2, n_classes, …]."""
    joint = table / np.maximum(table.sum((1, 2), keepdims=True), TINY)
    independent = joint.sum(1, keepdims=True) * joint.sum(2, keepdims=True)
    ratio = np.divide(joint, independent, out=np.ones_like(joint), where=joint > 0)
    return np.asarray((joint * np.log2(ratio)).sum((1, 2)))


def information_bias(table: Floats) -> Floats:
    """The bias of the plug-in mutual information in bits: degrees of freedom / (2 n ln 2) (Miller 1955)."""
    n_classes = (table.sum(1) > 0).sum(1)
    return np.asarray(np.maximum(n_classes - 1, 0) / (2 * np.log(2) * np.maximum(table.sum((1, 2)), 1)))


def selectivity_of(means: Floats, best: Ints) -> Floats:
    """Selectivity of the class `best` [n], from class means [n, n_classes, …]; 0 where the feature is silent."""
    chosen = np.take_along_axis(means, best.reshape(-1, *[1] * (means.ndim - 1)), 1)[:, 0]
    others = (means.sum(1) - chosen) / max(means.shape[1] - 1, 1)
    total = chosen + others
    return np.asarray(np.divide(chosen - others, total, out=np.zeros_like(total), where=total > 0))


def class_means(stats: FeatureStats) -> Floats:
    """The mean of m in each half and class, [2, n_classes, d_sae]."""
    return np.asarray(stats.class_sums / np.maximum(stats.class_sizes, 1)[..., None])


def enough_firing(stats: FeatureStats) -> Flags:
    """Whether the feature fires on at least MIN_HEADLINES headlines of each half, [2, d_sae]."""
    return np.asarray(stats.class_histogram.sum((1, 3)) >= MIN_HEADLINES)


def smaller_side(stats: FeatureStats, label: int, half: int) -> int:
    """The headlines of the class in a half, or of the rest if these are fewer."""
    sizes = stats.class_sizes[half]
    return int(min(sizes[label], sizes.sum() - sizes[label]))
