"""Predictions before and after something replaces the activations: shares, losses, intervals, recovered scores."""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import scipy
import torch
from torch import Tensor

from sae_pipeline.arrays import Floats, Ints
from sae_pipeline.classifier.logits import cross_entropy, kl_divergence, softmax
from sae_pipeline.intervals import paired_interval, share_interval
from sae_pipeline.schema.common import PositionKind
from sae_pipeline.schema.reports import SpliceBaseline, SpliceReport

Removal = Literal["zero", "mean", "resample"]
REMOVALS: tuple[Removal, ...] = get_args(Removal)
MIN_HEADLINES_FOR_INTERVAL = 30  # with fewer headlines a 95 % interval of a share says nothing


def removals(acts: Tensor, mean: Tensor, seed: int) -> dict[Removal, Tensor]:
    """What replaces activations [n, d_in] when nothing of them is to be left, each [n, d_in].

    "zero" is 0, "mean" is `mean` [d_in], and "resample" is the activations themselves in a random order.
    """
    order = torch.randperm(len(acts), generator=torch.Generator().manual_seed(seed))
    return {"zero": torch.zeros_like(acts), "mean": mean.expand_as(acts), "resample": acts[order.to(acts.device)]}


def splice_report(
    split: str,
    positions: PositionKind,
    labels: Sequence[int] | Ints,
    clean: Floats,
    spliced: Floats,
    removed: dict[Removal, Floats] | None = None,
) -> SpliceReport:
    """Compare predictions with and without the reconstruction; logits are [n_headlines, n_classes].

    `removed` are the logits under zero, mean and resample ablation, which normalise the recovered scores.
    """
    truth = np.asarray(labels)
    n = len(truth)
    before, after = clean.argmax(-1), spliced.argmax(-1)
    lost, gained = (int(((a == truth) & (b != truth)).sum()) for a, b in ((before, after), (after, before)))
    kept = int((before == after).sum())
    loss = {"clean": float(cross_entropy(clean, truth).mean()), "spliced": float(cross_entropy(spliced, truth).mean())}
    accuracy = {"clean": float((before == truth).mean()), "spliced": float((after == truth).mean())}
    p, q = softmax(clean.astype(np.float64)), softmax(spliced.astype(np.float64))
    enough = n >= MIN_HEADLINES_FOR_INTERVAL
    return SpliceReport(
        split=split,
        positions=positions,
        n_headlines=n,
        accuracy_clean=accuracy["clean"],
        accuracy_spliced=accuracy["spliced"],
        unchanged=kept / n,
        unchanged_interval=share_interval(kept, n) if enough else None,
        accuracy_change_interval=paired_interval(lost, gained, n) if enough else None,
        lost=lost,
        gained=gained,
        mcnemar_p=min(1.0, float(scipy.stats.binomtest(gained, lost + gained).pvalue)) if lost + gained else 1.0,
        mean_kl=float(kl_divergence(p, q).mean()),
        cross_entropy_clean=loss["clean"],
        cross_entropy_spliced=loss["spliced"],
        baselines=[_baseline(kind, logits, truth, accuracy, loss) for kind, logits in (removed or {}).items()],
    )


def _baseline(
    kind: Removal, logits: Floats, truth: Ints, accuracy: dict[str, float], loss: dict[str, float]
) -> SpliceBaseline:
    reached, cost = float((logits.argmax(1) == truth).mean()), float(cross_entropy(logits, truth).mean())

    def recovered(spliced: float, clean: float, removed: float) -> float:
        return (spliced - removed) / (clean - removed) if abs(clean - removed) > 1e-12 else 0.0

    return SpliceBaseline(
        kind=kind,
        accuracy=reached,
        cross_entropy=cost,
        recovered_accuracy=recovered(accuracy["spliced"], accuracy["clean"], reached),
        recovered_loss=recovered(loss["spliced"], loss["clean"], cost),
    )
