"""Take a classifier as it is: its weights are copied, and nothing is trained.

Where the headlines have labels, the classifier is scored on them. Where they have none, each headline's label is the
classifier's own prediction; these labels are a file of the classifier.
"""

import shutil
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from tqdm.auto import tqdm

from sae_pipeline.artefacts.checkpoints import unfinished
from sae_pipeline.artefacts.writing import readable_os_errors
from sae_pipeline.classifier.classifier import (
    WEIGHTS,
    classifier_report,
    inputs_hash,
    predict,
)
from sae_pipeline.classifier.pretrained import (
    Pretrained,
    load_pretrained,
    model_source,
    name_classes,
    recorded_model,
    tokens_read,
)
from sae_pipeline.classifier.publishing import Making, publish_classifier
from sae_pipeline.classifier.support import check_encoder
from sae_pipeline.config import AdoptConfig, HeadlinesConfig
from sae_pipeline.errors import UserError, command
from sae_pipeline.headlines.dataset import Headlines
from sae_pipeline.headlines.labels import check_names
from sae_pipeline.headlines.tokens import tokenize
from sae_pipeline.schema.reports import ClassifierReport

LABELS = "labels.safetensors"
_SPLITS = ("train", "dev", "test")
_CLEARLY = 0.2  # accuracy that another order of the classes must add to be suggested


def load_adopted(model: str, label_names: tuple[str, ...] = ()) -> Pretrained:
    """A fine-tuned classifier with its own head, whose classes may be given names.

    Raises UserError for a model without a head and for another number of names.
    """
    pretrained = load_pretrained(model)
    if not pretrained.has_head:
        raise UserError(f"{model} has no classification head of its own; fine-tune it by `{command('finetune')}`.")
    n_classes = len(pretrained.labels)
    if n_classes < 2:
        raise UserError(f"{model} has {n_classes} output, so it is a regression and no classifier.")
    if pretrained.network.config.problem_type == "multi_label_classification":
        raise UserError(f"{model} may give a text several classes at once, which is not supported; use another model.")
    check_names(label_names or pretrained.labels, "--label-names" if label_names else model)
    if label_names:
        if len(label_names) != n_classes:
            raise UserError(f"{model} has {n_classes} classes, and --label-names has {len(label_names)} names.")
        name_classes(pretrained.network, label_names)
    for line in check_encoder(pretrained.network, pretrained.tokenizer):
        tqdm.write(line)
    return pretrained


def adopt(
    pretrained: Pretrained,
    headlines: Headlines,
    data: HeadlinesConfig,
    config: AdoptConfig,
    store: Path,
    checkpoints: Path,
    device: torch.device,
) -> Path:
    """Copy the classifier into the store and score it on dev and test.

    `data` is written into the record unchanged. Returns the new folder `store/<hash>`. Raises UserError for a
    `max_length` that the model cannot read.
    """
    inputs, model = inputs_hash(headlines, data, config), recorded_model(config.model)
    network, tokenizer = pretrained.network, pretrained.tokenizer
    max_length = tokens_read(pretrained, config.max_length)
    splits = {name: getattr(headlines, name) for name in _SPLITS}
    tokens = {name: tokenize(tokenizer, split.texts, max_length, data.strip_links) for name, split in splits.items()}
    wanted = _SPLITS[1:] if headlines.labelled else _SPLITS
    network.to(device)
    found = {name: predict(network, tokens[name], tokenizer.pad_token_id).argmax(-1) for name in wanted if tokens[name]}
    reports: dict[str, ClassifierReport] = {}
    if headlines.labelled:
        for name, predictions in found.items():
            reports[name] = classifier_report(name, splits[name].labels, predictions, headlines.names)
        for line in _order_lines(reports["test"]):
            tqdm.write(line)
    with unfinished(checkpoints, inputs) as checkpoint:
        final = checkpoint.folder / "classifier"
        with readable_os_errors(final):
            network.save_pretrained(final)
            tokenizer.save_pretrained(final)
            if (original := _weights_file(config.model)) is not None:
                shutil.copyfile(original, final / WEIGHTS)
            if not headlines.labelled:
                save_file({name: labels.astype(np.int32) for name, labels in found.items()}, final / LABELS)
        making = Making(inputs, model, None, [], reports, 0.0, device, "fp32")
        return publish_classifier(final, store, pretrained, headlines, data, tokens, max_length, making)


def own_labels(folder: Path) -> dict[str, list[int]]:
    """The predictions that serve as labels, by split, of an adopted classifier whose headlines have none."""
    return {name: labels.tolist() for name, labels in load_file(folder / LABELS).items()}


def _weights_file(model: str) -> Path | None:
    """The file with all of a model's weights, if they are one file of safetensors."""
    from transformers.utils import cached_file

    source = model_source(model)
    found = cached_file(source, WEIGHTS, local_files_only=True, _raise_exceptions_for_missing_entries=False)
    return Path(found) if found else None


def _order_lines(report: ClassifierReport) -> list[str]:
    """What to say of a classifier that is right less often than chance."""
    from scipy.optimize import linear_sum_assignment

    names = [score.label for score in report.per_class]
    if report.accuracy >= 1 / len(names):
        return []
    confusion = np.asarray(report.confusion)
    true, predicted = linear_sum_assignment(-confusion)
    best = confusion[true, predicted].sum() / max(1, confusion.sum())
    said = f"The classifier is right for {report.accuracy:.1%} of the test headlines, which is worse than chance."
    if best < report.accuracy + _CLEARLY:
        return [said]
    swaps = ", ".join(f"{names[i]} as {names[j]}" for i, j in zip(true, predicted, strict=True) if i != j)
    return [
        f"{said} Reading {swaps} it would be {best:.1%}, so its classes and the labels seem to be in different orders "
        "(--label-map)."
    ]
