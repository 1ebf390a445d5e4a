"""The reading loop: headlines go through the classifier up to one layer, or past several.

`read_layers` is the only place that runs the classifier with a hook on a batch of headlines. Extraction, evaluation,
analysis, interventions and the end-to-end finish all read from it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sae_pipeline.activations.sites import Sites
from sae_pipeline.classifier.hooks import Site, hooked, resolve_hookpoint, with_own_hooks
from sae_pipeline.classifier.padding import equal_lengths
from sae_pipeline.config import TOKENS_PER_BATCH, Precision
from sae_pipeline.headlines.tokens import PaddedBatch, TokenizedHeadline, counted_mask, length_batches, padded_batches
from sae_pipeline.machine.device import autocast, token_budget
from sae_pipeline.machine.memory import MicroBatches
from sae_pipeline.machine.threads import one_thread_each
from sae_pipeline.schema.common import PositionKind


@dataclass(frozen=True)
class HiddenBatch:
    """A padded batch of headlines at the hookpoint. All tensors are on the model's device, but for those of `places`.

    `acts`, `headlines` and `positions` list the sites, headline by headline, positions ascending.
    """

    rows: NDArray[np.int64]  # [n_headlines] indices into the headlines that are read
    hidden: Tensor  # [n_headlines, n_positions, d_in], in the dtype that the model computes in
    input_ids: Tensor  # int64 [n_headlines, n_positions]
    mask: Tensor  # int64 [n_headlines, n_positions], 1 where there is a token
    sites: Sites  # the vectors that are read
    places: Sites  # the same sites in main memory, so that nothing waits for a card to list them
    logits: Tensor | None  # [n_headlines, n_classes]; None where they were not asked for

    @property
    def acts(self) -> Tensor:
        """float32 [n_sites, d_in]: the activations, in the classifier's units."""
        return self.sites.read(self.hidden)

    @property
    def headlines(self) -> Tensor:
        """int64 [n_sites]: the index of each site's headline."""
        return torch.from_numpy(self.rows).to(self.hidden.device)[self.sites.headline]

    @property
    def positions(self) -> Tensor:
        """int64 [n_sites]: the position of each site in the model's input, 0-based; 0 for a mean of words."""
        return self.sites.position


def read_batches(
    model: Any,
    headlines: Sequence[TokenizedHeadline],
    pad_id: int,
    layer: int,
    positions: PositionKind,
    *,
    tokens_per_batch: int = TOKENS_PER_BATCH,
    batches: Iterable[NDArray[np.int64]] | None = None,
    precision: Precision = "fp32",
    with_logits: bool = False,
) -> Iterator[HiddenBatch]:
    """Yield the output of `layer` batch by batch, without gradients.

    Batches hold headlines of similar length within the token budget, longest first; `batches` gives them as indices
    instead. The layers after `layer` run only `with_logits`. A batch that does not fit into the device's memory is
    read in parts. Raises UserError for a layer that does not exist.
    """
    for read in read_layers(
        model,
        headlines,
        pad_id,
        (layer,),
        positions,
        tokens_per_batch=tokens_per_batch,
        batches=batches,
        precision=precision,
        with_logits=with_logits,
    ):
        yield read[0]


def read_layers(
    model: Any,
    headlines: Sequence[TokenizedHeadline],
    pad_id: int,
    layers: Sequence[int],
    positions: PositionKind,
    *,
    tokens_per_batch: int = TOKENS_PER_BATCH,
    batches: Iterable[NDArray[np.int64]] | None = None,
    precision: Precision = "fp32",
    with_logits: bool = False,
    side_by_side: bool = False,
) -> Iterator[list[HiddenBatch]]:
    """Yield the outputs of several layers from one forward pass per batch: a `HiddenBatch` for each of `layers`.

    The bits are those of `read_batches`, whose other arguments these are. The layers after the last of `layers` run
    only `with_logits`. With `side_by_side`, each core reads batches of its own, which suits a caller that computes
    little itself.
    """
    device = next(model.parameters()).device
    micro = MicroBatches("reading activations", len(headlines))
    if batches is None:
        budget = token_budget(device, tokens_per_batch)
        batches = length_batches([len(h.input_ids) for h in headlines], budget, equal_lengths(model))

    def reader(model: Any) -> Callable[[PaddedBatch], list[HiddenBatch]]:
        sites = {layer: resolve_hookpoint(model, layer)[0] for layer in layers}

        def read(batch: PaddedBatch) -> list[HiddenBatch]:
            rows, members, input_ids, mask = batch
            forward = partial(_forward, model, sites, input_ids, mask, precision, with_logits)
            hidden, logits = micro.run(forward, len(members))
            places = Sites.of_mask(counted_mask(members, positions), positions)
            where = places.to(device)
            return [HiddenBatch(rows, hidden[layer], input_ids, mask, where, places, logits) for layer in layers]

        return read

    padded = padded_batches(headlines, batches, pad_id, device)
    if side_by_side and device.type == "cpu":
        yield from one_thread_each(lambda: reader(with_own_hooks(model)), padded)
    else:
        yield from map(reader(model), padded)


def read_activations(
    model: Any, headlines: Sequence[TokenizedHeadline], pad_id: int, layer: int, positions: PositionKind, **options: Any
) -> tuple[Tensor, Tensor]:
    """The activations of all sites, float32 [n_sites, d_in], and the headline of each, int64 [n_sites].

    The longest headlines come first. `options` are those of `read_batches`.
    """
    batches = read_batches(model, headlines, pad_id, layer, positions, **options)
    acts, members = zip(*((batch.acts, batch.headlines) for batch in batches), strict=True)  # without the padding
    return torch.cat(acts), torch.cat(members)


@torch.no_grad()
def _forward(
    model: Any,
    sites: Mapping[int, Site],
    input_ids: Tensor,
    mask: Tensor,
    precision: Precision,
    with_logits: bool,
    parts: list[slice],
) -> tuple[dict[int, Tensor], Tensor | None]:
    """Hidden states by layer and, if asked for, logits of a batch that is read in `parts`."""
    hidden: dict[int, list[Tensor]] = {layer: [] for layer in sites}
    logits: list[Tensor] = []
    last = max(sites)
    with autocast(mask.device, precision):
        for part in parts:
            with ExitStack() as hooks:
                for layer in sorted(sites, reverse=True):  # the last one outermost, because it ends the pass
                    stop = layer == last and not with_logits
                    hooks.enter_context(hooked(sites[layer], hidden[layer].append, stop))
                logits.append(model(input_ids=input_ids[part], attention_mask=mask[part]).logits)
    return {layer: _joined(parts) for layer, parts in hidden.items()}, _joined(logits) if with_logits else None


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)
