"""Write the record of a classifier that was fine-tuned or adopted, and move the classifier into the store."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from sae_pipeline.artefacts.checksums import file_sums, write_record
from sae_pipeline.artefacts.writing import publish
from sae_pipeline.classifier.classifier import RECORD, ClassifierRecord, EpochRecord, check_classifier
from sae_pipeline.classifier.pretrained import Pretrained
from sae_pipeline.config import FinetuneConfig, HeadlinesConfig
from sae_pipeline.headlines.dataset import Headlines
from sae_pipeline.headlines.tokens import TokenizedHeadline
from sae_pipeline.schema.reports import ClassifierReport


@dataclass(frozen=True)
class Making:
    """What making a classifier found, beside its weights: the fields of its record that differ by the way of making."""

    inputs_hash: str
    model: str
    finetune: FinetuneConfig | None
    history: list[EpochRecord]
    reports: dict[str, ClassifierReport]  # by split; without those of headlines that have no labels
    seconds: float
    device: torch.device
    precision: str


def publish_classifier(
    folder: Path,
    store: Path,
    pretrained: Pretrained,
    headlines: Headlines,
    data: HeadlinesConfig,
    tokens: Mapping[str, Sequence[TokenizedHeadline]],
    max_length: int,
    making: Making,
) -> Path:
    """Write the record beside the files of a classifier and move its folder into the store. Returns the new folder.

    `tokens` has the headlines of each split, cut to `max_length`. `data` is written into the record unchanged.
    """
    record = ClassifierRecord(
        inputs_hash=making.inputs_hash,
        data_hash=headlines.data_hash,
        data_revision=headlines.revision,
        model=making.model,
        model_revision=pretrained.revision,
        labels=pretrained.labels,
        labelled=headlines.labelled,
        n_layers=pretrained.network.config.num_hidden_layers,
        d_model=pretrained.network.config.hidden_size,
        max_length=max_length,
        n_cut={name: sum(headline.is_cut for headline in split) for name, split in tokens.items()},
        headlines=data,
        finetune=making.finetune,
        history=making.history,
        dev=making.reports.get("dev"),
        test=making.reports.get("test"),
        seconds=making.seconds,
        device=str(making.device),
        precision=making.precision,
        files=file_sums(folder, (path.name for path in folder.iterdir() if path.name != RECORD)),
    )
    write_record(folder / RECORD, record)
    return publish(folder, store / record.name, check_classifier)
