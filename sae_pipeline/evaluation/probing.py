"""Probes of the labels: how well the k best units alone predict a headline's label, and how well all of them do.

For each class, the k units are those whose means differ most between the class and the rest on train, in pooled
standard deviations (Gurnee et al. 2023). A logistic regression on them is fitted on train, against all other classes;
its ridge is chosen on dev, and test only scores. Units are scaled by train.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.preprocessing import MaxAbsScaler, StandardScaler
from torch import Tensor

from sae_pipeline.arrays import Flags, Floats, Ints
from sae_pipeline.errors import UserError
from sae_pipeline.sae.autoencoder import SparseAutoencoder
from sae_pipeline.sae.firings import Firings

RIDGES = (1e-1, 1e-2, 1e-3, 1e-4)  # weights of ‖w‖²/2 against the mean log-loss, tried on dev
_CHUNK = 4096  # tokens that are encoded at a time


class SplitLabels(NamedTuple):
    """The labels of each split, [n_headlines]."""

    train: Ints
    dev: Ints
    test: Ints

    def classes(self) -> list[int]:
        """The classes that occur in train and in test. Raises UserError for fewer than two, and for an empty dev."""
        found = sorted(set(self.train.tolist()) & set(self.test.tolist()))
        if len(found) < 2 or not len(self.dev):
            raise UserError("Probing needs headlines of at least two classes in train and in test, and some in dev.")
        return found


class SplitUnits(NamedTuple):
    """What a probe reads of the headlines of each split: [n_headlines, n_units], dense or sparse."""

    train: Any
    dev: Any
    test: Any


@dataclass(frozen=True, eq=False)
class Probe:
    """A fitted probe on test."""

    k: int | None  # units per class; None: all
    ridge: float  # chosen on dev
    scores: Floats  # [n_headlines, n_classes] log-odds of each class against the rest


def headline_maxima(sae: SparseAutoencoder, acts: Tensor, headline: Tensor, n_headlines: int) -> sparse.csr_matrix:
    """Each feature's maximum over a headline's tokens, sparse [n_headlines, d_sae]; 0 where the feature is silent.

    `acts` [n_tokens, d_in] are in the classifier's units; `headline`, int64 [n_tokens], is the 0-based index of each
    token's headline.
    """
    parts = []
    for start in range(0, len(acts), _CHUNK):
        token, feature, value = sae.encode_active(acts[start : start + _CHUNK].float().to(sae.W_dec.device))
        parts.append((headline[start : start + _CHUNK].cpu().numpy()[token], token + start, feature, value))
    f = Firings.collect(*(np.concatenate(column) for column in zip(*parts, strict=True)))
    shape = (n_headlines, sae.config.d_sae)
    return sparse.csr_matrix((f.group_max, (f.group_headline, f.group_feature)), shape=shape)


def fit_probes(units: SplitUnits, labels: SplitLabels, sizes: Sequence[int | None]) -> list[Probe]:
    """Fit a probe of every size in `sizes`; None stands for all units.

    Raises UserError when fewer than two classes occur in both train and test, or when dev is empty.
    """
    classes = labels.classes()
    order = {c: np.argsort(-_separation(units.train, labels.train == c), kind="stable") for c in classes}
    return [_fit(units, labels, {c: order[c][:k] for c in classes} if k else dict.fromkeys(classes), k) for k in sizes]


def _fit(units: SplitUnits, labels: SplitLabels, chosen: dict[int, Any], k: int | None) -> Probe:
    """Fit probes on the chosen units of each class (None: all) with every ridge; keep the one that dev prefers."""
    losses = np.zeros(len(RIDGES))
    test = np.empty((len(RIDGES), len(labels.test), len(chosen)))
    whole = _scaled(units) if k is None else None
    for n, (c, columns) in enumerate(chosen.items()):
        read = whole or _scaled(SplitUnits(*(_columns(part, columns) for part in units)))
        y, regression = labels.train == c, LogisticRegression(max_iter=1000, tol=1e-3, warm_start=True)
        for i, ridge in enumerate(RIDGES):  # from the strongest, so that each fit begins near its end
            regression.set_params(C=1 / (ridge * len(y))).fit(read.train, y)
            losses[i] += log_loss(labels.dev == c, regression.predict_proba(read.dev), labels=[False, True])
            test[i, :, n] = regression.decision_function(read.test)
    best = int(losses.argmin())
    return Probe(k, RIDGES[best], test[best])


def _scaled(units: SplitUnits) -> SplitUnits:
    """The units in the scale of train: standardised where they are dense, by their largest value where sparse."""
    scale: Any = MaxAbsScaler() if sparse.issparse(units.train) else StandardScaler()
    return SplitUnits(scale.fit_transform(units.train), scale.transform(units.dev), scale.transform(units.test))


def _columns(units: Any, chosen: Ints) -> Any:
    """The chosen columns, dense."""
    columns = units[:, chosen]
    return columns.toarray() if sparse.issparse(columns) else columns


def _separation(units: Any, inside: Flags) -> Floats:
    """|difference of means| / pooled standard deviation of each unit, [n_units]."""
    means, variances = [], []
    for rows in (inside, ~inside):
        part = units[rows].astype(np.float64)
        mean = np.asarray(part.mean(0)).ravel()
        square = part.multiply(part) if sparse.issparse(part) else part * part
        means.append(mean)
        variances.append(np.asarray(square.mean(0)).ravel() - mean**2)
    share = inside.mean()
    pooled = share * variances[0] + (1 - share) * variances[1]
    return np.asarray(np.abs(means[0] - means[1]) / np.sqrt(np.maximum(pooled, 0) + 1e-3))
