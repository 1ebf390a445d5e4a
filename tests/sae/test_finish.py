"""The end-to-end finish: its gradients against autograd."""

import torch

from sae_pipeline.sae.finish import reconstruct
from tests.support.saes import random_sae


def test_gradients_of_the_finish() -> None:
    """The sparse reconstruction's gradients are autograd's, in every weight."""
    sae, x = random_sae(), torch.randn(40, 12)
    target = torch.randn(40, 12)
    for parameter in sae.parameters():
        parameter.requires_grad_(True)
    assert torch.allclose(reconstruct(sae, x), sae(x), atol=1e-5)
    ours = torch.autograd.grad((reconstruct(sae, x) * target).sum(), list(sae.parameters()))
    theirs = torch.autograd.grad((sae(x) * target).sum(), list(sae.parameters()))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
