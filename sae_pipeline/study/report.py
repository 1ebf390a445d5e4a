"""The figures of a study, as `report` prints them: its classifier, its SAEs, and what was found about them."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from sae_pipeline.artefacts.checksums import content_hash
from sae_pipeline.classifier import classifier as classifiers
from sae_pipeline.classifier.classifier import ClassifierRecord
from sae_pipeline.errors import UserError, command
from sae_pipeline.runs.evidence import found_controls, found_layers
from sae_pipeline.runs.folders import list_runs
from sae_pipeline.runs.multiplicity import tests_in, tests_line
from sae_pipeline.runs.run_files import DamagedRunError, read_added
from sae_pipeline.schema.contrast import CONTRAST, ContrastFile
from sae_pipeline.schema.controls import ControlsFile
from sae_pipeline.schema.layers import LayersFile
from sae_pipeline.schema.reports import ClassifierReport
from sae_pipeline.schema.seal import SealRecord
from sae_pipeline.study.layout import (
    SAE,
    Layout,
    SaeRecord,
    aliased_saes,
    classifier_folder,
    present_classifier,
)
from sae_pipeline.study.report_runs import contrast_lines, sealed_lines
from sae_pipeline.study.report_saes import bracketed, compare_lines, layers_lines
from sae_pipeline.study.seals import find_seal


class StudyReport(BaseModel):
    """The figures of the present classifier and its SAEs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    classifier_hash: str
    classifier: ClassifierRecord
    saes: dict[str, SaeRecord]
    controls: list[ControlsFile]
    layers: LayersFile | None = Field(None, description="the classifier's layers side by side; null: not compared")
    contrast: ContrastFile | None = Field(None, description="of the newest run whose texts were changed; null: none")
    tests: dict[str, int] | None = Field(
        None, description="features that the newest run tests, by metric; null: no run"
    )
    seal: SealRecord | None = Field(None, description="of the headlines that are kept for a final test; null: none")

    def summary(self) -> dict[str, Any]:
        """The main figures as a dict for JSON, which scripts read."""
        test = self.classifier.test
        return {
            "classifier": {
                "model": self.classifier.model,
                "split": "test",
                "accuracy": test and test.accuracy,
                "macro_f1": test and test.macro_f1,
                "seconds": self.classifier.seconds,
            },
            "saes": {
                size: {
                    "l0": {"train": r.report.train.l0, "held_out": r.report.held_out.l0},
                    "fvu": {"train": r.report.train.fvu, "held_out": r.report.held_out.fvu},
                    "dead_share": {"train": r.report.dead_share, "held_out": r.report.held_out.silent_share},
                    "spliced_accuracy": r.report.spliced.accuracy_spliced,
                    "unchanged": r.report.spliced.unchanged,
                    "positions": r.report.spliced.positions,
                    "seconds": r.report.seconds,
                    "tokens_per_second": r.report.tokens_per_second,
                }
                for size, r in self.saes.items()
            },
            "contrast": [
                {
                    "kind": kind.kind,
                    "texts": kind.source,
                    "pairs": kind.n_pairs,
                    "expectation": kind.expectation,
                    "changed": kind.changed.share,
                    "as_expected": kind.as_expected.share,
                }
                for kind in (self.contrast.kinds if self.contrast else ())
            ],
        }

    def lines(self) -> Iterator[str]:
        """The figures as text tables, line by line."""
        record, test = self.classifier, self.classifier.test
        made = "taken as it is" if record.finetune is None else f"fine-tuned in {record.seconds:.0f} s"
        yield f"classifier {self.classifier_hash}: {record.model}, {made}"
        yield from _score_lines(test) if test else ["  The headlines have no labels."]
        yield ""
        yield "SAE     L0 train  held-out   FVU train  held-out    dead  spliced accuracy (clean)  unchanged  positions"
        for size, sae in self.saes.items():
            r = sae.report
            yield (
                f"{size:6} {r.train.l0:9.1f} {r.held_out.l0:9.1f} {r.train.fvu:12.3f} {r.held_out.fvu:9.3f} "
                f"{r.dead_share:7.1%} {r.spliced.accuracy_spliced:10.3f} ({r.spliced.accuracy_clean:.3f}) "
                f"{r.spliced.unchanged:17.1%}  {r.spliced.positions}"
            )
        yield from _spliced_lines(self.saes)
        for file in self.controls:
            yield ""
            yield from compare_lines(file)
        if self.layers:
            yield ""
            yield from layers_lines(self.layers)
        if self.contrast:
            yield ""
            yield from contrast_lines(self.contrast)
        if self.tests is not None:
            yield ""
            yield tests_line(self.tests)
        if self.seal:
            yield ""
            yield from sealed_lines(self.seal, self.classifier.labels)


