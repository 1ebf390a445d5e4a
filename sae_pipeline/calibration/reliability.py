"""Whether a probability of 80 % means right in 80 % of the cases, and the temperature with which it does."""

import numpy as np
import scipy

from sae_pipeline.arrays import Floats, Ints
from sae_pipeline.classifier.logits import cross_entropy, softmax
from sae_pipeline.intervals import share_interval
from sae_pipeline.schema.calibration import Reliability, ReliabilityBin

_TEMPERATURES = (0.05, 20.0)
_BINS = 10


def fitted_temperature(logits: Floats, labels: Ints) -> float:
    """The temperature that gives the true classes [n] the highest likelihood under logits [n, n_classes] (Guo 2017)."""

    def loss(log_temperature: float) -> float:
        return float(cross_entropy(logits / np.exp(log_temperature), labels).mean())

    found = scipy.optimize.minimize_scalar(loss, bounds=np.log(_TEMPERATURES), method="bounded")
    return float(np.exp(found.x))


def reliability(logits: Floats, labels: Ints) -> Reliability:
    """How well the probabilities of logits [n, n_classes] fit the true classes [n]."""
    probabilities = softmax(logits)
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    truth = np.eye(probabilities.shape[1])[labels]
    parts = [part for part in np.array_split(np.argsort(confidence, kind="stable"), _BINS) if len(part)]
    bins = []
    for part in parts:
        low, high = share_interval(int(right[part].sum()), len(part))
        bins.append(
            ReliabilityBin(
                n_headlines=len(part),
                confidence=float(confidence[part].mean()),
                accuracy=float(right[part].mean()),
                low=low,
                high=high,
            )
        )
    return Reliability(
        confidence=float(confidence.mean()),
        nll=float(cross_entropy(logits, labels).mean()),
        brier=float(np.square(probabilities - truth).sum(1).mean()),
        ece=sum(one.n_headlines * abs(one.confidence - one.accuracy) for one in bins) / len(labels),
        bins=bins,
    )
