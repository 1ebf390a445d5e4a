"""Running a verb of the command line, and printing what it found."""

import argparse
import json
import os
import time
import typing
from collections import Counter
from pathlib import Path

from sae_pipeline.config import RUN_FORMATS, HeadlinesConfig, StudyConfig
from sae_pipeline.config_file import write_settings
from sae_pipeline.errors import UserError
from sae_pipeline.flags import STAGES, headlines_config, study_of
from sae_pipeline.runs.run_files import ADDED_BY
from sae_pipeline.schema.paper import PAPER, PaperRecord
from sae_pipeline.study.root import StudyRoot, study_root
from sae_pipeline.tracking import Tracking, tracking

if typing.TYPE_CHECKING:
    import torch

    from sae_pipeline.classifier.classifier import ClassifierRecord
    from sae_pipeline.machine.processes import Ranks
    from sae_pipeline.study.report import StudyReport

_DEMO = (*STAGES, "intervene", "contrast", "map")
_SHARED = ("extract", "train", "analyze", "score")  # verbs that several processes may share


def run_verb(arguments: argparse.Namespace) -> None:
    """Run the verb that a command line names. Raises UserError for a user's mistake."""
    verb = arguments.verb
    if verb == "inspect":
        _inspect(headlines_config(arguments))
        return
    if os.environ.get("WORLD_SIZE", "1") != "1" and verb not in _SHARED:
        raise UserError(f"{verb} runs in one process; torchrun is for {', '.join(_SHARED)}.")
    to = getattr(arguments, "export.to", None)
    reads = "export-classifier" if to == "classifier" else "export-run" if to in RUN_FORMATS else verb
    place = study_root(arguments.root, reads, getattr(arguments, f"{verb}.run", None))
    if verb == "verify" and (archive := arguments.archive or arguments.archive_flag):
        _verify_archive(Path(archive), place.folder)
        return
    with place.naming_the_address():
        place.sync()
        if verb == "verify":
            _verify(place.folder, place.shown(place.folder))
        elif verb == "report":
            figures = _print_report(place.folder)
            if arguments.json:
                print(json.dumps(figures.summary()))
        else:
            study = study_of(arguments, place.folder)
            if arguments.write_config:
                write_settings(Path(arguments.write_config), study)
                print(f"settings: {arguments.write_config}")
            elif verb in ("push", "pull"):
                _share(arguments, study, place)
            elif verb == "explain":
                _explain(arguments, study, place)
            elif verb == "unseal":
                _unseal(arguments, study, place)
            elif verb == "paper":
                _paper(study, place)
            else:
                _run_stages(arguments, study, place)


def _share(arguments: argparse.Namespace, study: StudyConfig, place: StudyRoot) -> None:
    """Send parts of a study to the hub, or fetch them from there."""
    if arguments.verb == "push":
        from sae_pipeline.sharing.push import push

        folder = Path(arguments.dry_run) if arguments.dry_run else None
        lines = push(study.push, study.extract.layer, place.folder, arguments.yes, folder)
    else:
        from sae_pipeline.sharing.pull import pull

        lines = pull(study.pull, place.folder)
    for line in lines:
        print(line, flush=True)
    place.sync()


def _explain(arguments: argparse.Namespace, study: StudyConfig, place: StudyRoot) -> None:
    """Say how much would be asked of a language model and, with --yes, ask it."""
    from sae_pipeline.explaining.explain import explain, plan
    from sae_pipeline.machine.device import pick_device
    from sae_pipeline.study import report_runs

    planned = plan(study.explain, place.folder, pick_device(arguments.device))
    print("\n".join(planned.lines()), flush=True)
    if planned.open and not arguments.yes:
        raise UserError("Nothing was sent; add --yes to ask these questions.")
    print("\n".join(report_runs.explanation_lines(planned.answers(explain(planned).explanations), len(planned.shown))))
    place.sync()


def _unseal(arguments: argparse.Namespace, study: StudyConfig, place: StudyRoot) -> None:
    """Say what would be opened and, with --yes, open it once and print what it says."""
    from sae_pipeline.machine.device import pick_device
    from sae_pipeline.study import report_runs
    from sae_pipeline.study.unseal import plan_opening, unseal

    opening = plan_opening(study.unseal, place.folder)
    print("\n".join(opening.lines()), flush=True)
    if not arguments.yes:
        raise UserError("The seal is still closed, and it opens once only; add --yes to open it.")
    record = unseal(opening, place.folder, pick_device(arguments.device))
    print("\n".join(report_runs.sealed_lines(record, opening.run.metadata.labels)))
    place.sync()