def _score_lines(test: ClassifierReport) -> Iterator[str]:
    yield (
        f"  test: accuracy {test.accuracy:.3f} (always the commonest class: {test.majority_accuracy:.3f}), "
        f"macro-F1 {test.macro_f1:.3f} ({test.majority_macro_f1:.3f}), {test.n_headlines} headlines"
    )
    width = max(8, *(len(score.label) for score in test.per_class))
    for score in test.per_class:
        yield (
            f"  {score.label:{width}} precision {score.precision:.3f}  recall {score.recall:.3f}  "
            f"F1 {score.f1:.3f}  n {score.support}"
        )


def study_report(root: Path) -> StudyReport:
    """The figures of the present classifier and of its aliased SAEs: those of the studied layer, if it has any.

    Raises UserError when there is no classifier or no SAE of it.
    """
    folder, layout = classifier_folder(root), Layout(root)
    saes = aliased_saes(layout, folder.name, present_classifier(root).layer) or aliased_saes(layout, folder.name)
    if not saes:
        raise UserError(f"There are no SAEs of the present classifier; run `{command('train')}` first.")
    hashes = [content_hash(record.files[SAE]) for record in saes.values()]
    return StudyReport(
        classifier_hash=folder.name,
        classifier=classifiers.classifier_record(folder),
        saes=saes,
        controls=[file for sae_hash in hashes if (file := found_controls(layout.root, sae_hash)) is not None],
        layers=_layers(layout, folder.name),
        contrast=_contrast(layout, folder.name),
        tests=_tests(layout, folder.name),
        seal=_seal(layout, folder),
    )


def _layers(layout: Layout, classifier_hash: str) -> LayersFile | None:
    """What `layers` found about a classifier; None where there is nothing. Raises UserError for a damaged file."""
    file = found_layers(layout.root, classifier_hash)
    if file and any(one.sae and not (layout.store / one.sae.sae_hash).is_dir() for one in file.layers):
        raise UserError(
            f"{layout.layers} is about an SAE that is not in the store; `{command('layers')}` makes it again."
        )
    return file


def _contrast(layout: Layout, classifier_hash: str) -> ContrastFile | None:
    """What changes of texts do in the newest run of a classifier that has them. Raises UserError for a damaged file."""
    for entry in list_runs(layout.runs):
        if entry.metadata is None or entry.metadata.classifier_hash != classifier_hash:
            continue
        try:
            found = read_added(entry.folder, CONTRAST, ContrastFile)
        except DamagedRunError as error:
            again = f"{command('contrast')} --run {entry.run_id}"
            raise UserError(f"{entry.folder}: {error.what}; `{again}` makes it again.") from error
        if found is not None:
            return found
    return None


def _tests(layout: Layout, classifier_hash: str) -> dict[str, int] | None:
    """How many features each metric of a classifier's newest run tests; None without a run that can be read."""
    for entry in list_runs(layout.runs):
        if entry.metadata is not None and entry.metadata.classifier_hash == classifier_hash:
            with suppress(DamagedRunError):  # `verify` names it
                return tests_in(entry.folder)
    return None


def _seal(layout: Layout, classifier: Path) -> SealRecord | None:
    found = find_seal(layout, classifiers.classifier_record(classifier).data_hash)
    return found and found[1]


def _spliced_lines(saes: dict[str, SaeRecord]) -> Iterator[str]:
    """A table of predictions with the reconstruction spliced in: intervals, KL and recovered loss."""
    reports = [(size, s) for size, r in saes.items() for s in (r.report.spliced, r.report.spliced_all) if s]
    yield ""
    yield "spliced     positions  unchanged [95 %]           accuracy change [95 %]   McNemar      KL  recovered loss"
    for size, s in reports:
        recovered = ", ".join(f"{b.kind} {b.recovered_loss:.3f}" for b in s.baselines)
        change = f"{s.accuracy_spliced - s.accuracy_clean:+.2%} {bracketed(s.accuracy_change_interval, '+.2%')}"
        kept = f"{s.unchanged:.2%} {bracketed(s.unchanged_interval, '.1%')}"
        yield f"{size:12}{s.positions:10} {kept:26}{change:26}{s.mcnemar_p:6.3f} {s.mean_kl:8.4f}  {recovered}"
    if any(s.n_headlines < 30 for _, s in reports):
        yield "An interval needs at least 30 headlines."
