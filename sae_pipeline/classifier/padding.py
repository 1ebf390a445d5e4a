"""How a classifier's batches are padded, so that a headline's logits do not depend on its batch.

Padding stands on the right, whatever side a tokenizer prefers. So a decoder's tokens, which attend to earlier ones
alone, never see it.
"""

from typing import Any

_EQUAL_LENGTHS = "batches_of_equal_lengths"  # kept in the model's config.json, beside the weights


def equal_lengths(network: Any) -> bool:
    """Whether the headlines of a batch must be of one length, because the network's logits change with padding."""
    return bool(getattr(network.config, _EQUAL_LENGTHS, False))


def require_equal_lengths(network: Any) -> None:
    """Note in the network's config that its logits change with padding."""
    setattr(network.config, _EQUAL_LENGTHS, True)


def padding_tokens(tokenizer: Any) -> list[int]:
    """The ids that may pad a batch, the best one first.

    A tokenizer without a padding token (GPT-2, Llama) pads with its end of text, or another special token where that
    changes the logits.
    """
    if tokenizer.pad_token_id is not None:
        return [tokenizer.pad_token_id]
    candidates = (tokenizer.eos_token_id, tokenizer.bos_token_id, tokenizer.unk_token_id)
    return list(dict.fromkeys(token for token in candidates if token is not None))


def pad_with(network: Any, tokenizer: Any, token: int) -> None:
    """Make `token` the padding of the tokenizer and of the network, which finds a headline's last token by it."""
    if tokenizer.pad_token_id != token:
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(token)
    network.config.pad_token_id = token
