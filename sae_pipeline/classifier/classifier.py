"""The fine-tuned classifier: its record, loading it, its predictions and their scores."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from tqdm.auto import tqdm

from sae_pipeline.arrays import Floats, Ints
from sae_pipeline.artefacts.checksums import MissingError, check_files, content_hash, fields_of, named_record
from sae_pipeline.artefacts.writing import settings_hash
from sae_pipeline.classifier.padding import equal_lengths
from sae_pipeline.classifier.pretrained import load_pretrained, recorded_model
from sae_pipeline.config import TOKENS_PER_BATCH, AdoptConfig, FinetuneConfig, HeadlinesConfig, Precision
from sae_pipeline.errors import DamageError, UserError, command
from sae_pipeline.headlines.dataset import Headlines
from sae_pipeline.headlines.tokens import TokenizedHeadline, length_batches, padded_batches, tokenize
from sae_pipeline.machine.device import autocast, token_budget
from sae_pipeline.machine.memory import for_each_batch
from sae_pipeline.schema.common import FileName, FileSum
from sae_pipeline.schema.reports import ClassifierReport, ClassScore

RECORD, WEIGHTS = "classifier.json", "model.safetensors"


class EpochRecord(BaseModel):
    """One pass of fine-tuning."""

    epoch: int
    train_loss: float
    dev_accuracy: float
    dev_macro_f1: float


class ClassifierRecord(BaseModel):
    """The content of `classifier.json`, which stands beside a classifier's weights."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    inputs_hash: str
    data_hash: str
    data_revision: str | None = Field(description="the commit of a data set on the hub")
    model: str
    model_revision: str | None = Field(description="the commit of a model on the hub")
    labels: list[str] = Field(description="the classes, in the order of the logits")
    labelled: bool = Field(description="false: each headline's label is the classifier's own prediction")
    n_layers: int
    d_model: int
    max_length: int = Field(description="tokens that a headline is cut to, special ones included")
    n_cut: dict[str, int] = Field(description="headlines of each split that are longer")
    headlines: HeadlinesConfig
    finetune: FinetuneConfig | None = Field(description="null for a classifier that was taken as it is")
    history: list[EpochRecord]
    dev: ClassifierReport | None = Field(description="null where the split has no labels or no headlines")
    test: ClassifierReport | None
    seconds: float
    device: str
    precision: str
    files: dict[FileName, FileSum] = Field(description="all other files of the folder")

    @property
    def name(self) -> str:
        """The hash that names the classifier: of its weights and of what it was made from."""
        return settings_hash(content_hash(self.files[WEIGHTS]), self.inputs_hash)


@dataclass(frozen=True)
class Classifier:
    """A fine-tuned classifier in memory."""

    model: Any
    tokenizer: Any
    record: ClassifierRecord
    hash: str
    folder: Path

    @property
    def device(self) -> torch.device:
        """The device that holds the weights."""
        return next(self.model.parameters()).device  # type: ignore[no-any-return]

    def tokenize(self, texts: Sequence[str]) -> list[TokenizedHeadline]:
        """Tokenise headlines as in fine-tuning."""
        return tokenize(self.tokenizer, texts, self.record.max_length, self.record.headlines.strip_links)


def check_classifier(folder: Path) -> ClassifierRecord:
    """The record of a classifier in the store, all of whose files are as they were written.

    Raises DamageError, and UserError where another file has been put into the folder.
    """
    record = check_record(folder)
    check_files(folder, record.files)
    others = {path.name for path in folder.iterdir() if path.name[0] != "."} - {RECORD, *record.files}
    if others:  # transformers would read some of them; the classifier itself is whole
        raise UserError(
            f"{folder} holds {', '.join(sorted(others))}, which do not belong to the classifier; move them elsewhere."
        )
    return record


def check_record(folder: Path) -> ClassifierRecord:
    """The record of a classifier in the store, compared with the folder's name. Raises DamageError."""
    record = named_record(folder, RECORD, ClassifierRecord)
    if WEIGHTS not in record.files or record.name != folder.name:
        raise DamageError(f"{RECORD} belongs to another classifier")
    return record


