"""The hookpoint (the module whose output is layer L), and the one hook that reads or edits it."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sae_pipeline.errors import UserError
from sae_pipeline.schema.run import Hookpoint


class _StopForward(Exception):  # noqa: N818 - not an error
    """Ends a forward pass after the hooked module."""


@dataclass(frozen=True)
class Site:
    """The place in a forward pass where a layer's output is read: one call of one module.

    Most layers are modules of their own. ALBERT's layers share one module, which a pass calls once per layer.
    """

    model: nn.Module
    module: nn.Module
    call: int = 0  # 0-based, within one forward pass of the model


def with_own_hooks(model: Any) -> Any:
    """A copy of `model` with the same weights in memory, whose hooks no other thread's forward pass calls."""
    return copy.deepcopy(model, {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())})


def resolve_hookpoint(model: Any, layer: int) -> tuple[Site, Hookpoint]:
    """Find the place whose output is `hidden_states[layer]`; `layer` counts from 1.

    Raises UserError when the model has no such layer.
    """
    n_layers = model.config.num_hidden_layers
    if not 1 <= layer <= n_layers:
        raise UserError(f"Layer {layer} does not exist: this model has layers 1 to {n_layers}; change --layer.")
    name, modules = _layers(model, n_layers)
    if len(modules) == n_layers:
        return Site(model, modules[layer - 1]), Hookpoint(layer=layer, module=f"{name}.{layer - 1}")
    groups = [i * len(modules) // n_layers for i in range(n_layers)]
    group = groups[layer - 1]
    site = Site(model, modules[group], groups[: layer - 1].count(group))
    return site, Hookpoint(layer=layer, module=f"{name}.{group}")


def _layers(model: Any, n_layers: int) -> tuple[str, nn.ModuleList]:
    """The list of a model's layers, and its name. It is shorter than `n_layers` where layers share modules.

    XLM keeps the parts of its layers in several lists of one parent; the last of them holds what ends a layer.
    """
    found: dict[str, nn.ModuleList] = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList):
            if name.endswith("albert_layer_groups"):
                return name, module
            if len(module) == n_layers and (
                not found or next(iter(found)).rpartition(".")[0] == name.rpartition(".")[0]
            ):
                found[name] = module
    if not found:
        raise UserError(
            f"{type(model).__name__} has no list of {n_layers} layers whose outputs can be read; "
            "use a BERT-like encoder."
        )
    return list(found.items())[-1]


@contextmanager
def hooked(site: Site, edit: Callable[[Tensor], Tensor | None], stop: bool = False) -> Iterator[None]:
    """Pass the output [n_headlines, n_positions, d_in] at `site` through `edit` inside the context.

    `edit` returns the new output, or None to keep the old one. With `stop` a forward pass ends after the site, and
    so does the block it is called in. Positions that the model adds to those of its input, as Longformer does to fill
    its window, are not passed and stay. The hooks are removed in any case, also after an exception.
    """
    calls, n_positions = 0, None

    def begin(_model: nn.Module, args: Any, kwargs: Any) -> None:
        nonlocal calls, n_positions
        given = next((x for x in (*args, kwargs.get("input_ids"), kwargs.get("inputs_embeds")) if x is not None), None)
        calls, n_positions = 0, None if given is None else given.shape[1]

    def hook(_module: nn.Module, _args: Any, output: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls != site.call + 1:
            return output
        whole = output[0] if isinstance(output, tuple | list) else output
        edited = edit(whole[:, :n_positions])
        if stop:
            raise _StopForward
        if edited is None:
            return output
        if edited.shape[1] < whole.shape[1]:
            edited = torch.cat([edited, whole[:, edited.shape[1] :]], 1)
        if isinstance(output, list):
            return [edited, *output[1:]]
        return (edited, *output[1:]) if isinstance(output, tuple) else edited

    handles = [site.model.register_forward_pre_hook(begin, with_kwargs=True), site.module.register_forward_hook(hook)]
    try:
        yield
    except _StopForward:
        if not stop:
            raise
    finally:
        for handle in handles:
            handle.remove()
