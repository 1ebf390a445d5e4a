"""Logits as probabilities and losses."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sae_pipeline.arrays import Floats


def centred(logits: Floats) -> Floats:
    """Logits [..., n_classes] less their mean over the classes."""
    less: Floats = logits - logits.mean(-1, keepdims=True)
    return less


def softmax(logits: Floats) -> Floats:
    """Probabilities [..., n_classes]."""
    exponent = np.exp(logits - logits.max(-1, keepdims=True))
    return exponent / exponent.sum(-1, keepdims=True)  # type: ignore[no-any-return]


def divergence(p: Floats, q: Floats) -> Floats:
    """KL(p ‖ q) [n] in nats, of probabilities [n, n_classes]."""
    return np.maximum(0.0, (p * np.log(np.maximum(p, 1e-30) / np.maximum(q, 1e-30))).sum(1))  # type: ignore[no-any-return]


def cross_entropy(logits: Floats, labels: NDArray[Any]) -> Floats:
    """−ln p of the true class, [n]."""
    p: Floats = softmax(logits)[np.arange(len(labels)), labels]
    return -np.log(np.maximum(p, 1e-30))
