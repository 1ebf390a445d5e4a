"""Where activations are read (the hookpoint), and the one hook primitive."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from sae_pipeline.errors import UserError
from sae_pipeline.schema.run import Hookpoint


class _StopForward(Exception):  # noqa: N818 - not an error
    """Raised inside a forward pass to skip the layers that are not needed."""


def resolve_hookpoint(model: Any, layer: int) -> tuple[nn.Module, Hookpoint]:
    """The module whose output is `hidden_states[layer]`.

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
    """Inside the context, pass `module`'s output [n_headlines, n_positions, d_in] through `edit`.

    `edit` returns the new output, or None to leave it. With `stop` the layers after it are skipped: run the
    model inside `stopping()`. The hook is removed whatever happens.
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
    finally:
        handle.remove()


@contextmanager
def stopping() -> Iterator[None]:
    """Absorb the early end of a forward pass run with `hooked(..., stop=True)`."""
    try:
        yield
    except _StopForward:
        return
