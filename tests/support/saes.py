"""Small SAEs for tests."""

import torch

from sae_pipeline.sae.autoencoder import SaeConfig, SparseAutoencoder
from sae_pipeline.schema.run import Hookpoint


def sae_config(d_in: int = 12, d_sae: int = 40) -> SaeConfig:
    """The config of a ReLU SAE, with made-up hashes."""
    return SaeConfig(
        d_in=d_in,
        d_sae=d_sae,
        kind="relu",
        recipe="default",
        l1_coefficient=1e-3,
        sparsity_weight=1.0,
        positions="words",
        hookpoint=Hookpoint(layer=2, module="encoder.layer.1"),
        classifier_hash="c" * 12,
        data_hash="d" * 12,
    )


def drawn(seed: int, *shape: int) -> torch.Tensor:
    """Normal numbers."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def random_sae(d_in: int = 12, d_sae: int = 40) -> SparseAutoencoder:
    """An SAE with random weights, the same at every call."""
    sae = SparseAutoencoder(sae_config(d_in, d_sae), drawn(0, d_in), drawn(1).abs() + 0.5)
    with torch.no_grad():
        for seed, parameter in enumerate(sae.parameters(), 2):
            parameter.copy_(drawn(seed, *parameter.shape))
        sae.W_dec /= sae.W_dec.norm(dim=1, keepdim=True)
    return sae.requires_grad_(False)


def identity_sae(d_in: int, mean: torch.Tensor) -> SparseAutoencoder:
    """Features are ±x_norm: reconstructs anything, d_in features active."""
    sae = random_sae(d_in, 2 * d_in)
    with torch.no_grad():
        eye = torch.eye(d_in)
        sae.mean.copy_(mean)
        sae.W_enc.copy_(torch.cat([eye, -eye], 1))
        sae.W_dec.copy_(torch.cat([eye, -eye]))
        sae.b_enc.zero_()
        sae.b_dec.zero_()
    return sae