def _paper(study: StudyConfig, place: StudyRoot) -> None:
    """Write a paper's folder, and print what is in it."""
    from sae_pipeline.paper.write import write_paper

    for line in write_paper(study.paper, place.folder):
        print(line, flush=True)


def _run_stages(arguments: argparse.Namespace, study: StudyConfig, place: StudyRoot) -> None:
    from sae_pipeline.machine.device import pick_device
    from sae_pipeline.machine.processes import torchrun_ranks  # torch loads here, when the flags are known to be right
    from sae_pipeline.study.present import check_sae_size

    whole = arguments.verb == "study"
    if whole:
        check_sae_size(study, place.folder)
    device = pick_device(arguments.device)
    with torchrun_ranks(device) as ranks, tracking(study.track, place.folder) as tracker:
        stages = _DEMO if study.preset == "demo" else STAGES
        for stage in stages if whole else (arguments.verb,):
            _run_stage(stage, study, place, device, ranks, tracker, reuse_run=whole)
            if ranks.first:
                place.sync()


def _run_stage(
    verb: str,
    study: StudyConfig,
    place: StudyRoot,
    device: "torch.device",
    ranks: "Ranks",
    tracker: Tracking,
    reuse_run: bool,
) -> None:
    """Call one stage and print what it found; ranks after the first do their share and print nothing."""
    from sae_pipeline import pipeline, quality
    from sae_pipeline.calibration.verb import calibrate
    from sae_pipeline.contrast.verb import contrast
    from sae_pipeline.diffing.verb import diff
    from sae_pipeline.mending.verb import mend
    from sae_pipeline.study import making, present, report, report_runs, report_saes
    from sae_pipeline.study.export import export
    from sae_pipeline.study.importing import import_sae

    root, layer = place.folder, study.extract.layer
    if reuse_run and verb in ADDED_BY.values():
        run = present.equal_run(study, root)
        if run is None or present.has_added(run, verb) or not ranks.first:
            return
        study = study.model_copy(update={verb: getattr(study, verb).model_copy(update={"run": run.name})})
    match verb:
        case "finetune":
            record = pipeline.finetune(study, root, device, tracker)
            _print_classifier(record)
        case "adopt":
            _print_classifier(pipeline.adopt(study, root, device))
        case "extract":
            layers = present.chosen_layers(study, root)
            for store in pipeline.extract_layers(study.extract, layers, root, device, ranks):
                if ranks.first:
                    told = f"{store.manifest.n_tokens:,} tokens of layer {store.manifest.hookpoint.layer}"
                    print(f"activations: {told} in {place.shown(store.folder)}")
        case "train" if ranks.first:
            layers = present.chosen_layers(study, root)
            records = pipeline.train_layers(study.extract, layers, study.train, root, device, ranks, tracker)
            if len(layers) > 1:
                print("\n".join(report_saes.sae_of_layer_lines(records)))
            _print_report(root)
        case "train":
            for number in present.chosen_layers(study, root):
                at_layer = study.extract.model_copy(update={"layer": number})
                making.join_training(at_layer, study.train, root, device, ranks)
        case "sweep":
            swept = pipeline.sweep(study.extract, study.train, study.sweep, root, device, tracker)
            print("\n".join(report_saes.sweep_lines(swept)))
        case "analyze":
            run = present.equal_run(study, root) if reuse_run else None
            run = run or pipeline.analyze(study, root, device, ranks=ranks)
            if ranks.first:
                print(f"run: {place.shown(run)}" + (f" ({ranks.size} processes)" if ranks.size > 1 else ""))
        case "score":
            scores = pipeline.score(study, root, device, ranks)
            if ranks.first:
                print("\n".join([*scores.lines(), f"scores: {study.score.out}"]))
        case "intervene":
            print("\n".join(report_runs.causal_lines(pipeline.intervene(study.intervene, root, device))))
        case "finish":
            quality.finish(study.finish, layer, root, device, tracker)
            print("\n".join(report.study_report(root).lines()))
        case "compare":
            print("\n".join(report_saes.compare_lines(quality.compare(study.compare, layer, root, device))))
        case "layers":
            print("\n".join(report_saes.layers_lines(quality.layers(study.layers, root, device))))
        case "family":
            print("\n".join(report_saes.family_lines(quality.family(study.family, root, device))))
        case "map":
            print("\n".join(report_runs.map_lines(pipeline.map_features(study.map, root))))
        case "contrast":
            print("\n".join(report_runs.contrast_lines(contrast(study.contrast, root, device))))
        case "mend":
            print("\n".join(report_runs.mending_lines(mend(study.mend, root, device))))
        case "calibrate":
            print("\n".join(report_runs.calibration_lines(calibrate(study.calibrate, root, device))))
        case "diff":
            print("\n".join(report_runs.diff_lines(diff(study.diff, root, device))))
        case "import":
            made, warnings = import_sae(study.import_, study.extract, root, device)
            print("\n".join([*report_saes.import_lines(made), *(f"warning: {warning}" for warning in warnings)]))
        case "export":
            print(f"{study.export.to}: {place.shown(export(study.export, layer, root))}")


