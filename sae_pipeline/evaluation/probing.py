"""k-sparse probing: how well the k best features alone predict a headline's label (Gurnee et al. 2023)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from sae_pipeline.arrays import Flags, Floats
from sae_pipeline.errors import UserError
from sae_pipeline.sae.autoencoder import SparseAutoencoder
from sae_pipeline.sae.firings import Firings
from sae_pipeline.schema.controls import ProbeScore

_RIDGE = 1e-2  # weight of ‖w‖²/2 against the mean log-loss of a probe
_CHUNK = 4096  # tokens that are encoded at a time


def headline_maxima(sae: SparseAutoencoder, acts: Tensor, headline: Tensor, n_headlines: int) -> sparse.csr_matrix:
    """Each feature's maximum over a headline's tokens, [n_headlines, d_sae].

    `acts` [n_tokens, d_in] are in the classifier's units; `headline`, int64 [n_tokens], is each token's headline.
    """
    parts = []
    for start in range(0, len(acts), _CHUNK):
        token, feature, value = sae.encode_active(acts[start : start + _CHUNK].float().to(sae.W_dec.device))
        parts.append((headline[start : start + _CHUNK].cpu().numpy()[token], token + start, feature, value))
    f = Firings.collect(*(np.concatenate(column) for column in zip(*parts, strict=True)))
    shape = (n_headlines, sae.config.d_sae)
    return sparse.csr_matrix((f.group_max, (f.group_headline, f.group_feature)), shape=shape)


def probe_scores(
    train: sparse.csr_matrix,
    train_labels: Sequence[int],
    test: sparse.csr_matrix,
    test_labels: Sequence[int],
    sizes: Sequence[int],
) -> list[ProbeScore]:
    """Score probes of every size in `sizes` on headline maxima [n_headlines, d_sae].

    For each class, the k features are those whose means differ most between the class and the rest on train, in pooled
    standard deviations. A logistic regression on them is fitted on train; the score is its one-against-rest AUROC on
    test, averaged over classes. Raises UserError when fewer than two classes stand in both splits.
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
            probe = make_pipeline(StandardScaler(), LogisticRegression(C=1 / (_RIDGE * len(y)), max_iter=1000))
            probe.fit(train[:, chosen].toarray(), y == c)
            areas.append(roc_auc_score(z == c, probe.decision_function(test[:, chosen].toarray())))
        scores.append(ProbeScore(k=k, auroc=float(np.mean(areas))))
    return scores


def _separation(features: Any, inside: Flags) -> Floats:
    """|difference of means| / pooled standard deviation of each feature, [d_sae]."""
    means, variances = [], []
    for rows in (inside, ~inside):
        part = features[rows].astype(np.float64)
        mean = np.asarray(part.mean(0)).ravel()
        means.append(mean)
        variances.append(np.asarray(part.multiply(part).mean(0)).ravel() - mean**2)
    share = inside.mean()
    pooled = share * variances[0] + (1 - share) * variances[1]
    return np.asarray(np.abs(means[0] - means[1]) / np.sqrt(np.maximum(pooled, 0) + 1e-3))
