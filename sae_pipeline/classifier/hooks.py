"""The hookpoint (the module whose output is layer L), and the one hook that reads or edits it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from sae_pipeline.errors import UserError
from sae_pipeline.schema.run import Hookpoint


class _StopForward(Exception):  # noqa: N818 - not an error
    """Ends a forward pass after the hooked module."""


def resolve_hookpoint(model: Any, layer: int) -> tuple[nn.Module, Hookpoint]:
    """Find the module whose output is `hidden_states[layer]`; `layer` counts from 1.

    Raises UserError when the model has no such layer.
    """
    n_layers = model.config.num_hidden_layers
    if not 1 <= layer <= n_layers:
        raise UserError(f"Layer {layer} does not exist: this model has layers 1 to {n_layers}; change --layer.")
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == n_layers:
            return module[layer - 1], Hookpoint(layer=layer, module=f"{name}.{layer - 1}")
    raise UserError(f"{type(model).__name__} has no list of {n_layers} layers; use a BERT-like encoder.")


@contextmanager
def hooked(module: nn.Module, edit: Callable[[Tensor], Tensor | None], stop: bool = False) -> Iterator[None]:
    """Pass the output [n_headlines, n_positions, d_in] of `module` through `edit` inside the context.

    `edit` returns the new output, or None to keep the old one. With `stop` a forward pass ends after the module, and
    so does the block it is called in. The hook is removed in any case, also after an exception.
    """

    def hook(_module: nn.Module, _args: Any, output: Any) -> Any:
        hidden = output[0] if isinstance(output, tuple) else output
        edited = edit(hidden)
        if stop:
            raise _StopForward
        if edited is None:
            return output
        return (edited, *output[1:]) if isinstance(output, tuple) else edited

    handle = module.register_forward_hook(hook)
    try:
        yield
    except _StopForward:
        if not stop:
            raise
    finally:
        handle.remove()
