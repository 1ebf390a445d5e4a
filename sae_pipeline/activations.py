"""Activations of one layer: where they are (hookpoint), the one hook primitive, reading them."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .config import Precision
from .device import MicroBatches, autocast
from .errors import UserError
from .schema.common import PositionKind
from .schema.run import Hookpoint
from .tokens import TokenizedHeadline, collate, counted_mask, length_batches

# --- the hook primitive --------------------------------------------------------------------------------


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


# --- reading activations -------------------------------------------------------------------------------


@dataclass(frozen=True)
class ActivationBatch:
    """Counted tokens of a few headlines."""

    acts: Tensor  # [n_tokens, d_in], headline by headline, positions ascending
    headlines: Tensor  # int64 [n_tokens]: index of the headline
    positions: Tensor  # int64 [n_tokens]: 0-based position in the model's input


@torch.inference_mode()
def read_activations(
    model: Any,
    headlines: Sequence[TokenizedHeadline],
    pad_id: int,
    layer: int,
    positions: PositionKind,
    tokens_per_batch: int = 4096,
    precision: Precision = "fp32",
    batches: Sequence[NDArray[np.int64]] | None = None,
) -> Iterator[ActivationBatch]:
    """Yield the layer's activations at the counted positions, longest headlines first.

    Layers after `layer` are not run; batches hold headlines of similar length within the token budget, or are given
    as indices. One that does not fit into the device's memory is read in parts.
    """
    module, _ = resolve_hookpoint(model, layer)
    device = next(model.parameters()).device
    micro = MicroBatches("reading activations", len(headlines))
    if batches is None:
        batches = length_batches([len(h.input_ids) for h in headlines], tokens_per_batch)
    for batch in batches:
        members = [headlines[i] for i in batch]
        input_ids, mask = (tensor.to(device) for tensor in collate(members, pad_id))
        row, position = counted_mask(members, positions).to(device).nonzero(as_tuple=True)

        def forward(parts: list[slice], input_ids: Tensor = input_ids, mask: Tensor = mask) -> Tensor:
            captured: list[Tensor] = []
            with autocast(device, precision):
                for part in parts:
                    with hooked(module, captured.append, stop=True), stopping():
                        model(input_ids=input_ids[part], attention_mask=mask[part])
            return captured[0] if len(captured) == 1 else torch.cat(captured)

        hidden = micro.run(forward, len(members))
        yield ActivationBatch(
            acts=hidden[row, position].float(), headlines=torch.from_numpy(batch).to(device)[row], positions=position
        )
