"""The two parts of a training step at which ranks exchange numbers; see sharing.py.

`kernels` are those of the device, or the module `reference`, which has the same functions.
"""

from typing import Any

import torch
from torch import Tensor

from sae_pipeline.kernels import AdamSettings, Features, Lists, Residual, Rule, reference
from sae_pipeline.sae.kinds.sharing import StepSharing


def summed_residual(
    sharing: StepSharing, kernels: Any, by_feature: Lists, W_dec: Tensor, b_dec: Tensor, x: Tensor, dtype: torch.dtype
) -> Residual:
    """reference.residual where each rank holds some of the features: r = Σ over ranks of f · W_dec, + b_dec − x.

    r [n_tokens, d_in] is stored in `dtype`; the sums are taken before it is rounded.
    """
    part = kernels.spmm(kernels.transpose(by_feature, len(x))[0], W_dec)
    r = sharing.sum(part) + (b_dec - x)
    return Residual(r.to(dtype), r.mean(0), float(r.square().sum()))


def averaged_update(
    sharing: StepSharing,
    kernels: Any,
    by_feature: Lists,
    x: Tensor,
    r: Tensor,
    features: Features,
    adam: AdamSettings,
    rule: Rule,
) -> None:
    """reference.update where each rank sees some of the tokens: one step along the mean of all ranks' gradients."""
    n_features, d = features.W_dec.shape
    g_enc, g_dec, g_b = reference.row_gradients(kernels, by_feature, x, r, features.W_dec, adam.l1, rule)
    gradients = torch.empty(n_features, 2 * d + 2, device=x.device)  # W_enc, W_dec, b_enc, and whether there is any
    gradients[:, :d], gradients[:, d : 2 * d], gradients[:, 2 * d] = g_enc, g_dec, g_b
    gradients[:, 2 * d + 1] = by_feature.ptr.diff() > 0
    gradients = sharing.mean(gradients)
    active = gradients[:, 2 * d + 1] > 0
    reference.step_rows(active, gradients[:, :d], gradients[:, d : 2 * d], gradients[:, 2 * d], features, adam)
