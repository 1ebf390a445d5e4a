"""The recipe `seed`: ReLU + L1 as a notebook would write it, with autograd and Adam."""

import torch
from torch import Tensor

from sae_pipeline.machine.device import autocast
from sae_pipeline.sae.kinds.stepper import Stepper, StepStats, Weights

_NAMES = ("W_enc", "b_enc", "W_dec", "b_dec")


class NotebookStep(Stepper):
    """The loss of ReluStep with torch.nn.Linear's initialisation and no constraint on W_dec.

    It does not become sparse and is kept for comparison.
    """

    learning_rate = 1e-3

    def __init__(self, d_in: int, d_sae: int, generator: torch.Generator, device: torch.device) -> None:
        """Draw the weights from `generator`."""
        W_enc, W_dec = (
            (torch.rand(shape, generator=generator) * 2 - 1) * shape[0] ** -0.5
            for shape in ((d_in, d_sae), (d_sae, d_in))
        )
        start = (W_enc, torch.zeros(d_sae), W_dec, torch.zeros(d_in))
        self.parameters = [tensor.to(device).requires_grad_() for tensor in start]
        self.adam = torch.optim.Adam(self.parameters, fused=True)
        for parameter in self.parameters:  # Adam would make its state in the first step; a resumed one is loaded before
            zeros = (torch.zeros_like(parameter, requires_grad=False) for _ in range(2))
            self.adam.state[parameter] = dict(
                zip(("step", "exp_avg", "exp_avg_sq"), (torch.zeros((), device=device), *zeros), strict=True)
            )

    def step(self, x: Tensor, lr: float, sparsity: float) -> StepStats:
        """Move the parameters by one step of Adam; `sparsity` is λ."""
        W_enc, b_enc, W_dec, b_dec = self.parameters
        with autocast(x.device, "auto"):
            f = torch.relu(x @ W_enc + b_enc)
            residual = f @ W_dec + b_dec - x
        squared = residual.float().square().sum()
        loss = (squared + sparsity * f.sum(dtype=torch.float32)) / len(x)
        self.adam.param_groups[0]["lr"] = lr
        self.adam.zero_grad()
        loss.backward()
        self.adam.step()
        counts = (f.detach() > 0).sum(0)
        return StepStats(len(x), loss.item(), squared.item(), x.square().sum().item(), int(counts.sum()), counts)

    def weights(self) -> Weights:
        """The present SAE; the lengths of decoder rows move into the encoder, so that f has its usual unit."""
        W_enc, b_enc, W_dec, b_dec = (parameter.detach() for parameter in self.parameters)
        norm = W_dec.norm(dim=1).clamp_min(1e-12)
        return Weights(W_enc * norm, b_enc * norm, torch.zeros_like(b_enc), W_dec / norm[:, None], b_dec)

    def state_dict(self) -> dict[str, Tensor]:
        """The parameters and Adam's moments."""
        state = {}
        for name, parameter in zip(_NAMES, self.parameters, strict=True):
            state[name] = parameter.detach()
            state |= {f"{name}.{key}": value for key, value in self.adam.state[parameter].items()}
        return state

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """See `Stepper`."""
        for name, tensor in self.state_dict().items():
            tensor.copy_(state[name])
