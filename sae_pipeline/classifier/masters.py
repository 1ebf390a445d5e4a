"""The optimiser of fine-tuning, and the fp32 master weights that it moves.

Under autocast a weight is cast to bf16 at every use. Here linear layers hold their weights in bf16 and AdamW moves fp32
masters, so a weight is cast once a step. The numbers are those of autocast.

On a CPU, memory that a step touches for the first time is first cleared by the system. So the fp32 copies of bf16
gradients keep their memory from step to step, and the gradients of large embeddings are sparse until they are added
into such a copy. Together this takes an eighth off a step at FinBERT's size.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from sae_pipeline.classifier.low_precision import hold_in_bf16

_WEIGHT_DECAY = 0.01  # of matrices; biases and norms have none
_MAX_NORM = 1.0
_MANY_ROWS = 4096  # of an embedding; a step reads few of them


class MasterWeights:
    """A network's trained weights in fp32, their AdamW, and the way of a step from gradients to new weights."""

    def __init__(self, network: nn.Module, in_bf16: bool) -> None:
        """Copy the trained weights of `network`, which are fp32. Others stay as they are.

        With `in_bf16`, the linear layers that are trained hold their weights in bf16 from now on.
        """
        self._parameters = {name: p for name, p in network.named_parameters() if p.requires_grad}
        self.weights = {name: p.detach().float().clone() for name, p in self._parameters.items()}
        self._copies: dict[str, Tensor] = {}  # of gradients that are sparse or in bf16, dense and in fp32
        on_cpu = next(network.parameters()).device.type == "cpu"
        for module in network.modules():
            if in_bf16 and all(p.requires_grad for p in module.parameters(recurse=False)):
                hold_in_bf16(module)
            if on_cpu and isinstance(module, nn.Embedding) and module.num_embeddings > _MANY_ROWS:
                module.sparse = not module.scale_grad_by_freq  # torch has no sparse gradient of that
        matrices = [weight for weight in self.weights.values() if weight.ndim > 1]
        others = [weight for weight in self.weights.values() if weight.ndim <= 1]
        self._adam = torch.optim.AdamW(
            [{"params": matrices, "weight_decay": _WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}], fused=True
        )

    def step(self, learning_rate: float) -> None:
        """Clip the network's gradients to norm 1, move the masters along them, and copy these into the network."""
        self._take_gradients()
        nn.utils.clip_grad_norm_(self.weights.values(), _MAX_NORM)
        for group in self._adam.param_groups:
            group["lr"] = learning_rate
        self._adam.step()
        for weight in self.weights.values():
            weight.grad = None
        self._copy_into_network()

    def state(self) -> dict[str, Tensor]:
        """The masters and AdamW's moments by name, for a checkpoint."""
        tensors = {f"weight.{name}": weight for name, weight in self.weights.items()}
        for name, weight in self.weights.items():
            tensors |= {f"{key}.{name}": value for key, value in self._adam.state[weight].items()}
        return tensors

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Return to the `state` of a checkpoint."""
        moments: dict[str, dict[str, Any]] = {name: {} for name in self.weights}
        for key, tensor in tensors.items():
            kind, _, name = key.partition(".")
            if kind == "weight":
                self.weights[name].copy_(tensor)
            else:
                moments[name][kind] = tensor.to(self.weights[name].device)
        for name, weight in self.weights.items():
            self._adam.state[weight] = moments[name]
        self._copy_into_network()

    @torch.no_grad()
    def _copy_into_network(self) -> None:
        torch._foreach_copy_([self._parameters[name] for name in self.weights], list(self.weights.values()))

    def _take_gradients(self) -> None:
        """Give the masters the network's gradients, in a form that AdamW can read: dense and in fp32."""
        in_bf16, copies = [], []
        for name, weight in self.weights.items():
            grad = self._parameters[name].grad
            if grad is None or (grad.dtype is torch.float32 and not grad.is_sparse):
                weight.grad = grad
                continue
            if name not in self._copies:
                self._copies[name] = torch.empty_like(weight)
            weight.grad = copy = self._copies[name]
            if grad.is_sparse:
                copy.zero_().add_(grad)
            else:
                in_bf16.append(grad)
                copies.append(copy)
        if copies:
            torch._foreach_copy_(copies, in_bf16)  # on a card one kernel instead of one for each weight
