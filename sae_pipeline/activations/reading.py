"""The reading loop: headlines go through the classifier up to one layer.

`read_batches` is the only place that runs the classifier with a hook on a batch of headlines. Extraction, evaluation,
analysis, interventions and the end-to-end finish all read from it.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sae_pipeline.classifier.hooks import Site, hooked, resolve_hookpoint
from sae_pipeline.classifier.padding import equal_lengths
from sae_pipeline.config import Precision
from sae_pipeline.headlines.tokens import TokenizedHeadline, counted_mask, length_batches, padded_batches
from sae_pipeline.machine.device import MicroBatches, autocast
from sae_pipeline.schema.common import PositionKind


@dataclass(frozen=True)
class HiddenBatch:
    """A padded batch of headlines at the hookpoint. All tensors are on the model's device.

    `acts`, `headlines` and `positions` list the counted tokens, headline by headline, positions ascending.
    """

    rows: NDArray[np.int64]  # [n_headlines] indices into the headlines that are read
    hidden: Tensor  # [n_headlines, n_positions, d_in], in the dtype that the model computes in
    input_ids: Tensor  # int64 [n_headlines, n_positions]
    mask: Tensor  # int64 [n_headlines, n_positions], 1 where there is a token
    counted: Tensor  # bool [n_headlines, n_positions]
    logits: Tensor | None  # [n_headlines, n_classes]; None where they were not asked for

    @property
    def acts(self) -> Tensor:
        """float32 [n_tokens, d_in]: the activations of the counted tokens, in the classifier's units."""
        return self.hidden[self._sites].float()

    @property
    def headlines(self) -> Tensor:
        """int64 [n_tokens]: the index of each counted token's headline."""
        return torch.from_numpy(self.rows).to(self.hidden.device)[self._sites[0]]

    @property
    def positions(self) -> Tensor:
        """int64 [n_tokens]: the position of each counted token in the model's input, 0-based."""
        return self._sites[1]

    @cached_property
    def _sites(self) -> tuple[Tensor, Tensor]:
        """Row of the batch and position of each counted token."""
        row, position = self.counted.nonzero(as_tuple=True)
        return row, position


def read_batches(
    model: Any,
    headlines: Sequence[TokenizedHeadline],
    pad_id: int,
    layer: int,
    positions: PositionKind,
    *,
    tokens_per_batch: int = 4096,
    batches: Iterable[NDArray[np.int64]] | None = None,
    precision: Precision = "fp32",
    with_logits: bool = False,
) -> Iterator[HiddenBatch]:
    """Yield the output of `layer` batch by batch, without gradients.

    Batches hold headlines of similar length within the token budget, longest first; `batches` gives them as indices
    instead. The layers after `layer` run only `with_logits`. A batch that does not fit into the device's memory is
    read in parts. Raises UserError for a layer that does not exist.
    """
    site, _ = resolve_hookpoint(model, layer)
    device = next(model.parameters()).device
    micro = MicroBatches("reading activations", len(headlines))
    if batches is None:
        batches = length_batches([len(h.input_ids) for h in headlines], tokens_per_batch, equal_lengths(model))
    for rows, members, input_ids, mask in padded_batches(headlines, batches, pad_id, device):
        forward = partial(_forward, model, site, input_ids, mask, precision, with_logits)
        hidden, logits = micro.run(forward, len(members))
        yield HiddenBatch(rows, hidden, input_ids, mask, counted_mask(members, positions).to(device), logits)


def read_activations(
    model: Any, headlines: Sequence[TokenizedHeadline], pad_id: int, layer: int, positions: PositionKind, **options: Any
) -> tuple[Tensor, Tensor]:
    """The activations of all counted tokens, float32 [n_tokens, d_in], and the headline of each, int64 [n_tokens].

    The longest headlines come first. `options` are those of `read_batches`.
    """
    batches = read_batches(model, headlines, pad_id, layer, positions, **options)
    acts, members = zip(*((batch.acts, batch.headlines) for batch in batches), strict=True)  # without the padding
    return torch.cat(acts), torch.cat(members)


@torch.no_grad()
def _forward(
    model: Any,
    site: Site,
    input_ids: Tensor,
    mask: Tensor,
    precision: Precision,
    with_logits: bool,
    parts: list[slice],
) -> tuple[Tensor, Tensor | None]:
    """Hidden states and, if asked for, logits of a batch that is read in `parts`."""
    hidden: list[Tensor] = []
    logits: list[Tensor] = []
    with autocast(mask.device, precision):
        for part in parts:
            with hooked(site, hidden.append, stop=not with_logits):
                logits.append(model(input_ids=input_ids[part], attention_mask=mask[part]).logits)
    return _joined(hidden), _joined(logits) if with_logits else None


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)