def classifier_record(folder: Path) -> ClassifierRecord:
    """Read the record beside a classifier's weights. Raises UserError when there is none."""
    try:
        return check_record(folder)
    except DamageError as error:
        raise _unusable(folder, error) from error


def load_classifier(folder: Path, device: torch.device) -> Classifier:
    """Read a classifier of the store. Raises UserError when there is none and when a file has changed."""
    try:
        record = check_classifier(folder)
    except DamageError as error:
        raise _unusable(folder, error) from error
    loaded = load_pretrained(str(folder))
    return Classifier(loaded.network.to(device), loaded.tokenizer, record, folder.name, folder)


def _unusable(folder: Path, error: DamageError) -> UserError:
    if isinstance(error, MissingError) and not (folder / RECORD).exists():
        return UserError(f"{folder} holds no classifier; run `{command('finetune')}`.")
    verb = "adopt" if fields_of(folder / RECORD).get("finetune", "") is None else "finetune"
    return UserError(f"The classifier in {folder} is damaged: {error}; `{command(verb)}` makes it again.")


def inputs_hash(headlines: Headlines, data: HeadlinesConfig, config: FinetuneConfig | AdoptConfig) -> str:
    """Hash everything that goes into a classifier, a local model's weights included but not where they lie."""
    made_with = config.model_copy(update={"model": recorded_model(config.model)})
    return settings_hash(headlines.data_hash, data.strip_links, made_with.model_dump())


@torch.inference_mode()
def predict(
    network: Any,
    headlines: Sequence[TokenizedHeadline],
    pad_id: int,
    tokens_per_batch: int = TOKENS_PER_BATCH,
    precision: Precision = "fp32",
) -> NDArray[np.float32]:
    """Compute the logits [n_headlines, n_classes], in the headlines' order."""
    device = next(network.parameters()).device
    logits = np.zeros((len(headlines), network.config.num_labels), dtype=np.float32)
    budget = token_budget(device, tokens_per_batch)
    batches = length_batches([len(h.input_ids) for h in headlines], budget, equal_lengths(network))

    def run(batch: Ints) -> None:
        for rows, _, input_ids, mask in padded_batches(headlines, [batch.astype(np.int64)], pad_id, device):
            logits[rows] = network(input_ids=input_ids, attention_mask=mask).logits.float().cpu().numpy()

    with autocast(device, precision):
        shown = tqdm(batches, desc="predict", unit="batch", leave=False)
        for_each_batch("predictions", shown, run)
    return logits


def classifier_report(
    split: str, labels: Sequence[int] | Ints, predictions: Ints, names: Sequence[str]
) -> ClassifierReport:
    """Score predicted classes [n_headlines] on a split, beside always predicting its most frequent class.

    `names` are those of the classes. A score that would divide by 0 is 0.
    """
    from sklearn.metrics import confusion_matrix

    truth = np.asarray(labels, dtype=np.int64)
    majority = np.full_like(truth, np.bincount(truth).argmax())
    precision, recall, f1, support = _class_scores(truth, predictions, len(names))
    return ClassifierReport(
        split=split,
        n_headlines=len(truth),
        accuracy=float((truth == predictions).mean()),
        macro_f1=float(f1.mean()),
        majority_accuracy=float((truth == majority).mean()),
        majority_macro_f1=float(_class_scores(truth, majority, len(names))[2].mean()),
        per_class=[
            ClassScore(label=label, precision=p, recall=r, f1=f, support=n)
            for label, p, r, f, n in zip(names, precision, recall, f1, support.tolist(), strict=True)
        ],
        confusion=confusion_matrix(truth, predictions, labels=range(len(names))).tolist(),
    )


def _class_scores(truth: Ints, predictions: Ints, n_classes: int) -> tuple[Floats, Floats, Floats, Ints]:
    """Precision, recall, F1 and support of each class, [n_classes] each."""
    from sklearn.metrics import precision_recall_fscore_support

    classes = range(n_classes)
    return precision_recall_fscore_support(truth, predictions, labels=classes, zero_division=0)  # type: ignore[no-any-return]
