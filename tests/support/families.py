"""A tiny random classifier of every family of transformers that has a sequence-classification head."""

import copy
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import (
    CONFIG_MAPPING,
    AutoModelForSequenceClassification,
    CanineTokenizer,
    PreTrainedTokenizerFast,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES
from transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING_NAMES, tokenizer_class_from_name

from sae_pipeline.activations.hidden_states import HiddenStates
from sae_pipeline.activations.reading import read_batches
from sae_pipeline.classifier.classifier import predict
from sae_pipeline.classifier.padding import equal_lengths
from sae_pipeline.classifier.support import check_encoder
from sae_pipeline.classifier.tail import Tail
from sae_pipeline.errors import UserError
from sae_pipeline.headlines.sample import sample_headlines
from sae_pipeline.headlines.tokens import tokenize

FAMILIES: tuple[str, ...] = tuple(MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES)

TEXTS = [text for text, _ in sample_headlines()[:5]]

NOT_TEXT = {
    "esm": "reads proteins",
    "esmc": "reads proteins",
    "gemma3": "reads images and text; its text model is gemma3_text",
    "layoutlmv2": "reads pages with pictures of their words",
    "layoutlmv3": "reads pages with pictures of their words",
    "modernvbert": "reads images and text",
    "perceiver": "reads any bytes",
    "qwen3_5": "reads images and text; its text model is qwen3_5_text",
    "t5gemma2": "reads images and text",
    "tapas": "reads tables with a question",
    "ultravbert": "reads images and text",
}

_N_LAYERS, _WIDTH, _HEADS, _FEED_FORWARD = 3, 32, 4, 64
_SMALL = {
    **dict.fromkeys(("hidden_size", "d_model", "dim", "n_embd", "emb_dim", "embedding_size"), _WIDTH),
    **dict.fromkeys(("num_hidden_layers", "n_layers", "n_layer", "num_layers"), _N_LAYERS),
    **dict.fromkeys(("encoder_layers", "decoder_layers", "num_decoder_layers"), _N_LAYERS),
    **dict.fromkeys(("num_attention_heads", "n_heads", "n_head", "num_heads", "num_key_value_heads"), _HEADS),
    **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), _HEADS),
    **dict.fromkeys(("intermediate_size", "hidden_dim", "d_ff", "ffn_dim", "n_inner", "dff"), _FEED_FORWARD),
    **dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim", "moe_intermediate_size"), _FEED_FORWARD),
    **dict.fromkeys(("head_dim", "d_kv", "d_head"), _WIDTH // _HEADS),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "max_seq_len"), 160),
    **dict.fromkeys(("num_local_experts", "num_experts", "n_routed_experts"), 4),
    **dict.fromkeys(("initializer_range", "init_std"), 0.2),
}
"""Sizes by the names that configs have for them. Weights are large, so that logits differ between headlines."""

