"""Gated SAE (Rajamanoharan et al. 2024, "Improving Dictionary Learning with Gated Sparse Autoencoders")."""

from typing import Unpack

import torch
from torch import Tensor

from sae_pipeline.kernels import Rule, sum_rows
from sae_pipeline.sae.kinds.engine import Options, Scalars, SparseStepper
from sae_pipeline.sae.kinds.stepper import StepStats, Weights


class GatedStep(SparseStepper):
    """One path decides which features are active; another, with the same weights, decides how strongly.

        gate = relu(W_enc·x + b_enc)             f = relu(e^stretch·gate + shift) where gate > 0, else 0
        loss = mean over tokens of ‖x − x̂(f)‖² + λ·Σgate + ‖x − x̂(gate)‖²   (the last with the decoder held still)

    The paper's b_mag is shift + e^stretch·b_enc here, and its r_mag is stretch.
    """

    learning_rate = 4e-3
    encoder_bias = -2.0
    momentum = 0.9

    def __init__(self, W_dec: Tensor, **options: Unpack[Options]) -> None:
        """Start from decoder rows W_dec [d_sae, d_in] of length 1."""
        super().__init__(W_dec, **options)
        self._stretch, self._shift = (Scalars(torch.zeros_like(self.features.b_enc)) for _ in range(2))

    def step(self, x: Tensor, lr: float, sparsity: float) -> StepStats:
        """Move the parameters by one step; `sparsity` is λ."""
        n, batch = len(x), self._read(x)
        gate = self._encode(batch)
        assert gate is not None
        per_feature = gate.ptr.diff()
        stretch = self._stretch.values.exp().repeat_interleave(per_feature)
        f = torch.relu(stretch * gate.values + self._shift.values.repeat_interleave(per_feature))
        magnitude = gate._replace(values=f)
        r, mean_r, squared = self._residual(magnitude, batch)
        r_gate, _, squared_gate = self._residual(gate, batch)
        on = f > 0
        rule = Rule(
            gain=stretch * on,
            extra=(2 * self._ops.sddmm(gate, self.features.W_dec, r_gate) + sparsity) / n,
            slope=torch.empty_like(f),
        )
        self._update(magnitude, batch, r, self.adam(lr), rule)
        assert rule.slope is not None
        df = rule.slope * on
        self._shift.step(self.sharing.mean(sum_rows(gate, df)), lr)
        self._stretch.step(self.sharing.mean(sum_rows(gate, df * stretch * gate.values)), lr)
        self._step_b_dec(2 * mean_r, lr)
        loss = (squared + self.sharing.own_part(squared_gate) + sparsity * float(gate.values.sum())) / n
        counts = sum_rows(gate, on.float()).long()
        return StepStats(n, loss, squared, float(x.square().sum()), int(counts.sum()), counts)

    def weights(self) -> Weights:
        """Both paths as one: pre = e^stretch·(W_enc·x + b_enc) + shift, which is above shift where the gate is open."""
        stretch, shift = self._stretch.values.exp(), self._shift.values
        plain = super().weights()
        return plain._replace(
            W_enc=plain.W_enc * stretch, b_enc=plain.b_enc * stretch + shift, threshold=shift.clamp_min(0)
        )

    def _state(self) -> dict[str, Tensor]:
        return {**super()._state(), **self._stretch.state("stretch"), **self._shift.state("shift")}
