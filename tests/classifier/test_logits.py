"""What logits say, against formulas and at the limits of float64."""

import numpy as np
import pytest

from sae_pipeline.classifier.logits import centred, cross_entropy, kl_divergence, softmax

LOGITS = np.random.default_rng(0).normal(size=(5, 3)) * 4
LABELS = np.array([0, 1, 2, 0, 1])


def test_against_formulas() -> None:
    """Probabilities, their divergence and the loss are those of the definitions."""
    p = np.exp(LOGITS) / np.exp(LOGITS).sum(1, keepdims=True)
    q = np.roll(p, 1, axis=0)
    np.testing.assert_allclose(softmax(LOGITS), p, rtol=1e-12)
    np.testing.assert_allclose(kl_divergence(p, q), (p * np.log(p / q)).sum(1), rtol=1e-9)
    np.testing.assert_allclose(cross_entropy(LOGITS, LABELS), -np.log(p[np.arange(5), LABELS]), rtol=1e-12)


def test_centring_changes_no_probability() -> None:
    """Centred logits add up to 0 and give the same probabilities."""
    np.testing.assert_allclose(centred(LOGITS).sum(1), 0, atol=1e-12)
    np.testing.assert_allclose(softmax(centred(LOGITS)), softmax(LOGITS), rtol=1e-12)


def test_limits() -> None:
    """Certain predictions overflow nothing, and equal predictions have no divergence."""
    certain = np.array([[0.0, 2000.0]])
    assert softmax(certain).tolist() == [[0, 1]]
    assert cross_entropy(certain, np.array([0])) == pytest.approx([2000])
    assert kl_divergence(softmax(LOGITS), softmax(LOGITS)).tolist() == [0] * 5