def _print_classifier(record: "ClassifierRecord") -> None:
    """Print the scores of a classifier on test, and how many headlines are longer than it reads."""
    if record.test is None:
        print(f"classifier: {record.model} taken as it is; the headlines have no labels")
    else:
        print(f"classifier: test accuracy {record.test.accuracy:.3f}, macro-F1 {record.test.macro_f1:.3f}")
    if n_cut := sum(record.n_cut.values()):
        print(f"{n_cut:,} headlines are longer than {record.max_length} tokens and were cut (--max-length)")


def _inspect(config: HeadlinesConfig) -> None:
    """Print what is understood of a table. Raises UserError after it when the table cannot be read as headlines."""
    from sae_pipeline.headlines.inspect import inspect

    found = inspect(config)
    print("\n".join(found.lines()), flush=True)
    if found.problem:
        raise UserError(found.problem)


def _print_report(root: Path) -> "StudyReport":
    from sae_pipeline.study.report import study_report

    figures = study_report(root)
    print("\n".join(figures.lines()))
    try:
        from sae_pipeline.study.training_report import write_report
    except ModuleNotFoundError:
        print("no page with plots: it needs matplotlib (pip install matplotlib)")
    else:
        print(f"with plots: {write_report(root, figures)}")
    return figures


def _verify_archive(archive: Path, root: Path) -> None:
    """Compare an archive with its checksums and, where `paper` wrote it, make its figures again."""
    from sae_pipeline.study.verify import unpacked

    with unpacked(archive) as folder:
        if not (folder / "paper" / PAPER).exists():
            _verify(folder, str(archive))
            return
        from sae_pipeline.paper.recompute import archived_record

        record = archived_record(folder, archive)
        damage = None
        try:
            _verify(folder, str(archive))
        except UserError as error:
            damage = error  # the figures say what the damage changed
        _recompute(folder, record, root)
        if damage:
            raise damage


def _recompute(folder: Path, record: PaperRecord, root: Path) -> None:
    """Print a line for each figure that is made again. Raises UserError when one is different."""
    from sae_pipeline.paper.recompute import NOISE, OUTCOMES, recompute

    counts = Counter[str]()
    for one in recompute(folder, record, root):
        print(f"{one.outcome:10} {one.name}  {one.said}", flush=True)
        counts[one.outcome] += 1
    print("; ".join(f"{counts[outcome]} {meaning}" for outcome, meaning in OUTCOMES.items() if counts[outcome]))
    print(NOISE)
    if counts["DIFFERENT"]:
        raise UserError(f"{counts['DIFFERENT']} of {counts.total()} figures are different; their lines above say how.")


def _verify(folder: Path, shown: str) -> None:
    """Print a line for each artefact in a folder, which messages call `shown`. Raises UserError when one is damaged."""
    from sae_pipeline.study.verify import verify

    started, n_bytes, counts = time.monotonic(), 0, Counter[bool]()
    for verdict in verify(folder):
        problems = "; also: ".join(verdict.problems)
        print(
            f"{'DAMAGED' if problems else 'whole':8} {verdict.path.relative_to(folder)} {problems}".rstrip(), flush=True
        )
        counts[bool(problems)] += 1
        n_bytes += verdict.n_bytes
    seconds = time.monotonic() - started
    if counts[True]:
        raise UserError(f"{counts[True]} of {counts.total()} artefacts are damaged; their lines above say what to do.")
    if not counts:
        raise UserError(
            f"There are no artefacts in {shown}; name a study with --root, or an archive of one with --archive."
        )
    print(f"{counts.total()} artefacts ({n_bytes / 1e6:,.1f} MB) are as they were written; checked in {seconds:.1f} s.")
