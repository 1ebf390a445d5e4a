"""Padding of a classifier's batches, so that a headline's logits do not depend on its batch.

Padding is on the right, whatever side a tokenizer prefers. A decoder's tokens attend to earlier tokens only, so they
never attend to padding.
"""

from collections.abc import Iterator
from typing import Any

_EQUAL_LENGTHS = "batches_of_equal_lengths"  # kept in the model's config.json, beside the weights


def equal_lengths(network: Any) -> bool:
    """Whether the headlines of a batch must be of one length, because the network's logits change with padding."""
    return bool(getattr(network.config, _EQUAL_LENGTHS, False))


def require_equal_lengths(network: Any) -> None:
    """Note in the network's config that its logits change with padding."""
    setattr(network.config, _EQUAL_LENGTHS, True)


def padding_choices(network: Any, tokenizer: Any) -> Iterator[int]:
    """Set one token after the other as padding, the best one first, and yield its id.

    A tokenizer without a padding token (GPT-2, Llama) gets its end-of-text token, or another special token if the
    caller asks for more. Decoders find a headline's last token by the padding token that their config names. So a
    config without a padding token gets the chosen one. A config that names another token than the tokenizer is left
    as it is, because its position embeddings were built with that token.
    """
    chosen = [tokenizer.pad_token_id]
    if chosen == [None]:
        chosen = [tokenizer.eos_token_id, tokenizer.bos_token_id, tokenizer.unk_token_id]
    config_follows = network.config.pad_token_id is None
    for token in dict.fromkeys(token for token in chosen if token is not None):
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(token)
        if config_follows:
            network.config.pad_token_id = token
        yield token
