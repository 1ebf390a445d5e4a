"""Fast dropout for the CPU."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


class _Dropouts:
    """Dropout for the CPU in a network's hidden states: torch's own draws its mask on one thread, 5 ns an element.

    One random byte an element (SFC64); the rate is rounded to 1/256 and the scale fits the rounded rate.
    """

    def __init__(self, network: nn.Module) -> None:
        self.generator = np.random.Generator(np.random.SFC64(0))
        self._replaced: list[tuple[nn.Module, str, nn.Dropout]] = []
        for module in list(network.modules()):
            for name, child in module.named_children():
                if type(child) is nn.Dropout and child.p > 0:
                    self._replaced.append((module, name, child))
        for module, name, child in self._replaced:
            setattr(module, name, _Dropout(child.p, self))

    def reseed(self, *seed: int) -> None:
        """Draw the next masks from `seed` alone."""
        self.generator = np.random.Generator(np.random.SFC64(seed))

    def remove(self) -> None:
        """Put torch's modules back."""
        for module, name, child in self._replaced:
            setattr(module, name, child)


class _Dropout(nn.Module):
    def __init__(self, p: float, source: _Dropouts) -> None:
        super().__init__()
        self.p = p  # read by attention, which draws its own mask
        self.training = True
        self._source = source

    def forward(self, x: Tensor) -> Tensor:
        dropped = round(self.p * 256)
        if not self.training or dropped == 0:
            return x
        drawn = np.frombuffer(self._source.generator.bytes(x.numel()), dtype=np.uint8)
        keep = torch.from_numpy(drawn >= dropped).view(x.shape)
        return _Masked.apply(x, keep, 256 / (256 - dropped))  # type: ignore[no-untyped-call,no-any-return]


class _Masked(torch.autograd.Function):
    """x · keep · scale, without keeping x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, keep: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(keep)
        ctx.scale = scale
        return torch.ops.aten.native_dropout_backward(x, keep, scale)  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (keep,) = ctx.saved_tensors
        return torch.ops.aten.native_dropout_backward(grad, keep, ctx.scale), None, None
