"""What an SAE's figures must be compared with: principal components and raw neurons, both written as SAEs.

Each direction is a feature twice, once with each sign, and relu keeps one of the two. So the same code judges an SAE
and its controls.
"""

from typing import Any

import torch
from sklearn.decomposition import PCA
from torch import Tensor

from sae_pipeline.errors import UserError
from sae_pipeline.sae.autoencoder import SaeConfig, SparseAutoencoder

_FREE: dict[str, Any] = {"kind": "relu", "k": None, "prefixes": (), "sparsity_weight": 0.0}


def pca(acts: Tensor, like: SparseAutoencoder, k: int) -> SparseAutoencoder:
    """The k leading principal components of acts [n_tokens, d_in] as an SAE of `like`'s units.

    Its L0 is k, and no code of rank k has a lower FVU. Raises UserError when there are fewer than k components.
    """
    n_components = min(acts.shape)
    if not 1 <= k <= n_components:
        raise UserError(f"PCA has 1 to {n_components} components here, not {k}.")
    x_norm = like.normalise(acts.to(like.mean.device).float()).cpu().numpy()
    components = PCA(k, svd_solver="covariance_eigh").fit(x_norm).components_
    return _pairs(like, torch.from_numpy(components).float(), {"d_sae": 2 * k})


def neurons(like: SparseAutoencoder, k: int) -> SparseAutoencoder:
    """A TopK SAE whose features are the neurons: of each token it keeps the k coordinates of x_norm largest in size."""
    d_in = like.config.d_in
    return _pairs(like, torch.eye(d_in), {"d_sae": 2 * d_in, "kind": "topk", "k": k})


def _pairs(like: SparseAutoencoder, directions: Tensor, changes: dict[str, Any]) -> SparseAutoencoder:
    """An SAE whose features are `directions` [n, d_in] and their opposites."""
    config = SaeConfig.model_validate(like.config.model_dump() | _FREE | changes)
    sae = SparseAutoencoder(config, like.mean, like.scale).to(like.W_dec.device).requires_grad_(False)
    rows = torch.cat([directions, -directions]).to(like.W_dec.device)
    sae.W_dec.copy_(rows)
    sae.W_enc.copy_(rows.T)
    return sae
