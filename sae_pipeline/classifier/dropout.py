"""Fast dropout for a CPU.

torch draws its mask on one thread, at 5 ns an element. Here an element takes one random byte of numpy's SFC64
generator. The rate is rounded to a multiple of 1/256, and the scale of what is kept fits the rounded rate.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


class Masks:
    """The source of random masks that all dropouts of a network share."""

    def __init__(self) -> None:
        self.reseed(0)

    def reseed(self, *seed: int) -> None:
        """Make the masks that follow depend on `seed` alone."""
        self._generator = np.random.Generator(np.random.SFC64(seed))

    def draw(self, shape: torch.Size, dropped: int) -> Tensor:
        """Draw a mask, bool of `shape`, that is False for `dropped` of 256 elements on average."""
        drawn = np.frombuffer(self._generator.bytes(shape.numel()), dtype=np.uint8)
        return torch.from_numpy(drawn >= dropped).view(shape)


@contextmanager
def fast_dropout(network: nn.Module) -> Iterator[Masks]:
    """Draw the dropout masks of a network's hidden states from the masks that this yields.

    The network has torch's modules again after the context. A network on a GPU keeps them throughout: there they are
    fast, and nothing is drawn from the masks.
    """
    masks = Masks()
    replaced: list[tuple[nn.Module, str, nn.Dropout]] = []
    if next(network.parameters()).device.type == "cpu":
        replaced = [
            (parent, name, child)
            for parent in network.modules()
            for name, child in parent.named_children()
            if type(child) is nn.Dropout and child.p > 0
        ]
    for parent, name, child in replaced:
        setattr(parent, name, _Dropout(child.p, masks))
    try:
        yield masks
    finally:
        for parent, name, child in replaced:
            setattr(parent, name, child)


class _Dropout(nn.Module):
    """One dropout of a network, which draws from the shared masks."""

    def __init__(self, p: float, masks: Masks) -> None:
        super().__init__()
        self.p = p  # attention reads it, and draws masks of its own
        self._masks = masks

    def forward(self, x: Tensor) -> Tensor:
        dropped = round(self.p * 256)
        if not self.training or dropped == 0:
            return x
        keep = self._masks.draw(x.shape, dropped)
        return _Masked.apply(x, keep, 256 / (256 - dropped))  # type: ignore[no-untyped-call,no-any-return]


class _Masked(torch.autograd.Function):
    """x · keep · scale. The backward pass needs the mask alone, so `x` is not kept for it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, keep: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(keep)
        ctx.scale = scale
        return torch.ops.aten.native_dropout_backward(x, keep, scale)  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (keep,) = ctx.saved_tensors
        return torch.ops.aten.native_dropout_backward(grad, keep, ctx.scale), None, None
