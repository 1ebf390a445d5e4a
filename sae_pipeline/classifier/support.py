"""Check before any work that every step works for a classifier, by running it on two short headlines."""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor

from sae_pipeline.classifier.hooks import Site, hooked, resolve_hookpoint
from sae_pipeline.classifier.padding import padding_choices, require_equal_lengths
from sae_pipeline.classifier.tail import Tail
from sae_pipeline.errors import UserError
from sae_pipeline.headlines.tokens import TokenizedHeadline, collate, tokenize

_HEADLINES = ("Shares of the bank rise 5% after record profit beats all estimates", "Oil prices fall")
_MOST_TOKENS = 64
_FEWEST_TOKENS = 10  # beside special ones; an empty tokenizer that transformers makes up has 0 or 1
_ADVICE = "use a BERT-like encoder."
_TOLERANCE = 1e-4  # share of the largest logit by which logits may differ from rounding


def check_encoder(network: Any, tokenizer: Any) -> list[str]:
    """Prepare a classifier for padded batches. Returns sentences about what a user should know of it.

    Gives a padding token to a tokenizer without one, and notes in the network's config that its batches must be of one
    length where padding changes its logits; the weights stay as they are. Raises UserError for a classifier that
    cannot be read or rerun from its layers.
    """
    name = type(network).__name__
    if not tokenizer.is_fast:
        raise UserError(f"The tokenizer of {name} gives no offsets; use a model with a fast tokenizer.")
    if len(tokenizer) - len(set(tokenizer.all_special_ids)) < _FEWEST_TOKENS:
        raise UserError(
            f"{name} has no tokenizer of its own, or one without words; save it into the same folder "
            "(tokenizer.save_pretrained)."
        )
    sites = _sites(network, name)
    headlines = tokenize(tokenizer, _HEADLINES, _MOST_TOKENS, strip_links=False)
    if not all(headline.counted("words") for headline in headlines):
        raise UserError(f"The tokenizer of {name} finds no words in {_HEADLINES[1]!r}; use the model's own tokenizer.")
    notes = []
    plain = _plain(network, headlines, name)
    had = tokenizer.pad_token
    _choose_padding(network, tokenizer, headlines, plain, name)
    if had is None:
        notes.append(
            f"{name} has no padding token; batches are padded with {tokenizer.pad_token}, which it never sees."
        )
    batch = headlines
    if not _close(_together(network, headlines, tokenizer.pad_token_id), plain):
        require_equal_lengths(network)
        notes.append(f"The logits of {name} change with padding, so each batch holds headlines of one length.")
        batch, plain = [headlines[0], headlines[0]], plain[[0, 0]]
        if not _close(_together(network, batch, tokenizer.pad_token_id), plain):
            raise UserError(f"The logits of {name} depend on the other headlines of a batch; {_ADVICE}")
    tail = _check_rerun(network, sites, collate(batch, tokenizer.pad_token_id), plain, name)
    if tail.whole:
        notes.append(f"{name} cannot be cut at a layer, so all of its layers run for each edit: slower, same numbers.")
    return notes


def check_first_position(network: Any, tokenizer: Any) -> None:
    """Raise UserError unless the head of a classifier reads the first token, as `[CLS]` of BERT, and no other one."""
    batch = collate(tokenize(tokenizer, _HEADLINES[:1], _MOST_TOKENS, strip_links=False), tokenizer.pad_token_id)
    input_ids, mask = (tensor.to(next(network.parameters()).device) for tensor in batch)
    last = network.config.num_hidden_layers
    outputs: list[Tensor] = []
    with torch.no_grad(), hooked(resolve_hookpoint(network, last)[0], outputs.append):
        network(input_ids=input_ids, attention_mask=mask)
    hidden = outputs[0].detach().requires_grad_()
    with torch.enable_grad():
        (slope,) = torch.autograd.grad(Tail(network, last)(hidden, input_ids, mask).square().sum(), hidden)
    read = slope[0].abs().amax(1).nonzero().flatten().tolist()
    if read != [0]:
        which = "the last token" if read == [mask.shape[1] - 1] else f"{len(read)} tokens"
        raise UserError(
            f"The head of {type(network).__name__} reads {which} of a headline, not the first one alone; "
            "use --positions mean for one vector per headline."
        )


