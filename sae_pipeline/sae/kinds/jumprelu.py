"""JumpReLU (Rajamanoharan et al. 2024, "Jumping Ahead: Improving Reconstruction Fidelity with JumpReLU SAEs")."""

from statistics import NormalDist
from typing import Unpack

import torch
from torch import Tensor

from sae_pipeline.kernels import keep, sum_rows
from sae_pipeline.sae.kinds.engine import Options, Scalars, SparseStepper
from sae_pipeline.sae.kinds.stepper import StepStats

_ACTIVE = 90  # features per token at the start; from many more (32k, b_enc = 0) training does not recover
_SHARE = 0.03  # largest share of a small dictionary's features that is active at the start


class JumpReluStep(SparseStepper):
    """f = pre where pre > θ, else 0; loss = mean over tokens of ‖x − x̂‖² + λ·L0.

    The threshold θ > 0 of each feature is learnt as log θ by the paper's straight-through estimate, with a rectangle
    of width ε: an entry with |pre − θ| < ε/2 adds −θ/ε·(∂loss/∂f·θ + λ) to the gradient of log θ.
    """

    learning_rate = 8e-3
    momentum = 0.9

    first_threshold = 1.0
    """θ at the start."""

    bandwidth = 1.0
    """ε, in units of f."""

    def __init__(self, W_dec: Tensor, **options: Unpack[Options]) -> None:
        """Start from decoder rows W_dec [d_sae, d_in] of length 1.

        b_enc starts where `_ACTIVE` features per token would be above θ if pre were normally distributed.
        """
        share = min(_SHARE, _ACTIVE / options.get("d_sae", len(W_dec)))
        quantile = NormalDist().inv_cdf(share)
        super().__init__(W_dec, **({"encoder_bias": self.first_threshold + quantile} | options))
        self._log = Scalars(torch.full_like(self.features.b_enc, self.first_threshold).log_())

    def step(self, x: Tensor, lr: float, sparsity: float) -> StepStats:
        """Move the parameters by one step; `sparsity` is λ, in units of ‖x_norm‖² per active feature."""
        n, batch, theta = len(x), self._read(x), self._threshold()
        near = self._encode(batch, theta - self.bandwidth / 2)
        assert near is not None
        over = near.values - theta.repeat_interleave(near.ptr.diff())
        active = keep(near, over > 0)
        r, mean_r, squared = self._residual(active, batch)
        window = keep(near, over < self.bandwidth / 2)
        slope = self._ops.sddmm(window, self.features.W_dec, r)  # r·W_dec[i], before the rows move
        each = theta / (self.bandwidth * n)
        g = -each * (2 * theta * sum_rows(window, slope) + sparsity * window.ptr.diff())
        self._update(active, batch, r, self.adam(lr))
        self._log.step(self.sharing.mean(g), lr)
        self._step_b_dec(2 * mean_r, lr)
        counts = active.ptr.diff()
        n_active = int(counts.sum())
        loss = (squared + sparsity * n_active) / n
        return StepStats(n, loss, squared, float(x.square().sum()), n_active, counts)

    def _threshold(self) -> Tensor:
        return self._log.values.exp()

    def _state(self) -> dict[str, Tensor]:
        return {**super()._state(), **self._log.state("log_threshold")}
