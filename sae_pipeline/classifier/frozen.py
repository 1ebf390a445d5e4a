"""Fine-tuning of the upper layers alone: the lower ones stay as they are, and what they compute is kept.

The frozen layers read each training headline once, without dropout. All epochs then begin at what they made of it.
"""

import mmap
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm.auto import tqdm

from sae_pipeline.arrays import Ints
from sae_pipeline.artefacts.writing import readable_os_errors
from sae_pipeline.classifier.hooks import hooked, resolve_hookpoint
from sae_pipeline.classifier.padding import equal_lengths
from sae_pipeline.classifier.tail import Tail
from sae_pipeline.config import TOKENS_PER_BATCH, Precision
from sae_pipeline.errors import UserError
from sae_pipeline.headlines.tokens import TokenizedHeadline, length_batches, padded_batches
from sae_pipeline.machine.device import autocast, token_budget, use_bf16
from sae_pipeline.machine.memory import for_each_batch


class Reader(NamedTuple):
    """A way to read some headlines."""

    module: Any  # what runs; dropout is active in its training mode
    read: Callable[[NDArray[np.int64]], Tensor]  # from indices [n] of headlines to logits [n, n_classes]


def freeze(network: Any, n_layers: int) -> float:
    """Stop training the weights that the output of layer `n_layers` depends on.

    Returns the share of all weights that is still trained.

    Raises UserError for more layers than there are, and for layers that share their weights with those above.
    """
    there_are = network.config.num_hidden_layers
    if n_layers > there_are:
        raise UserError(f"This model has {there_are} layers; use --freeze {there_are} or less.")
    site, _ = resolve_hookpoint(network, n_layers)
    above, _ = resolve_hookpoint(network, there_are)
    seen: list[Tensor] = []
    pad_id = network.config.pad_token_id or 0
    device = next(network.parameters()).device
    ids = torch.full((1, 4), (pad_id + 1) % network.config.vocab_size, device=device)
    network.zero_grad()
    with hooked(site, seen.append, stop=True):
        network(input_ids=ids, attention_mask=torch.ones_like(ids))
    seen[0].float().sum().backward()  # a weight that it depends on gets a gradient, even if that is 0
    for parameter in network.parameters():
        parameter.requires_grad = parameter.grad is None
    network.zero_grad()
    if n_layers < there_are and not any(parameter.requires_grad for parameter in above.module.parameters()):
        raise UserError("The layers of this model share their weights, so none can be frozen alone; use --freeze 0.")
    weights = list(network.parameters())
    trained: int = sum(weight.numel() for weight in weights if weight.requires_grad)
    everything: int = sum(weight.numel() for weight in weights)
    return trained / everything


def from_tokens(network: Any, headlines: Sequence[TokenizedHeadline], pad_id: int) -> Reader:
    """Read headlines with the whole network."""
    device = next(network.parameters()).device

    def read(rows: NDArray[np.int64]) -> Tensor:
        ((_, _, input_ids, mask),) = padded_batches(headlines, [rows], pad_id, device)
        return network(input_ids=input_ids, attention_mask=mask).logits  # type: ignore[no-any-return]

    return Reader(network, read)


def from_layer(
    network: Any,
    tail: Tail,
    headlines: Sequence[TokenizedHeadline],
    pad_id: int,
    layer: int,
    precision: Precision,
    folder: Path,
) -> Reader:
    """Read headlines with the layers above `layer`. What those up to `layer` compute is kept in a file in `folder`.

    `tail` must be made from `network` before its weights become bf16. The file has no name, so the system removes it
    with the process. Raises ResourceError where the disk is too small.
    """
    device = next(network.parameters()).device
    kept, starts = _outputs(network.eval(), headlines, pad_id, layer, precision, folder)

    def read(rows: NDArray[np.int64]) -> Tensor:
        ((_, members, input_ids, mask),) = padded_batches(headlines, [rows], pad_id, device)
        spans = zip(starts[rows].tolist(), (len(one.input_ids) for one in members), strict=True)
        tokens = torch.cat([kept[start : start + length] for start, length in spans])
        hidden = torch.zeros(*mask.shape, kept.shape[1], device=device)
        hidden[mask.bool()] = tokens.to(device).float()
        return tail(hidden, input_ids, mask)

    return Reader(tail.module, read)


@torch.no_grad()
def _outputs(
    network: Any, headlines: Sequence[TokenizedHeadline], pad_id: int, layer: int, precision: Precision, folder: Path
) -> tuple[Tensor, NDArray[np.int64]]:
    """The output of `layer` at all tokens [n_tokens, d_model], and the first token of each headline [n_headlines].

    It is kept as it enters the products of the next layer: in bf16 where these are computed in bf16, else in fp32.
    """
    device = next(network.parameters()).device
    dtype = torch.bfloat16 if use_bf16(device, precision) else torch.float32
    site, _ = resolve_hookpoint(network, layer)
    starts = np.zeros(len(headlines), np.int64)
    batches = length_batches(
        [len(one.input_ids) for one in headlines], token_budget(device, TOKENS_PER_BATCH), equal_lengths(network)
    )
    n_tokens, width = 0, network.config.hidden_size

    def run(batch: Ints) -> None:
        nonlocal n_tokens, width
        ((rows, members, input_ids, mask),) = padded_batches(headlines, [batch.astype(np.int64)], pad_id, device)
        seen: list[Tensor] = []
        with hooked(site, seen.append, stop=True), autocast(device, precision):
            network(input_ids=input_ids, attention_mask=mask)
        tokens = seen[0][mask.bool()].to(dtype).cpu()
        lengths = [len(one.input_ids) for one in members]
        file.write(tokens.view(torch.uint8).numpy().data)
        starts[rows] = n_tokens + np.cumsum([0, *lengths[:-1]])
        n_tokens, width = n_tokens + len(tokens), tokens.shape[1]

    with readable_os_errors(folder), tempfile.TemporaryFile(dir=folder) as file:
        shown = tqdm(batches, desc=f"frozen layers 1 to {layer}", unit="batch")
        for_each_batch("the frozen layers", shown, run)
        file.flush()
        memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    return torch.frombuffer(memory, dtype=dtype).view(-1, width), starts