_LATENT = {"qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8, "kv_lora_rank": 16, "q_lora_rank": 16}
_MIXED = ["linear_attention", "full_attention", "linear_attention"]
_HYBRID = ["linear_attention", "hybrid"] * 2
_PART = {"hidden_size": _WIDTH, "num_hidden_layers": _N_LAYERS, "intermediate_size": _FEED_FORWARD, "vocab_size": 300}
_EXPERTS = {"num_experts_per_tok": 2, "n_group": 1, "topk_group": 1}
_ROPE = {"rope_theta": 10_000.0, "rope_type": "default"}
_OWN: dict[str, dict[str, Any]] = {
    "axk1": {**_LATENT, **_EXPERTS, "head_dim": ...},
    "axk2": {**_LATENT, **_EXPERTS},
    "cohere_compass_text": {"rope_parameters": dict.fromkeys(("full_attention", "sliding_attention"), _ROPE)},
    "deepseek_v2": {**_LATENT, **_EXPERTS, "head_dim": ...},
    "deepseek_v3": {**_LATENT, **_EXPERTS, "head_dim": ...},
    "falcon": {"head_dim": ...},
    "funnel": {"num_hidden_layers": ..., "block_sizes": [2, 2]},
    "gpt_neo": {"attention_types": [[["global"], _N_LAYERS]]},
    "gptj": {"rotary_dim": 8},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "use_mamba_kernels": False, "mamba_dt_rank": 4},
    "lilt": {"hidden_size": 48},
    "luke": {"entity_vocab_size": 10},
    "mistral4": {**_LATENT, **_EXPERTS, "head_dim": ...},
    "longformer": {"attention_window": 32},
    "mobilebert": {"initializer_range": 0.1, "intra_bottleneck_size": _WIDTH},
    "mt5": {"decoder_start_token_id": 0},
    "qwen3_5_text": {"layer_types": _MIXED},
    "qwen3_moe": _EXPERTS,
    "qwen3_next": {**_EXPERTS, "layer_types": _MIXED},
    "reformer": {"axial_pos_embds": False, "attn_layers": ["local", "lsh", "local"], "attention_head_size": 8},
    "t5": {"decoder_start_token_id": 0},
    "t5gemma": {"encoder": _PART, "decoder": _PART},
    "umt5": {"decoder_start_token_id": 0},
    "xlnet": {"max_position_embeddings": ...},
    "xmod": {"default_language": "en_XX"},
    "zamba": {"num_hidden_layers": 4, "layers_block_type": _HYBRID, "use_mamba_kernels": False, "mamba_dt_rank": 4},
    "zamba2": {
        "num_hidden_layers": 4,
        "layers_block_type": _HYBRID,
        "layer_types": _HYBRID,
        "use_mamba_kernels": False,
        "mamba_headdim": 8,
    },
}
"""What some families need besides; `...` leaves the default."""


@cache
def tokenizer(padding: bool, end: bool) -> PreTrainedTokenizerFast:
    """A fast tokenizer of 300 tokens, with or without a padding token and an end of text after each headline.

    Without a padding token it prefers padding on the left, as decoders' tokenizers do.
    """
    trained = Tokenizer(models.BPE(unk_token="<unk>"))
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    special = ["<pad>", "<s>", "</s>", "<unk>"]
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=special, show_progress=False)
    trained.train_from_iterator([text for text, _ in sample_headlines()[:300]], trainer)
    template = "<s> $A </s>" if end else "<s> $A"
    trained.post_processor = processors.TemplateProcessing(
        single=template, special_tokens=[(token, trained.token_to_id(token)) for token in ("<s>", "</s>")]
    )
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    if padding:
        names |= {"pad_token": "<pad>", "cls_token": "<s>", "sep_token": "</s>"}
    return PreTrainedTokenizerFast(tokenizer_object=trained, padding_side="right" if padding else "left", **names)


def family(name: str, n_classes: int = 3) -> tuple[Any, Any]:
    """A random three-layer classifier of a family, d_model 32, and a tokenizer as the family usually has it.

    A family whose configs name no padding token gets a tokenizer without one. A family whose own tokenizer is not a
    fast one gets one that is not.
    """
    torch.manual_seed(0)
    kind = CONFIG_MAPPING[name]
    defaults = kind()
    padding = defaults.pad_token_id is not None
    tokens = copy.deepcopy(tokenizer(padding, end=padding))
    ids = {
        "vocab_size": len(tokens),
        "pad_token_id": tokens.pad_token_id,
        "bos_token_id": tokens.bos_token_id,
        "eos_token_id": tokens.eos_token_id,
        "cls_token_id": tokens.bos_token_id,
        "sep_token_id": tokens.eos_token_id,
        "decoder_start_token_id": tokens.eos_token_id,
    }
    settings = {key: value for key, value in {**_SMALL, **ids}.items() if hasattr(defaults, key)}
    settings |= _OWN.get(name, {})
    config = kind(**{key: value for key, value in settings.items() if value is not ...}, num_labels=n_classes)
    network = AutoModelForSequenceClassification.from_config(config).eval()
    return network, tokens if _usually_fast(name) else CanineTokenizer()


