"""The end-to-end finish: its gradients against autograd, and what it refuses."""

import pytest
import torch

from sae_pipeline.classifier.classifier import Classifier
from sae_pipeline.config import FinishConfig
from sae_pipeline.errors import UserError
from sae_pipeline.sae.finish import finish, reconstruct
from tests.support.operations import ADDS_ATOMICALLY, Operations
from tests.support.saes import random_sae


def test_gradients_of_the_finish() -> None:
    """The sparse reconstruction's gradients are autograd's, in every weight."""
    sae, x = random_sae(), torch.randn(40, 12)
    target = torch.randn(40, 12)
    for parameter in sae.parameters():
        parameter.requires_grad_(True)
    assert torch.allclose(reconstruct(sae, x), sae(x), atol=1e-5)
    ours = torch.autograd.grad((reconstruct(sae, x) * target).sum(), list(sae.parameters()))
    with Operations() as run:
        torch.autograd.grad((reconstruct(sae, x) * target).sum(), list(sae.parameters()))
    assert not run.names & ADDS_ATOMICALLY
    theirs = torch.autograd.grad((sae(x) * target).sum(), list(sae.parameters()))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_rows_of_different_lengths(classifier: Classifier) -> None:
    """An imported SAE whose decoder rows are not equally long is refused before any headline is read."""
    sae = random_sae(classifier.record.d_model)
    sae.config = sae.config.model_copy(update={"classifier_hash": classifier.hash})
    sae.W_dec *= torch.linspace(0.5, 2, 40)[:, None]
    with pytest.raises(UserError, match="not equally long, and finish works on rows of length 1"):
        finish(sae, classifier, [], FinishConfig(), lambda step, figures: None)
