"""Activations of one layer: where they are (hookpoint), the one hook primitive, reading them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sae_pipeline.classifier.hooks import hooked, resolve_hookpoint, stopping
from sae_pipeline.config import Precision
from sae_pipeline.headlines.tokens import TokenizedHeadline, collate, counted_mask, length_batches
from sae_pipeline.machine.device import MicroBatches, autocast
from sae_pipeline.schema.common import PositionKind

# --- the hook primitive --------------------------------------------------------------------------------


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