def _usually_fast(name: str) -> bool:
    usual = TOKENIZER_MAPPING_NAMES.get(name)
    return usual is None or issubclass(tokenizer_class_from_name(usual), PreTrainedTokenizerFast)


class Examined(NamedTuple):
    """What was found out about a family."""

    refused: str | None = None  # the sentence with which it is refused
    max_logit_difference: float = 0.0
    cut: bool = True  # only the layers after the hookpoint run again for an edit
    equal_lengths: bool = False  # a batch holds headlines of one length

    @property
    def record(self) -> dict[str, Any]:
        """The same as in the JSON of `make check-encoders`."""
        if self.refused:
            return {"works": False, "refused": self.refused}
        found = {"works": True, "max_logit_difference": self.max_logit_difference}
        return {**found, "cut": self.cut, "equal_lengths": self.equal_lengths}


def examine(name: str) -> Examined:
    """Hold all ways to a family's logits against the plain model, which reads each headline by itself.

    The ways are padded batches, reading with a hook at any layer, and rerunning from any layer. Also checks, at each
    layer, that the hookpoint is where the model's `hidden_states` come from, and that gradients reach it. The last of
    `hidden_states` is left out, because many families normalise it.
    """
    network, tokens = family(name)
    try:
        headlines = tokenize(tokens, TEXTS, 64, strip_links=True) if tokens.is_fast else []
        plain = [_plain(network, headline.input_ids) for headline in headlines]
        check_encoder(network, tokens)
    except UserError as error:
        return Examined(refused=str(error))
    pad_id, n_layers = tokens.pad_token_id, network.config.num_hidden_layers
    found = [predict(network, headlines, pad_id)]
    for layer in range(1, n_layers + 1):
        tail = Tail(network, layer)
        batches = list(read_batches(network, headlines, pad_id, layer, "all", with_logits=True))
        states = HiddenStates.collect(headlines, network.config.hidden_size, torch.device("cpu"), batches)
        found.append(states.rerun(tail, 4096))
        for batch in batches:
            logits = np.zeros_like(found[0])
            logits[batch.rows] = batch.logits
            found.append(np.where(np.isin(np.arange(len(headlines)), batch.rows)[:, None], logits, found[0]))
        _check_hookpoint(states, [named for _, named in plain], layer, n_layers)
        _check_gradients(states, tail)
    expected = torch.cat([logits for logits, _ in plain]).numpy()
    difference = max(float(np.abs(logits - expected).max()) for logits in found)
    return Examined(None, difference, not Tail(network, 2).whole, equal_lengths(network))


@torch.no_grad()
def _plain(network: Any, ids: list[int]) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
    """The logits [1, n_classes] and the hidden states of one headline, from the model alone."""
    out = network(input_ids=torch.tensor([ids]), output_hidden_states=True)
    return out.logits, out["encoder_hidden_states" if "encoder_hidden_states" in out else "hidden_states"]


def _check_hookpoint(states: HiddenStates, named: list[tuple[torch.Tensor, ...]], layer: int, n_layers: int) -> None:
    if layer < n_layers:
        whole = torch.cat([of_one[layer][0, : states.lengths[i]] for i, of_one in enumerate(named)])
        torch.testing.assert_close(states.hidden, whole, rtol=1e-3, atol=1e-4)


def _check_gradients(states: HiddenStates, tail: Tail) -> None:
    hidden, input_ids, mask = states.padded(np.array([0]))
    hidden.requires_grad_()
    (slope,) = torch.autograd.grad(tail(hidden, input_ids, mask)[:, 0].sum(), hidden)
    assert slope.isfinite().all() and slope.abs().max() > 0


def save_family(name: str, folder: Path) -> None:
    """Save a tiny classifier of a family with its tokenizer, as a user would have it."""
    network, tokens = family(name)
    network.save_pretrained(folder)
    tokens.save_pretrained(folder)
