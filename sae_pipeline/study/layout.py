"""Where the artefacts of a study are, and the records beside them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field
from tqdm.auto import tqdm

from sae_pipeline.artefacts.checksums import (
    MissingError,
    check_files,
    content_hash,
    file_hash,
    named_record,
    read_record,
    write_record,
)
from sae_pipeline.classifier.classifier import RECORD as CLASSIFIER_RECORD
from sae_pipeline.config import FinishConfig, HeadlinesConfig, TrainConfig
from sae_pipeline.errors import DamageError, UserError, command
from sae_pipeline.runs.evidence import controls_path, layers_path
from sae_pipeline.sae.autoencoder import SaeConfig, size_name, stored_config
from sae_pipeline.sae.training import TrainingCurve
from sae_pipeline.schema.common import FileName, FileSum
from sae_pipeline.schema.reports import SaeReport
from sae_pipeline.schema.run import Origin


class PresentClassifier(BaseModel):
    """`finbert_sae/classifier.json`: the newest classifier, its headlines, and the layer that is studied."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    classifier_hash: str
    preset: str
    headlines: HeadlinesConfig
    layer: int | None = Field(None, description="LAYER_TO_EXTRACT of the last extraction or training")
    sae_size: str | None = Field(None, description="SAE_SIZE of the SAE that was trained last")


SAE, SAE_RECORD = "sae.pt", "sae.json"


class SaeRecord(BaseModel):
    """`sae.json`, beside an SAE's weights."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    inputs_hash: str
    activations: str
    config: SaeConfig
    train: TrainConfig | None = Field(description="null: the SAE was imported")
    report: SaeReport
    curve: TrainingCurve
    finish: FinishConfig | None
    origin: Origin | None = Field(None, description="null: the SAE was trained here")
    backend: str | None = Field(None, description="kernels of the training; reference: plain torch; null: not recorded")
    device: str | None = Field(None, description="device of the training; null: not recorded")
    files: dict[FileName, FileSum] = {}

    @property
    def training(self) -> TrainConfig:
        """How the SAE was trained. Raises UserError for one that was imported."""
        if self.train is None:
            raise UserError(
                "This SAE was imported, so its training cannot be repeated with other seeds and sizes; "
                "name one that was trained here."
            )
        return self.train


@dataclass(frozen=True)
class Layout:
    """The paths of a study's artefacts under one root."""

    root: Path

    @property
    def weights(self) -> Path:
        """`finbert_sae/`."""
        return self.root / "finbert_sae"

    @property
    def store(self) -> Path:
        """Immutable classifiers and SAEs, one folder per hash."""
        return self.weights / "store"

    @property
    def activations(self) -> Path:
        """Activation stores, one folder per hash."""
        return self.weights / "activations"

    @property
    def checkpoints(self) -> Path:
        """Checkpoints of unfinished work, one folder each; see artefacts/checkpoints.py."""
        return self.weights / "checkpoints"

    @property
    def runs(self) -> Path:
        """`analysis_data/`."""
        return self.root / "analysis_data"

    def controls(self, sae_hash: str) -> Path:
        """The file that compares an SAE with controls and other seeds."""
        return controls_path(self.root, sae_hash)

    @property
    def seals(self) -> Path:
        """The records of sealed headlines, and of what was found when they were opened."""
        return self.weights / "seals"

    @property
    def layers(self) -> Path:
        """The file that compares layers of the newest classifier."""
        return layers_path(self.root)

    @property
    def classifier_alias(self) -> Path:
        """The file that names the newest classifier."""
        return self.weights / "classifier.json"

    @property
    def places(self) -> Path:
        """Where the headlines' files are on this machine; see study/places.py."""
        return self.weights / ".places.json"

    @property
    def training_report(self) -> Path:
        """The page with the figures and plots of the present classifier and SAEs."""
        return self.weights / "training_report.html"

    def sae_alias(self, layer: int, size: str) -> Path:
        """The newest SAE of a size, at the path the user knows."""
        return self.weights / f"layer_{layer}_{size}.pt"


def remember_layer(root: Path, layer: int) -> None:
    """Make a layer the one that later commands work on, unless they name another."""
    present = present_classifier(root)
    if present.layer != layer:
        write_record(Layout(root).classifier_alias, present.model_copy(update={"layer": layer}))


