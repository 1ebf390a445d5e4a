"""How far estimated effects can be trusted: their correlation with true ablations."""

from collections.abc import Iterator

import numpy as np
import scipy

from sae_pipeline.arrays import Floats
from sae_pipeline.causal.attribution import ORDERS, Order, ablate, ranked_groups
from sae_pipeline.causal.block import Block
from sae_pipeline.causal.probe import Probe
from sae_pipeline.config import InterveneConfig
from sae_pipeline.schema.cause_dicts import AgreementDict
from sae_pipeline.schema.causes import EstimateName

_SCATTER = 500  # pairs that are kept for a plot
_ESTIMATES: tuple[EstimateName, ...] = ("gradient", "integrated")


class Agreements:
    """Collects pairs of an estimated and a true effect on the predicted class, over a sample of headlines."""

    def __init__(self, probe: Probe, config: InterveneConfig, headlines: set[int]) -> None:
        self._probe, self._config, self._headlines = probe, config, headlines
        # By the way the features are chosen: [n, 4] headline, both estimates, true effect.
        self._pairs: dict[Order, list[Floats]] = {order: [] for order in ORDERS}

    def add(self, block: Block) -> None:
        """Ablate the leading features of the block's headlines in the sample."""
        reading, config = block.reading, self._config
        rows = block.rows_in(self._headlines)
        predicted = reading.logits.argmax(1)[reading.firings.group_headline]
        for order in ORDERS:
            ranked = ranked_groups(reading, order, block.gradients, config.seed + block.first)
            groups = np.concatenate([ranked[h][: config.features_per_headline] for h in rows] or [np.zeros(0, int)])
            truth = ablate(self._probe, reading, groups).logits
            headline, own = reading.firings.group_headline[groups] + block.first, predicted[groups]
            estimates = (block.gradients[groups, own], block.effects[groups, own])
            self._pairs[order].append(np.stack([headline, *estimates, truth[np.arange(len(groups)), own]], 1))

    def records(self) -> Iterator[AgreementDict]:
        """One record per way of choosing features and estimate; none where there are fewer than two pairs."""
        for chosen, parts in self._pairs.items():
            headline, *estimates, truth = np.concatenate(parts).T
            if len(truth) < 2:
                continue
            kept = np.random.default_rng(self._config.seed).permutation(len(truth))[:_SCATTER]
            members = [np.flatnonzero(headline == h) for h in np.unique(headline)]
            for name, estimate in zip(_ESTIMATES, estimates, strict=True):
                within = [correlations(estimate[m], truth[m]) for m in members if len(m) > 2]
                pooled = correlations(estimate, truth)
                medians = np.median(within, 0) if within else (0.0, 0.0)
                yield {
                    "estimate": name,
                    "chosen": chosen,
                    "n_headlines": len(members),
                    "n_pairs": len(truth),
                    "pearson": pooled[0],
                    "spearman": pooled[1],
                    "pearson_within": medians[0],
                    "spearman_within": medians[1],
                    "estimates": estimate[kept],
                    "truths": truth[kept],
                }


def correlations(a: Floats, b: Floats) -> tuple[float, float]:
    """Pearson's and Spearman's correlation of a and b, both [n]; 0 where one of the two does not vary."""

    def pearson(x: Floats, y: Floats) -> float:
        x, y = x - x.mean(), y - y.mean()
        norm = float(np.sqrt((x @ x) * (y @ y)))
        return float(x @ y) / norm if norm > 0 else 0.0

    return pearson(a, b), pearson(scipy.stats.rankdata(a), scipy.stats.rankdata(b))