def _sites(network: Any, name: str) -> list[Site]:
    """The place of each layer's output. Raises UserError where they are not found."""
    n_layers, width = (getattr(network.config, key, None) for key in ("num_hidden_layers", "hidden_size"))
    if not isinstance(n_layers, int) or not isinstance(width, int):
        raise UserError(f"The config of {name} has no one number of layers and width; {_ADVICE}")
    return [resolve_hookpoint(network, layer)[0] for layer in range(1, n_layers + 1)]


def _plain(network: Any, headlines: Sequence[TokenizedHeadline], name: str) -> Tensor:
    """The logits of headlines that are read one at a time, as the model itself would. Raises UserError without them."""
    try:
        logits, again = (_alone(network, headlines) for _ in range(2))
    except Exception as error:  # families raise what they like for inputs that they do not take
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"{name} cannot read a headline by itself ({reason}); {_ADVICE}") from error
    if logits.shape != (len(headlines), network.config.num_labels) or not logits.isfinite().all():
        raise UserError(f"{name} gives no finite logit per class and headline; {_ADVICE}")
    if not _close(again, logits):
        raise UserError(f"{name} gives other logits each time it reads a headline; {_ADVICE}")
    return logits


@torch.no_grad()
def _alone(network: Any, headlines: Sequence[TokenizedHeadline]) -> Tensor:
    """Logits [n_headlines, n_classes] of headlines that are read one at a time, without padding."""
    return torch.cat([_together(network, [headline], 0) for headline in headlines])


@torch.no_grad()
def _together(network: Any, headlines: Sequence[TokenizedHeadline], pad_id: int) -> Tensor:
    """Logits [n_headlines, n_classes] of headlines in one padded batch."""
    device = next(network.parameters()).device
    input_ids, mask = (tensor.to(device) for tensor in collate(headlines, pad_id))
    return network(input_ids=input_ids, attention_mask=mask).logits.float()  # type: ignore[no-any-return]


def _choose_padding(
    network: Any, tokenizer: Any, headlines: Sequence[TokenizedHeadline], plain: Tensor, name: str
) -> None:
    """Set the first padding token that leaves the logits of whole headlines as they are. Raises UserError for none."""
    known = len(network.get_input_embeddings().weight)
    for token in padding_choices(network, tokenizer):
        if token >= known:
            raise UserError(
                f"The tokenizer of {name} pads with token {token}, and the model knows tokens 0 to {known - 1}; "
                "use the model's own tokenizer."
            )
        if _close(_alone(network, headlines), plain):
            return
    raise UserError(f"{name} has no token to pad a batch with; give its tokenizer a pad_token that the model knows.")


def _close(logits: Tensor, plain: Tensor) -> bool:
    return bool((logits - plain).abs().max() <= _TOLERANCE * plain.abs().max())


@torch.no_grad()
def _check_rerun(network: Any, sites: Sequence[Site], batch: tuple[Tensor, Tensor], plain: Tensor, name: str) -> Tail:
    """Read all layers of a batch and rerun it from the middle one. Returns what rerun it.

    Raises UserError where a layer is not one vector per token, and where the rerun gives other logits.
    """
    device = next(network.parameters()).device
    input_ids, mask = (tensor.to(device) for tensor in batch)
    outputs: list[list[Any]] = [[] for _ in sites]
    with ExitStack() as hooks:
        for site, output in zip(sites, outputs, strict=True):
            hooks.enter_context(hooked(site, output.append))
        network(input_ids=input_ids, attention_mask=mask)
    wanted = (*mask.shape, network.config.hidden_size)
    for layer, output in enumerate(outputs, 1):
        shapes = [tuple(hidden.shape) for hidden in output]
        if not shapes:
            raise UserError(f"Layer {layer} of {name} does not run as a module that can be read; {_ADVICE}")
        if shapes != [wanted]:
            raise UserError(
                f"Layer {layer} of {name} does not give one vector per token: its output is {shapes[0]}, and "
                f"[n_headlines, n_positions, d_model] is {wanted}; {_ADVICE}"
            )
    middle = (len(sites) + 1) // 2
    tail = Tail(network, middle)
    hidden = outputs[middle - 1][0].masked_fill(mask[..., None] == 0, 0.0)
    try:
        agrees = _close(tail(hidden, input_ids, mask), plain)
    except Exception:  # families raise what they like for an output that is replaced
        agrees = False
    if not agrees:
        raise UserError(f"{name} cannot be rerun from layer {middle}; {_ADVICE}")
    return tail
