"""Where a run comes from: the part of its metadata that names everything it was made with."""

import platform
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from sae_pipeline.activations.manifest import MANIFEST
from sae_pipeline.artefacts.checksums import fields_of
from sae_pipeline.classifier.classifier import Classifier
from sae_pipeline.config import HeadlinesConfig, StudyConfig
from sae_pipeline.config_file import Settings
from sae_pipeline.errors import UserError
from sae_pipeline.runs.run_files import read_metadata
from sae_pipeline.sae.autoencoder import SaeConfig
from sae_pipeline.schema.dicts import ProvenanceDict
from sae_pipeline.schema.run import ClassifierInfo, SaeInfo
from sae_pipeline.study.layout import Layout, SaeRecord, record_size, sae_family
from sae_pipeline.study.places import located

_REPEATED = ("headlines", "finetune", "extract", "train", "analyze")
_PACKAGES = ("transformers", "datasets", "numpy")
_SHARED_FIELDS = set(SaeInfo.model_fields) & set(SaeConfig.model_fields)


def provenance(
    study: StudyConfig,
    classifier: Classifier,
    sae: SaeConfig,
    record: SaeRecord,
    layout: Layout,
    columns: Sequence[str],
) -> ProvenanceDict:
    """The classifier, the SAE and its family, the settings of all stages, and the versions of the packages."""
    made_by = classifier.record
    return {
        "preset": study.preset,
        "labels": made_by.labels,
        "labelled": made_by.labelled,
        "columns": list(columns),
        "classifier_hash": classifier.hash,
        "data_hash": made_by.data_hash,
        "hookpoint": sae.hookpoint,
        "classifier": ClassifierInfo(
            model=made_by.model,
            revision=made_by.model_revision,
            is_finetuned=made_by.finetune is not None,
            n_layers=made_by.n_layers,
            d_model=made_by.d_model,
            max_length=made_by.max_length,
            report=made_by.test,
        ),
        "sae": SaeInfo(
            size=record_size(record),
            **sae.model_dump(include=_SHARED_FIELDS),
            report=record.report,
            origin=record.origin,
        ),
        "sae_family": {size: member.report for size, member in sae_family(layout, record).items()},
        "configs": {
            "headlines": made_by.headlines.model_dump(),
            **({} if made_by.finetune is None else {"finetune": made_by.finetune.model_dump()}),
            "extract": study.extract.model_dump() | {"extra_text": _extra_text(record, layout)},
            **({} if record.train is None else {"train": record.train.model_dump(mode="json")}),
            "analyze": study.analyze.model_dump(),
        },
        "versions": {
            "sae_pipeline": version("finbert-sae-explorer"),
            "python": platform.python_version(),
            **{package: version(package) for package in _PACKAGES},
            "torch": str(torch.__version__),  # it also says what torch was built for
        },
    }


def _extra_text(record: SaeRecord, layout: Layout) -> Any:
    """The table of extra text that an SAE was trained on, as the record of its activations names it."""
    manifest = fields_of(layout.activations / record.activations / MANIFEST)
    return (manifest.get("extract") or {}).get("extra_text")


def settings_of(run: Path, root: Path) -> Settings:
    """The settings that a run was made with, to repeat them in the study under `root`.

    Raises UserError for a run that cannot be read.
    """
    metadata = read_metadata(run)
    stages = {stage: dict(fields) for stage, fields in metadata.configs.items() if stage in _REPEATED}
    with suppress(UserError):  # a verb that reads the headlines says so itself where they are missing
        headlines = located(HeadlinesConfig.model_validate(stages["headlines"]), root)
        stages["headlines"] = headlines.model_dump()
    return Settings(metadata.preset, stages)
