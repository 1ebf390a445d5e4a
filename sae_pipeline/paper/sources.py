"""Everything that a paper is written from: a run, and what the study knows of its classifier and SAEs."""

from dataclasses import dataclass
from math import isclose
from pathlib import Path

from sae_pipeline.artefacts.checksums import content_hash
from sae_pipeline.classifier.classifier import ClassifierRecord, classifier_record
from sae_pipeline.errors import DamageError, UserError, command
from sae_pipeline.evaluation.splicing import MIN_HEADLINES_FOR_INTERVAL
from sae_pipeline.runs.evidence import found_controls, found_layers
from sae_pipeline.runs.folders import Run, find_run, read_run
from sae_pipeline.runs.run_files import read_added
from sae_pipeline.schema.causes import INTERVENTIONS, InterventionsFile
from sae_pipeline.schema.contrast import CONTRAST, ContrastFile
from sae_pipeline.schema.controls import ControlsFile
from sae_pipeline.schema.layers import LayersFile
from sae_pipeline.schema.reports import SaeReport
from sae_pipeline.schema.seal import SealRecord
from sae_pipeline.study.layout import (
    SAE,
    Layout,
    SaeRecord,
    check_sae_record,
    read_sae_record,
    record_size,
    sae_folders,
)
from sae_pipeline.study.seals import find_seal


@dataclass(frozen=True)
class Sources:
    """A run, its classifier and SAEs, and the optional findings about them."""

    root: Path
    run: Run
    classifier: ClassifierRecord
    size: str  # of the run's SAE
    saes: dict[str, SaeRecord]  # the run's SAE and its other sizes, smallest first
    seeds: dict[str, list[SaeRecord]]  # by size: trainings that differ by their seed alone, the one in `saes` first
    folders: dict[str, Path]  # of each of these SAEs in the store, by the hash that names it
    controls: dict[str, ControlsFile]  # by size
    interventions: InterventionsFile | None
    contrast: ContrastFile | None
    layers: LayersFile | None
    seal: SealRecord | None

    @classmethod
    def read(cls, root: Path, name: str | None) -> "Sources":
        """Read the run `name`, or the latest for None, and what belongs to it.

        Raises UserError for what is missing or damaged, and for a run whose figures have no intervals.
        """
        layout = Layout(root)
        run = read_run(find_run(layout.runs, name))
        own = layout.store / run.metadata.sae_hash
        if not own.is_dir():
            raise UserError(
                f"{run.metadata.run_id} was made with the SAE {own.name}, which is not in {layout.store}; "
                f"`{command('analyze')}` makes a run of the SAEs that are there."
            )
        record, classifier = read_sae_record(own), classifier_record(layout.store / run.metadata.classifier_hash)
        _check_intervals(run)
        relatives = _relatives(layout, record)
        saes = _sizes(relatives, own, run.metadata.sae_family)
        shown = {size: hash_of(one) for size, one in saes.items()}
        seal = find_seal(layout, classifier.data_hash)
        return cls(
            root=root,
            run=run,
            classifier=classifier,
            size=record_size(record),
            saes=saes,
            seeds={size: _seeds(one, relatives) for size, one in saes.items()},
            folders={hash_of(one): folder for folder, one in relatives.items()},
            controls={
                size: file for size, name in shown.items() if (file := found_controls(layout.root, name)) is not None
            },
            interventions=read_added(run.folder, INTERVENTIONS, InterventionsFile),
            contrast=read_added(run.folder, CONTRAST, ContrastFile),
            layers=found_layers(layout.root, run.metadata.classifier_hash),
            seal=seal and seal[1],
        )

    @property
    def shown_controls(self) -> ControlsFile | None:
        """What `compare` found about the run's own SAE, or else about the smallest one that was compared."""
        return self.controls.get(self.size) or next(iter(self.controls.values()), None)


def hash_of(record: SaeRecord) -> str:
    """The hash that names an SAE."""
    return content_hash(record.files[SAE])


def _check_intervals(run: Run) -> None:
    spliced = run.metadata.sae.report.spliced
    if spliced.unchanged_interval is None or spliced.accuracy_change_interval is None:
        raise UserError(
            f"{run.metadata.run_id} has no intervals, because its {spliced.n_headlines:,} test headlines are fewer "
            f"than the {MIN_HEADLINES_FOR_INTERVAL} that an interval needs; make a run with more headlines."
        )


def _relatives(layout: Layout, own: SaeRecord) -> dict[Path, SaeRecord]:
    """The SAEs on the same activations, by folder. A damaged one is left out, unless it is the run's own."""
    found = {}
    for folder in sae_folders(layout):
        try:
            record = check_sae_record(folder)
        except DamageError:  # `verify` names it
            continue
        if record.activations == own.activations:
            found[folder] = record
    return found


def _sizes(relatives: dict[Path, SaeRecord], own: Path, reports: dict[str, SaeReport]) -> dict[str, SaeRecord]:
    """The run's SAE, and those whose reports the run lists, by size name, smallest first."""
    sizes = {record_size(relatives[own]): relatives[own]}
    for record in relatives.values():
        told = reports.get(record_size(record))
        if told is not None and _equal(told, record.report):
            sizes.setdefault(record_size(record), record)
    return dict(sorted(sizes.items(), key=lambda pair: (pair[1].config.d_sae, pair[0])))


def _equal(told: SaeReport, known: SaeReport) -> bool:
    """Whether a run and a record report the same SAE; a run keeps six digits."""
    pairs = zip((told.train, told.held_out), (known.train, known.held_out), strict=True)
    return all(isclose(a.fvu, b.fvu, rel_tol=1e-5) and isclose(a.l0, b.l0, rel_tol=1e-5) for a, b in pairs)


def _seeds(record: SaeRecord, relatives: dict[Path, SaeRecord]) -> list[SaeRecord]:
    if record.train is None:
        return [record]
    free = {"latent_dims": (record.config.d_sae,), "seed": 0}
    wanted = record.train.model_copy(update=free)
    found = {record.train.seed: record}
    for one in relatives.values():
        same = one.train is not None and one.train.model_copy(update=free) == wanted
        if same and one.train and one.config.d_sae == record.config.d_sae and one.finish == record.finish:
            found.setdefault(one.train.seed, one)
    return list(found.values())
