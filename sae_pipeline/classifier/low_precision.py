"""Weights of linear layers that are held in bf16, so that autocast does not cast them at every use."""

import copy
from typing import Any

import torch
from torch import nn


def hold_in_bf16(module: nn.Module) -> None:
    """Hold the weights of a linear layer in bf16 from now on; other modules stay as they are."""
    if isinstance(module, nn.Linear):
        module.to(torch.bfloat16)


def copy_in_bf16(model: Any) -> Any:
    """A copy of a model whose linear layers hold bf16 weights; it shares all other tensors with the model.

    Under autocast it computes the same numbers. Without autocast it does not run.
    """
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    own = {id(parameter) for module in linear for parameter in module.parameters(recurse=False)}
    others = [tensor for tensor in (*model.parameters(), *model.buffers()) if id(tensor) not in own]
    low = copy.deepcopy(model, {id(tensor): tensor for tensor in others})
    for module in low.modules():
        hold_in_bf16(module)
    return low
