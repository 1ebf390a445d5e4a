"""What an SAE's figures must be held against: PCA, raw neurons, k-sparse probes of their features.

Both controls are written as SAEs, so that the same code judges them: ± pairs of directions, of which relu leaves one.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse, stats
from scipy.optimize import minimize
from torch import Tensor

from sae_pipeline.errors import UserError
from sae_pipeline.sae.autoencoder import SaeConfig, SparseAutoencoder
from sae_pipeline.sae.firings import Firings
from sae_pipeline.schema.controls import ProbeScore

_RIDGE = 1e-2  # weight of ‖w‖²/2 against the mean log-loss of a probe
_CHUNK = 4096  # tokens


def pca(acts: Tensor, like: SparseAutoencoder, k: int) -> SparseAutoencoder:
    """The k leading principal components of acts [n, d_in] as an SAE: L0 is k, and no rank-k code has a lower FVU."""
    d_in = like.config.d_in
    if not 1 <= k <= d_in:
        raise UserError(f"PCA has 1 to {d_in} components here, not {k}.")
    x = (acts.to(like.mean.device).float() - like.mean) / like.scale
    directions = torch.linalg.eigh(x.T.double() @ x.double())[1].flip(1)[:, :k].T.float()
    return _pairs(like, directions, SaeConfig.model_validate(like.config.model_dump() | _FREE | {"d_sae": 2 * k}))


def neurons(like: SparseAutoencoder, k: int) -> SparseAutoencoder:
    """The k largest coordinates of x_norm by magnitude, as a TopK SAE."""
    d_in = like.config.d_in
    changes = _FREE | {"d_sae": 2 * d_in, "kind": "topk", "k": k}
    return _pairs(like, torch.eye(d_in), SaeConfig.model_validate(like.config.model_dump() | changes))


_FREE: dict[str, Any] = {"kind": "relu", "k": None, "prefixes": (), "sparsity_weight": 0.0}


def _pairs(like: SparseAutoencoder, directions: Tensor, config: SaeConfig) -> SparseAutoencoder:
    sae = SparseAutoencoder(config, like.mean, like.scale).to(like.W_dec.device).requires_grad_(False)
    rows = torch.cat([directions, -directions]).to(like.W_dec.device)
    sae.W_dec.copy_(rows)
    sae.W_enc.copy_(rows.T)
    return sae


# --- k-sparse probing ----------------------------------------------------------------------------------


def headline_maxima(sae: SparseAutoencoder, acts: Tensor, headline: Tensor, n_headlines: int) -> Any:
    """Each feature's maximum over a headline's tokens: scipy CSR [n_headlines, d_sae].

    `acts` [n_tokens, d_in] and the headline of every token, int64 [n_tokens].
    """
    parts = []
    for start in range(0, len(acts), _CHUNK):
        token, feature, value = sae.encode_active(acts[start : start + _CHUNK].float().to(sae.W_dec.device))
        parts.append((headline[start : start + _CHUNK].cpu().numpy()[token], token + start, feature, value))
    f = Firings.collect(*(np.concatenate(column) for column in zip(*parts, strict=True)))
    shape = (n_headlines, sae.config.d_sae)
    return sparse.csr_matrix((f.group_max, (f.group_headline, f.group_feature)), shape=shape)


def probe_scores(
    train: Any, train_labels: Sequence[int], test: Any, test_labels: Sequence[int], sizes: Sequence[int]
) -> list[ProbeScore]:
    """k-sparse probing (Gurnee et al. 2023), for CSR matrices of headline maxima [n_headlines, d_sae].

    For each class the k features whose means differ most between the class and the rest, in pooled standard
    deviations on train, then a logistic regression on these alone; one-against-rest AUROC on test, mean over classes.
    """
    y, z = np.asarray(train_labels), np.asarray(test_labels)
    classes = sorted(set(y.tolist()) & set(z.tolist()))
    if len(classes) < 2:
        raise UserError("Probing needs headlines of at least two classes in train and in test.")
    order = {c: np.argsort(-_separation(train, y == c), kind="stable") for c in classes}
    scores = []
    for k in sizes:
        areas = []
        for c in classes:
            chosen = order[c][:k]
            weights = _logistic(train[:, chosen].toarray(), y == c)
            areas.append(_auroc(test[:, chosen].toarray() @ weights, z == c))
        scores.append(ProbeScore(k=k, auroc=float(np.mean(areas))))
    return scores


def _separation(features: Any, inside: NDArray[np.bool_]) -> NDArray[np.float64]:
    """|difference of means| / pooled standard deviation, per feature."""
    means, variances = [], []
    for rows in (inside, ~inside):
        part = features[rows].astype(np.float64)
        mean = np.asarray(part.mean(0)).ravel()
        means.append(mean)
        variances.append(np.asarray(part.multiply(part).mean(0)).ravel() - mean**2)
    share = inside.mean()
    pooled = share * variances[0] + (1 - share) * variances[1]
    spread: NDArray[np.float64] = np.abs(means[0] - means[1]) / np.sqrt(np.maximum(pooled, 0) + 1e-3)
    return spread


def _logistic(x: NDArray[Any], y: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Weights [k] of a ridge-penalised logistic regression on standardised columns, in the columns' own units."""
    scale = x.std(0) + 1e-6
    design = np.column_stack([(x - x.mean(0)) / scale, np.ones(len(x))])
    sign = np.where(y, 1.0, -1.0)

    def loss(w: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        margin = sign * (design @ w)
        slope = -sign / (1 + np.exp(np.clip(margin, -500, 500)))
        penalty = _RIDGE * np.append(w[:-1], 0.0)
        return float(np.logaddexp(0, -margin).mean() + penalty @ w / 2), design.T @ slope / len(y) + penalty

    found: NDArray[np.float64] = minimize(loss, np.zeros(design.shape[1]), jac=True, method="L-BFGS-B").x
    weights: NDArray[np.float64] = found[:-1] / scale
    return weights


def _auroc(score: NDArray[Any], y: NDArray[np.bool_]) -> float:
    """Chance that a headline of the class scores above one of the rest; ties count half."""
    ranks, n = stats.rankdata(score), int(y.sum())
    return float((ranks[y].sum() - n * (n + 1) / 2) / (n * (len(y) - n)))
