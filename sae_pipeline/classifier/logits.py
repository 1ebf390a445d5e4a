"""What logits say: probabilities, centred logits, and the distances between two sets of predictions."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from sae_pipeline.arrays import Floats, Ints


def centred(logits: Floats) -> Floats:
    """Subtract from logits [..., n_classes] their mean over the classes, which changes no probability."""
    return np.asarray(logits - logits.mean(-1, keepdims=True))


def softmax(logits: Floats) -> Floats:
    """Probabilities [..., n_classes] of logits [..., n_classes]."""
    return np.asarray(special.softmax(logits, axis=-1))


def kl_divergence(p: Floats, q: Floats) -> Floats:
    """KL(p ‖ q) in nats, [n], of probabilities [n, n_classes]."""
    return np.asarray(special.rel_entr(p, q).sum(-1)).clip(0)  # rounding may leave it below 0


def cross_entropy(logits: NDArray[Any], labels: Ints) -> Floats:
    """−ln p of the true class in nats, [n], for logits [n, n_classes] and labels [n]."""
    return np.asarray(-special.log_softmax(logits, axis=-1)[np.arange(len(labels)), labels])