def remember_size(root: Path, size: str) -> None:
    """Make a size the one that later commands work on, unless they name another."""
    present = present_classifier(root)
    if present.sae_size != size:
        write_record(Layout(root).classifier_alias, present.model_copy(update={"sae_size": size}))


def present_classifier(root: Path) -> PresentClassifier:
    """The classifier that the later stages work on. Raises UserError when there is none."""
    path = Layout(root).classifier_alias
    try:
        return read_record(path, PresentClassifier)
    except MissingError as error:
        raise UserError(
            f"There is no classifier under {path.parent}; run `{command('study')}`, which makes a whole study, or "
            "begin one with `finetune` or `adopt`."
        ) from error
    except DamageError as error:
        raise UserError(f"{path} {error}; `{command('finetune')}` makes it again.") from error


def classifier_folder(root: Path) -> Path:
    """The folder of the newest classifier. Raises UserError when there is none."""
    return Layout(root).store / present_classifier(root).classifier_hash


# --- SAEs in the store ---------------------------------------------------------------------------------


def classifier_folders(layout: Layout) -> list[Path]:
    """The folders of the store that hold a classifier's record, in the order of their names."""
    return sorted(path.parent for path in layout.store.glob(f"[!.]*/{CLASSIFIER_RECORD}"))


def sae_folders(layout: Layout) -> Iterator[Path]:
    """The folders of the store that hold an SAE, or a part of one, in the order of their names."""
    files = (path for name in (SAE, SAE_RECORD) for path in layout.store.glob(f"[!.]*/{name}"))
    return iter(sorted({path.parent for path in files}))


def check_sae_record(folder: Path) -> SaeRecord:
    """The record of an SAE in the store, compared with the folder's name. Raises DamageError."""
    record = named_record(folder, SAE_RECORD, SaeRecord)
    if SAE not in record.files or content_hash(record.files[SAE]) != folder.name:
        raise DamageError(f"{SAE_RECORD} belongs to another SAE")
    return record


def check_sae(folder: Path) -> SaeRecord:
    """The record of an SAE in the store, whose weights are as they were written. Raises DamageError."""
    record = check_sae_record(folder)
    check_files(folder, record.files)
    if stored_config(folder / SAE) != record.config:
        raise DamageError(f"{SAE_RECORD} belongs to another SAE")
    return record


def read_sae_record(folder: Path) -> SaeRecord:
    """Read the record beside an SAE's weights. Raises UserError when it is missing or damaged."""
    try:
        return check_sae_record(folder)
    except DamageError as error:
        raise damaged_sae(folder, error) from error


def damaged_sae(folder: Path, error: DamageError) -> UserError:
    """The error of an SAE in the store that cannot be used."""
    return UserError(f"The SAE in {folder} is damaged: {error}; make it again with the same command.")


def record_size(record: SaeRecord) -> str:
    """The size name of an SAE: "4k", "4k-saelens" if it was imported, "4k-e2e" if it was finished end to end.

    An SAE that reads one vector per headline says which: "4k-cls", "4k-mean".
    """
    origin = f"-{record.origin.format}" if record.origin else ""
    return size_name(record.config.d_sae, record.config.positions) + origin + ("-e2e" if record.finish else "")


def sae_family(layout: Layout, member: SaeRecord) -> dict[str, SaeRecord]:
    """The aliased SAEs of the same activations as `member`, trained here or imported, by size name."""
    return {
        size: record
        for size, record in aliased_saes(layout, member.config.classifier_hash, member.config.hookpoint.layer).items()
        if record.activations == member.activations
    }


def aliased_saes(layout: Layout, classifier_hash: str, layer: int | None = None) -> dict[str, SaeRecord]:
    """The SAEs of a classifier that `finbert_sae/layer_<layer>_*.pt` name, by size name, smallest first.

    Without a layer they are those of all layers; one of them stands for a size that several layers have. A file that
    is no SAE of the store is left out, which is said in one line.
    """
    records = []
    for path in sorted(layout.weights.glob(f"layer_{'*' if layer is None else layer}_*.pt")):
        try:
            record = check_sae_record(layout.store / file_hash(path))
        except DamageError:
            tqdm.write(
                f"{path} is left out, because it is damaged or not from this study; "
                "train the SAE again or move the file away."
            )
        else:
            if record.config.classifier_hash == classifier_hash:
                records.append(record)
    return {record_size(r): r for r in sorted(records, key=lambda r: (r.config.d_sae, record_size(r)))}
