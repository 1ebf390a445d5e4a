"""The models that are compared: before, after, and a control that differs from after by its seed alone."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sae_pipeline.arrays import Ints
from sae_pipeline.artefacts.checksums import passing_over_damage
from sae_pipeline.classifier import classifier as classifiers
from sae_pipeline.classifier.classifier import Classifier, ClassifierRecord
from sae_pipeline.classifier.hooks import resolve_hookpoint
from sae_pipeline.classifier.pretrained import class_order, load_for, load_pretrained, recorded_model
from sae_pipeline.config import DiffConfig
from sae_pipeline.errors import UserError, command
from sae_pipeline.headlines.tokens import tokenize
from sae_pipeline.schema.diff import ModelRole
from sae_pipeline.study.layout import Layout, classifier_folders
from sae_pipeline.study.making import other_classifier

_SHARED = ("data_hash", "labels", "model", "model_revision", "max_length")  # of fine-tunings that differ by their seed


@dataclass(frozen=True)
class Compared:
    """One of the models, in memory."""

    role: ModelRole
    name: str
    network: Any
    tokenizer: Any
    has_head: bool  # whether it tells the run's classes apart
    classifier_hash: str | None = None

    @classmethod
    def of(cls, role: ModelRole, classifier: Classifier) -> "Compared":
        """A classifier of the study."""
        return cls(role, classifier.hash, classifier.model, classifier.tokenizer, True, classifier.hash)


def compared_models(after: Classifier, config: DiffConfig, root: Path, device: torch.device) -> list[Compared]:
    """Before, after, and the control where there is one.

    Raises UserError where it is not known what `after` was fine-tuned from, for models that do not exist, and for a
    control of a classifier that was not fine-tuned here.
    """
    before = _before(after, config.before, root, device)
    models = [before, Compared.of("after", after)]
    folder = _control_folder(after, config, before, root, device)
    if folder is not None:
        models.append(Compared.of("control", classifiers.load_classifier(folder, device)))
    return models


def check_comparable(models: list[Compared], after: Classifier, layer: int, texts: list[str]) -> None:
    """Raise UserError unless all models read `texts` as the same tokens and have a `layer` of the same width."""
    wanted, width = [headline.input_ids for headline in after.tokenize(texts)], after.record.d_model
    for model in models:
        found = tokenize(model.tokenizer, texts, after.record.max_length, after.record.headlines.strip_links)
        if [headline.input_ids for headline in found] != wanted:
            raise UserError(
                f"{model.name} reads the headlines as other tokens than {after.hash}, so their activations cannot be "
                "compared token by token; name a model with the same tokenizer by --before."
            )
        resolve_hookpoint(model.network, layer)
        if model.network.config.hidden_size != width:
            raise UserError(
                f"{model.name} has activations of width {model.network.config.hidden_size}, and {after.hash} of width "
                f"{width}; name a model of the same size by --before."
            )


def _before(after: Classifier, wanted: str | None, root: Path, device: torch.device) -> Compared:
    """The model that `wanted` names, or the one that `after` was fine-tuned from."""
    record, store = after.record, Layout(root).store
    if wanted is None:
        if record.finetune is None:
            raise UserError(
                f"{after.hash} was adopted, so it is not known what it was fine-tuned from; name a model by --before."
            )
        if "@" in record.model:
            raise UserError(
                f"{after.hash} was fine-tuned from a folder, {record.model.split('@')[0]}; say where it is by --before."
            )
        wanted = record.model
    elif (folder := _stored(store, wanted)) is not None:
        if folder.name == after.hash:
            raise UserError(f"{after.hash} is the run's own classifier; name another one by --before.")
        other = classifiers.load_classifier(folder, device)
        same = other.record.labels == record.labels
        return Compared("before", other.hash, other.model, other.tokenizer, same, other.hash)
    pretrained = load_pretrained(wanted)
    has_head = pretrained.has_head and class_order(pretrained.labels, record.labels) is not None
    if has_head:
        pretrained = load_for(wanted, record.labels)
    name = recorded_model(wanted)
    return Compared("before", name, pretrained.network.to(device), pretrained.tokenizer, has_head)


def _stored(store: Path, wanted: str) -> Path | None:
    """The classifier of the store that a hash or a path names; None for anything else."""
    named = (store / wanted, Path(wanted))
    return next((path for path in named if path.resolve().parent == store.resolve() and path.is_dir()), None)


def _control_folder(
    after: Classifier, config: DiffConfig, before: Compared, root: Path, device: torch.device
) -> Path | None:
    """The folder of the control: a second fine-tuning, or one that the study has already."""
    record, store = after.record, Layout(root).store
    if config.control_seed is None:
        return _present_control(record, before, Layout(root))
    if record.finetune is None:
        raise UserError(f"{after.hash} was adopted, and only a classifier that was fine-tuned here can have a control.")
    if config.control_seed == record.finetune.seed:
        raise UserError(f"{after.hash} has the seed {record.finetune.seed} itself; give another one by --control-seed.")
    if before.classifier_hash is not None:
        other = classifiers.classifier_record(store / before.classifier_hash)
        if _by_seed_alone(record, other) and other.finetune and other.finetune.seed == config.control_seed:
            raise UserError(f"{before.name} is already the model before; give another seed by --control-seed.")
    model = config.before if "@" in record.model and config.before else record.model
    if recorded_model(model) != record.model:
        raise UserError(
            f"The control is fine-tuned from {record.model}, as {after.hash} was; run `{command('finetune')} --seed "
            f"{config.control_seed}` with that model, and leave out --control-seed."
        )
    finetuning = record.finetune.model_copy(update={"seed": config.control_seed, "model": model})
    return other_classifier(record, finetuning, root, device)


def _present_control(record: ClassifierRecord, before: Compared, layout: Layout) -> Path | None:
    """The folder of a whole classifier that differs from `record` by its seed alone, and is not the model before."""
    for folder in classifier_folders(layout):
        with passing_over_damage(folder):
            other = classifiers.check_record(folder)
            if _by_seed_alone(record, other) and folder.name != before.classifier_hash:
                classifiers.check_classifier(folder)
                return folder
    return None


def _by_seed_alone(one: ClassifierRecord, other: ClassifierRecord) -> bool:
    """Whether two classifiers were fine-tuned in the same way, from the same headlines, but from different seeds."""
    if one.finetune is None or other.finetune is None or one.finetune.seed == other.finetune.seed:
        return False
    same = other.finetune.model_copy(update={"seed": one.finetune.seed})
    return (
        same == one.finetune
        and all(getattr(one, name) == getattr(other, name) for name in _SHARED)
        and (one.headlines.strip_links == other.headlines.strip_links)
    )


def drawn(n_vectors: Ints, most: int, seed: int) -> Ints:
    """Random headlines that together have at most `most` vectors, ascending; `n_vectors` [n] are those of each."""
    order = np.random.default_rng(seed).permutation(len(n_vectors))
    chosen: Ints = np.sort(order[np.cumsum(n_vectors[order]) <= most])
    return chosen
