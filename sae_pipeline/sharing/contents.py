"""What a repository on the hub holds of a study, and under which names.

    README.md                     the card
    study.json                    which classifier, preset, headlines and layer
    classifier.json, config.json  the classifier in the form of transformers, with its record
    layer_<L>_<size>/             an SAE: sae.pt with its record, and the same in SAELens' format
    runs/<run>/                   a run

One repository holds one study, so one commit sends all of it and one address loads all of it. The classifier lies at
the top and each SAE in a folder, because transformers and SAELens look there.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from sae_pipeline.artefacts.checksums import check_files, check_sealed, file_hash, named_record
from sae_pipeline.classifier.classifier import RECORD, ClassifierRecord, check_classifier
from sae_pipeline.config import ExportConfig, PushConfig
from sae_pipeline.errors import DamageError, UserError
from sae_pipeline.runs.evidence import read_controls
from sae_pipeline.runs.folders import find_run
from sae_pipeline.runs.index import INDEXED_FILES
from sae_pipeline.runs.run_files import read_metadata
from sae_pipeline.schema.common import METADATA
from sae_pipeline.schema.contrast import CONTRAST
from sae_pipeline.schema.controls import ControlsFile
from sae_pipeline.schema.run import RunMetadata
from sae_pipeline.study.export import export
from sae_pipeline.study.layout import (
    SAE,
    SAE_RECORD,
    Layout,
    PresentClassifier,
    SaeRecord,
    check_sae,
    damaged_sae,
    present_classifier,
    record_size,
)

CARD, STUDY, RUNS = "README.md", "study.json", "runs"


@dataclass
class Contents:
    """The parts of a study in a repository. `files` are those to send: path in the repository → file here."""

    study: PresentClassifier
    classifier: ClassifierRecord  # described in any case
    has_classifier: bool = False
    saes: dict[str, SaeRecord] = field(default_factory=dict)  # by folder in the repository
    controls: dict[str, ControlsFile] = field(default_factory=dict)  # by folder in the repository
    runs: dict[str, RunMetadata] = field(default_factory=dict)  # by name of the run's folder
    files: dict[str, Path] = field(default_factory=dict)


def sae_folder(record: SaeRecord) -> str:
    """The folder of an SAE in a repository, which is also the `sae_id` that SAELens asks for."""
    return f"layer_{record.config.hookpoint.layer}_{record_size(record)}"


def gather(config: PushConfig, layer: int, root: Path, work: Path) -> Contents:
    """Check and list what a push sends. The SAEs in SAELens' format are written below `work`.

    Raises UserError when a part is missing or damaged, or belongs to another classifier.
    """
    study = present_classifier(root)
    folder = Layout(root).store / study.classifier_hash
    try:
        classifier = check_classifier(folder)
    except DamageError as error:
        raise UserError(f"The classifier in {folder} is damaged: {error}; make it again before it is sent.") from error
    contents = Contents(study, classifier, files={STUDY: Layout(root).classifier_alias})
    if config.what in ("all", "classifier"):
        contents.has_classifier = True
        contents.files |= {name: folder / name for name in (RECORD, *classifier.files)}
    if config.what in ("all", "sae"):
        _add_saes(contents, config.sae_size, layer, root, work)
    if config.what == "run" or (config.what == "all" and _has_runs(Layout(root).runs)):
        _add_run(contents, config.run, root)
    return contents


def _add_saes(contents: Contents, size: str | None, layer: int, root: Path, work: Path) -> None:
    layout, pattern = Layout(root), "*" if size is None else size
    for path in sorted(layout.weights.glob(f"layer_{layer}_{pattern}.pt")):
        folder = layout.store / file_hash(path)
        try:
            record = check_sae(folder)
        except DamageError as error:
            raise damaged_sae(folder, error) from error
        if record.config.classifier_hash != contents.study.classifier_hash:
            continue  # of the classifier before; `report` leaves it out as well
        name = sae_folder(record)
        other = export(ExportConfig(to="saelens", out=str(work / name), sae_size=record_size(record)), layer, root)
        contents.saes[name] = record
        with suppress(DamageError):  # only some SAEs were compared
            contents.controls[name] = read_controls(layout.controls(folder.name))
        contents.files |= {f"{name}/{file}": folder / file for file in (SAE, SAE_RECORD)}
        contents.files |= {f"{name}/{file.name}": file for file in sorted(other.iterdir())}
    if not contents.saes:
        wanted = f"{size} SAE" if size else "SAE"
        raise UserError(f"There is no {wanted} of the present classifier at layer {layer}; train one, or name --layer.")


def _has_runs(folder: Path) -> bool:
    return any(folder.glob(f"[!.]*/{METADATA}"))


def _add_run(contents: Contents, run: str | None, root: Path) -> None:
    folder = find_run(Layout(root).runs, run)
    metadata = read_metadata(folder)
    if metadata.classifier_hash != contents.study.classifier_hash:
        raise UserError(
            f"{metadata.run_id} was made with another classifier ({metadata.classifier_hash}); name a run of the "
            "present one with --run, or leave runs out with --what."
        )
    added = [name for name in INDEXED_FILES if name not in (METADATA, *metadata.files) and (folder / name).exists()]
    try:
        check_files(folder, metadata.files)
        for name in added:
            check_sealed(folder / name)
    except DamageError as error:
        raise UserError(f"{metadata.run_id} is damaged: {error}; analyse again before it is sent.") from error
    contents.runs[folder.name] = metadata
    contents.files |= {f"{RUNS}/{folder.name}/{name}": folder / name for name in (METADATA, *metadata.files, *added)}


def text_lines(contents: Contents) -> Iterator[str]:
    """Say which texts are in the files to send."""
    for name, metadata in contents.runs.items():
        if f"{RUNS}/{name}/{METADATA}" in contents.files:
            columns = f" and the columns {', '.join(metadata.columns)}" if metadata.columns else ""
            pairs = ", with pairs of changed texts" if f"{RUNS}/{name}/{CONTRAST}" in contents.files else ""
            yield (
                f"{metadata.run_id} holds the texts of {metadata.totals.n_headlines:,} headlines{columns}{pairs}: "
                "everyone who can read the repository can read them, so send them only if you may pass them on."
            )
    if not contents.runs:
        yield "No text of a headline is among them."


def held_records(folder: Path, paths: list[str]) -> tuple[dict[str, SaeRecord], dict[str, RunMetadata]]:
    """The records of SAEs and runs that were fetched below `folder`. Raises UserError for one that is damaged."""
    saes, runs = {}, {}
    for path in paths:
        place = folder / path
        if place.name == METADATA:
            runs[place.parent.name] = read_metadata(place.parent)
        else:
            try:
                saes[place.parent.name] = named_record(place.parent, SAE_RECORD, SaeRecord)
            except DamageError as error:
                raise UserError(f"{path} on the hub {error}; delete its folder there and push again.") from error
    return saes, runs
