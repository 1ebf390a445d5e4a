"""The plain way to what the library finds by shorter ones: the whole model, with a hook."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sae_pipeline.classifier.hooks import hooked, resolve_hookpoint
from sae_pipeline.headlines.tokens import TokenizedHeadline, collate, counted_mask
from sae_pipeline.schema.common import PositionKind


@torch.inference_mode()
def spliced_logits(
    model: Any,
    headlines: Sequence[TokenizedHeadline],
    pad_id: int,
    layer: int,
    positions: PositionKind,
    reconstruct: Callable[[Tensor], Tensor],
) -> NDArray[np.float32]:
    """Logits [n_headlines, n_classes] with the activations at the counted positions replaced."""
    module, _ = resolve_hookpoint(model, layer)
    input_ids, mask = collate(headlines, pad_id)
    counted = counted_mask(headlines, positions)

    def replace(hidden: Tensor) -> Tensor:
        return hidden.masked_scatter(counted[..., None], reconstruct(hidden[counted]))

    with hooked(module, replace):
        return model(input_ids=input_ids, attention_mask=mask).logits.numpy()  # type: ignore[no-any-return]
