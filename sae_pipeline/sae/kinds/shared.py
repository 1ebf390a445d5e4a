"""The two parts of a training step at which ranks exchange numbers; see group.py. `ops`: kernels, or reference."""

from typing import Any

import torch
from torch import Tensor

from sae_pipeline.kernels import AdamSettings, Features, Lists, Residual, Rule, reference
from sae_pipeline.sae.kinds.group import Group


def summed_residual(
    group: Group, ops: Any, by_feature: Lists, W_dec: Tensor, b_dec: Tensor, x: Tensor, dtype: torch.dtype
) -> Residual:
    """r = Σ over ranks of f · W_dec, + b_dec − x, where each rank holds some features; r is stored in `dtype`."""
    part = ops.spmm(ops.transpose(by_feature, len(x))[0], W_dec)
    r = group.sum(part) + (b_dec - x)
    return Residual(r.to(dtype), r.mean(0), float(r.square().sum()))


def averaged_update(
    group: Group,
    ops: Any,
    by_feature: Lists,
    x: Tensor,
    r: Tensor,
    features: Features,
    adam: AdamSettings,
    rule: Rule,
) -> None:
    """reference.update where each rank holds some of the batch's tokens: the mean of all ranks' gradients."""
    x, r, n = x.float(), r.float(), len(x)
    n_features, d = features.W_dec.shape
    slope = 2 / n * ops.sddmm(by_feature, features.W_dec, r)
    if rule.slope is not None:
        rule.slope.copy_(slope)
    df = slope if rule.gain is None else rule.gain * slope
    df = df + (adam.l1 / n if rule.extra is None else rule.extra)
    gradients = torch.zeros(n_features, 2 * d + 2, device=x.device)  # W_enc, W_dec, b_enc, and whether there is any
    gradients[:, :d] = ops.spmm(by_feature._replace(values=df), x)
    gradients[:, d : 2 * d] = ops.spmm(by_feature._replace(values=2 / n * by_feature.values), r)
    gradients[:, 2 * d] = torch.segment_reduce(df, "sum", offsets=by_feature.ptr, initial=0)
    gradients[:, 2 * d + 1] = by_feature.ptr.diff() > 0
    gradients = group.mean(gradients)
    active = gradients[:, 2 * d + 1] > 0
    reference.step_rows(active, gradients[:, :d], gradients[:, d : 2 * d], gradients[:, 2 * d], features, adam)
