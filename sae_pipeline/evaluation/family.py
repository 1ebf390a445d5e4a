"""The same features in other SAEs: nearest decoder rows, co-activation, stability across seeds.

Features with near decoder rows have nearly the same direction. Two features that co-activate fire on the same tokens.
(Sharkey et al. 2022 for the mean of the largest cosines; Bricken et al. 2023 for feature splitting; Paulo & Belrose
2025 for 0.7.)
"""

from collections.abc import Sequence
from itertools import permutations
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sae_pipeline.errors import UserError
from sae_pipeline.kernels import Lists
from sae_pipeline.schema.controls import Stability
from sae_pipeline.schema.family import MemberMatches, Verdict

MATCH, RELATED, CONTAINED = 0.7, 0.4, 0.5
_CHUNK = 2048  # rows compared at a time
_DRAWS = 4096  # random directions, for the chance of a match


def nearest_rows(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """For unit rows a [n_a, d] the nearest rows of b [n_b, d] by cosine: indices int64 [n_a], cosines [n_a]."""
    parts = [(part @ b.T).max(1) for part in a.split(_CHUNK)]
    return torch.cat([p.indices for p in parts]), torch.cat([p.values for p in parts]).clamp(-1, 1)


def chance_of_match(own: Tensor, other: Tensor) -> float:
    """The share of random directions, with the covariance of the rows of `own`, that have a match in `other`.

    Both are unit-norm decoders [d_sae, d_in]. Rows share directions, so isotropic draws would make chance too small.
    """
    rows = own.cpu().double()
    variances, directions = torch.linalg.eigh(rows.T @ rows / len(rows))
    draws = torch.randn(_DRAWS, rows.shape[1], generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    drawn = torch.nn.functional.normalize((draws * variances.clamp_min(0).sqrt()) @ directions.T, dim=1)
    return float((nearest_rows(drawn.to(other), other)[1] >= MATCH).float().mean())


def stability(seeds: Sequence[int], decoders: Sequence[Tensor], live: Sequence[Tensor]) -> Stability:
    """Compare SAEs that differ only by their seed: each live feature with the nearest live ones of the other SAEs.

    `decoders` are unit-norm W_dec [d_sae, d_in], `live` is bool [d_sae]. The first of each belong to the SAE that is
    judged. Raises UserError for fewer than two seeds.
    """
    if len(set(seeds)) < 2:
        raise UserError("Stability across seeds needs at least two different seeds, for example --seeds 0,1,2.")
    rows = [decoder[alive] for decoder, alive in zip(decoders, live, strict=True)]
    cosines = torch.cat([nearest_rows(a, b)[1] for a, b in permutations(rows, 2)])
    noise = torch.nn.functional.normalize(torch.randn(rows[0].shape, generator=torch.Generator().manual_seed(0)), dim=1)
    chance = nearest_rows(noise.to(rows[0].device), rows[1])[1]
    own, others = decoders[0], decoders[1:]
    found = torch.stack([nearest_rows(own, other)[1] >= MATCH for other in others]).sum(0)[live[0]]
    return Stability(
        seeds=list(seeds),
        mean_cosine=float(cosines.mean()),
        matched_share=float((cosines >= MATCH).float().mean()),
        chance_cosine=float(chance.mean()),
        found=torch.bincount(found, minlength=len(decoders)).tolist(),
        chance_share=sum(chance_of_match(own, other) for other in others) / len(others),
    )


def match_features(own: Tensor, other: Tensor, own_lists: Lists, other_lists: Lists) -> MemberMatches:
    """Match every feature of one SAE with its nearest one in another; see `MemberMatches` for the verdicts.

    `own` and `other` are unit-norm decoders [d_sae, d_in]; the lists are the SAEs' active entries on the same tokens.
    If two features never fire on the same token, their directions alone decide between match and absent.
    """
    index, cosine = nearest_rows(own, other)
    feature = index.cpu().numpy()
    fires, others, both = _overlap(own_lists, other_lists, len(own), len(other), feature)
    coactivation = both / np.maximum(fires + others[feature] - both, 1)
    contained = both >= CONTAINED * np.maximum(np.minimum(fires, others[feature]), 1)
    close = cosine.cpu().numpy()
    verdict: list[Verdict] = [
        "match" if c >= MATCH else "split" if c >= RELATED and inside else "absent"
        for c, inside in zip(close.tolist(), contained.tolist(), strict=True)
    ]
    return MemberMatches(
        feature=feature.tolist(), cosine=close.tolist(), coactivation=coactivation.tolist(), verdict=verdict
    )


def _overlap(a: Lists, b: Lists, n_a: int, n_b: int, match: NDArray[np.int64]) -> tuple[Any, Any, Any]:
    """Tokens on which each feature fires [n_a], [n_b], and on which it and its match both do [n_a]."""
    cols_a, cols_b = a.cols.long().cpu().numpy(), b.cols.long().cpu().numpy()
    keys = b.rows.cpu().numpy() * n_b + cols_b  # ascending: by token, then feature
    wanted = a.rows.cpu().numpy() * n_b + match[cols_a]
    place = np.minimum(np.searchsorted(keys, wanted), max(len(keys) - 1, 0))
    hit = keys[place] == wanted if len(keys) else np.zeros(len(wanted), bool)
    return (
        np.bincount(cols_a, minlength=n_a),
        np.bincount(cols_b, minlength=n_b),
        np.bincount(cols_a[hit], minlength=n_a),
    )
