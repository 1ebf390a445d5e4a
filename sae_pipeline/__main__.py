"""`python -m sae_pipeline VERB`: the study from the command line. Flags are the fields of the configs."""

import argparse
import errno
import io
import json
import os
import sys
import time
import typing
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from sae_pipeline import __version__
from sae_pipeline.artefacts.checksums import fields_of
from sae_pipeline.config import PRESETS, RUN_FORMATS, HeadlinesConfig, ScoreConfig, StudyConfig, study_config
from sae_pipeline.config_file import Settings, field_value, read_settings, write_settings
from sae_pipeline.errors import UserError
from sae_pipeline.machine.threads import wait_asleep
from sae_pipeline.schema.common import METADATA
from sae_pipeline.study.root import StudyRoot, study_root
from sae_pipeline.tracking import Tracking, tracking

if typing.TYPE_CHECKING:
    import torch

    from sae_pipeline.classifier.classifier import ClassifierRecord
    from sae_pipeline.machine.processes import Ranks
    from sae_pipeline.study.report import StudyReport

_STUDY = ("finetune", "extract", "train", "analyze")
_DEMO = (*_STUDY, "intervene")
_SHARED = ("extract", "train", "analyze", "score")  # verbs that several processes may share
_ROOT_HELP = "folder or address (s3://bucket/study, gs://…) that holds finbert_sae/ and analysis_data/ [.]"
_CONFIG_HELP = "YAML file of settings, or a run (its folder or metadata.json) to repeat; flags come before it"
# verb: (what it does, the stages whose fields are its flags)
_VERBS = {
    "inspect": ("print what is understood of a table, without making anything", ("headlines",)),
    "finetune": ("fine-tune the classifier", ("headlines", "finetune", "track")),
    "adopt": ("take a fine-tuned classifier as it is, without training", ("headlines", "adopt")),
    "extract": ("write a layer's activations over the training headlines", ("extract",)),
    "train": ("train and evaluate the SAEs", ("extract", "train", "track")),
    "sweep": (
        "train SAEs at several penalties, k or seeds from one reading of the activations",
        ("extract", "train", "sweep", "track"),
    ),
    "analyze": ("read the test headlines through an SAE and write a run", ("extract", "analyze")),
    "score": ("write a table again with predictions and features", ("extract", "score")),
    "intervene": ("add causal effects to a run: effects of features, ablations, flips, faithfulness", ("intervene",)),
    "finish": ("finish an SAE's training with the classifier's own loss (end to end)", ("extract", "finish", "track")),
    "compare": ("compare an SAE with controls, probes and its other seeds", ("extract", "compare")),
    "family": ("find a run's features in the SAEs of other sizes and seeds", ("family",)),
    "export": ("write an SAE or a run in a format for others: SAELens, one HTML page, …", ("extract", "export")),
    "import": ("take an SAE that another library wrote into the study", ("extract", "import_")),
    "study": (
        "run finetune, extract, train and analyze, in the demo also intervene, and reuse what exists",
        ("headlines", *_STUDY, "track"),
    ),
    "push": ("send the classifier, the SAEs and a run to the Hugging Face hub", ("extract", "push")),
    "pull": ("fetch what was pushed from the Hugging Face hub", ("pull",)),
    "report": ("print the figures of the present classifier and SAEs", ()),
    "verify": ("compare every artefact, or those in an archive, with the checksums in its record", ()),
}
_INSPECT = ("columns", "text_column", "label_column", "label_map", "label_names")  # the flags of inspect
_SCORE = {("extract", "layer"), *(("score", name) for name in ScoreConfig.model_fields if name != "table")}
_IMPORT = {("extract", name) for name in ("layer", "positions", "tokens_per_batch", "precision")} | {
    ("import_", "from_")
}
_ALIASES = {"compare": ("evidence",)}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb. Returns the exit code: 0, 2 for a user's mistake, 130 for Ctrl-C."""
    return exit_code(lambda: run_verb(_parser().parse_args(argv)))


def exit_code(work: Callable[[], int | None]) -> int:
    """Do some work of the command line, and print a UserError or Ctrl-C as one sentence.

    Returns the exit code: 2 for a UserError, 130 for Ctrl-C, else what `work` returns, with None for 0.
    """
    wait_asleep()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal may lack a letter of a headline
    try:
        return work() or 0
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        return 0
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        print(f"error: The path {str(error.filename)[:60]}… is too long; name a shorter one.", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nInterrupted; finished stages are kept, run the same command to go on.", file=sys.stderr)
        return 130


def run_verb(arguments: argparse.Namespace) -> None:
    """Run the verb that a command line names. Raises UserError for a user's mistake."""
    verb = arguments.verb
    if verb == "inspect":
        _inspect(study_config("finbert", **_changes(arguments, _settings(arguments, Path()))).headlines)
        return
    if os.environ.get("WORLD_SIZE", "1") != "1" and verb not in _SHARED:
        raise UserError(f"{verb} runs in one process; torchrun is for {', '.join(_SHARED)}.")
    of_run = getattr(arguments, "export.to", None) in RUN_FORMATS
    place = study_root(arguments.root, "export-run" if of_run else verb, getattr(arguments, f"{verb}.run", None))
    if verb == "verify" and arguments.archive:
        _verify_archive(Path(arguments.archive))
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
            study = _study(arguments, place.folder)
            if arguments.write_config:
                write_settings(Path(arguments.write_config), study)
                print(f"settings: {arguments.write_config}")
            elif verb in ("push", "pull"):
                _share(arguments, study, place)
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


def _run_stages(arguments: argparse.Namespace, study: StudyConfig, place: StudyRoot) -> None:
    from sae_pipeline.machine.device import pick_device
    from sae_pipeline.machine.processes import torchrun_ranks  # torch loads here, when the flags are known to be right
    from sae_pipeline.study.present import check_sae_size

    whole = arguments.verb == "study"
    if whole:
        check_sae_size(study, place.folder)
    device = pick_device(arguments.device)
    with torchrun_ranks(device) as ranks, tracking(study.track, place.folder) as tracker:
        stages = _DEMO if study.preset == "demo" else _STUDY
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
    from sae_pipeline.study import making, present, report
    from sae_pipeline.study.export import export
    from sae_pipeline.study.importing import import_sae

    root, layer = place.folder, study.extract.layer
    match verb:
        case "finetune":
            record = pipeline.finetune(study, root, device, tracker)
            _print_classifier(record)
        case "adopt":
            _print_classifier(pipeline.adopt(study, root, device))
        case "extract":
            store = pipeline.extract(study.extract, root, device, ranks)
            if ranks.first:
                n_tokens = store.manifest.n_tokens
                print(f"activations: {n_tokens:,} tokens of layer {layer} in {place.shown(store.folder)}")
        case "train" if ranks.first:
            pipeline.train(study.extract, study.train, root, device, ranks, tracker)
            _print_report(root)
        case "train":
            making.join_training(study.extract, study.train, root, device, ranks)
        case "sweep":
            records = pipeline.sweep(study.extract, study.train, study.sweep, root, device, tracker)
            print("\n".join(report.sweep_lines(records)))
        case "analyze":
            run = present.equal_run(study, root) if reuse_run else None
            run = run or pipeline.analyze(study, root, device, ranks=ranks)
            if ranks.first:
                print(f"run: {place.shown(run)}" + (f" ({ranks.size} processes)" if ranks.size > 1 else ""))
        case "score":
            scores = pipeline.score(study, root, device, ranks)
            if ranks.first:
                print("\n".join([*scores.lines(), f"scores: {study.score.out}"]))
        case "intervene" if reuse_run:
            if (run := present.equal_run(study, root)) and not present.has_causes(run):
                causes = study.intervene.model_copy(update={"run": run.name})
                print("\n".join(report.causal_lines(pipeline.intervene(causes, root, device))))
        case "intervene":
            print("\n".join(report.causal_lines(pipeline.intervene(study.intervene, root, device))))
        case "finish":
            quality.finish(study.finish, layer, root, device, tracker)
            print("\n".join(report.study_report(root).lines()))
        case "compare":
            print("\n".join(report.compare_lines(quality.compare(study.compare, layer, root, device))))
        case "family":
            print("\n".join(report.family_lines(quality.family(study.family, root, device))))
        case "import":
            made, warnings = import_sae(study.import_, study.extract, root, device)
            print("\n".join([*report.import_lines(made), *(f"warning: {warning}" for warning in warnings)]))
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


def _verify_archive(archive: Path) -> None:
    from sae_pipeline.study.verify import unpacked

    with unpacked(archive) as folder:
        _verify(folder, str(archive))


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


# --- flags ---------------------------------------------------------------------------------------------


Verbs: typing.TypeAlias = "argparse._SubParsersAction[Parser]"


class Parser(argparse.ArgumentParser):
    """A parser whose complaints are UserErrors."""

    def error(self, message: str) -> typing.NoReturn:
        """Raise UserError instead of leaving the program."""
        raise UserError(f"{message} (see `{self.prog} --help`).")

    def add_verb_parsers(self) -> Verbs:
        """Let the first word be a verb; the parsers of the verbs are added to what this returns."""
        self.add_argument("--version", action="version", version=f"finbert-sae-explorer {__version__}")
        return self.add_subparsers(dest="verb", required=True, metavar="VERB", parser_class=Parser)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m sae_pipeline", description=__doc__)
    add_study_verbs(parser.add_verb_parsers())
    return parser


def add_study_verbs(verbs: Verbs) -> None:
    """Add the parsers of the verbs in this file."""
    for verb, (summary, stages) in _VERBS.items():
        sub = verbs.add_parser(verb, help=summary, description=summary, aliases=_ALIASES.get(verb, ()))
        sub.set_defaults(verb=verb)  # argparse alone would report the alias
        flags = _fields(stages)
        if verb == "inspect":
            sub.add_argument("headlines.source", metavar="TABLE", help="a file, or a folder saved by datasets")
            sub.add_argument("--config", help=_CONFIG_HELP)
            _add_flags(sub, [flag for flag in flags if flag[1] in _INSPECT])
            continue
        sub.add_argument("--root", default=".", help=_ROOT_HELP)
        if verb == "report":
            sub.add_argument("--json", action="store_true", help="end with one line of JSON")
            continue
        if verb == "verify":
            sub.add_argument("--archive", help="check the content of this .zip, .tar or .tar.gz instead")
            continue
        sub.add_argument(
            "--preset",
            choices=PRESETS,
            help="where default values come from; default: the present classifier's preset, else finbert",
        )
        if verb == "score":
            sub.add_argument("score.table", metavar="TABLE", help="a file, or a folder saved by datasets")
            flags = [flag for flag in flags if flag[:2] in _SCORE]
        if verb == "import":
            sub.add_argument("import_.place", metavar="PLACE", help="folder of the SAE, or its file of weights")
            flags = [flag for flag in flags if flag[:2] in _IMPORT]
        if verb == "push":
            sub.add_argument("--yes", action="store_true", help="send; without it only say what would be sent")
            sub.add_argument("--dry-run", metavar="FOLDER", help="write the card into a folder and send nothing")
        if verb == "pull":
            sub.add_argument("pull.repository", metavar="USER/NAME", help="a repository on the hub")
            flags = [flag for flag in flags if flag[1] != "repository"]
        sub.add_argument("--config", help=_CONFIG_HELP)
        sub.add_argument("--write-config", metavar="FILE", help="write all settings, with comments, and stop")
        if verb not in ("push", "pull"):
            sub.add_argument("--device", help='"cpu", "cuda", "cuda:1"; default: CUDA where there is a card')
        _add_flags(sub, flags)


def _add_flags(parser: argparse.ArgumentParser, flags: Sequence[tuple[str, str, str, FieldInfo]]) -> None:
    for stage, field, flag, info in flags:
        parser.add_argument(flag, dest=f"{stage}.{field}", metavar="…", help=_help(stage, field, info))


def _fields(stages: Sequence[str]) -> list[tuple[str, str, str, FieldInfo]]:
    """List (stage, field, flag, info) of every field; a name that two stages share gets its stage in front."""
    fields = [
        (stage, name, info)
        for stage in stages
        for name, info in type(getattr(StudyConfig(), stage)).model_fields.items()
    ]
    counts = Counter(name for _, name, _ in fields)
    return [
        (stage, name, "--" + (f"{stage}-{name}" if counts[name] > 1 else name).strip("_").replace("_", "-"), info)
        for stage, name, info in fields
    ]


def _help(stage: str, field: str, info: FieldInfo) -> str:
    defaults = {name: getattr(getattr(study, stage), field) for name, study in PRESETS.items()}
    shown = "; ".join(f"{value} ({name})" for name, value in defaults.items())
    default = shown if len(set(defaults.values())) > 1 else defaults["finbert"]
    return f"{info.description or field.replace('_', ' ')} [{default}]".replace("%", "%%")


def _changes(arguments: argparse.Namespace, settings: Settings) -> dict[str, dict[str, Any]]:
    """The fields that a file and the flags set, by stage; flags come before the file."""
    changes = {stage: dict(values) for stage, values in settings.stages.items()}
    for key, text in vars(arguments).items():
        if "." in key and text is not None:
            stage, field = key.split(".")
            info = type(getattr(StudyConfig(), stage)).model_fields[field]
            changes.setdefault(stage, {})[field] = field_value(info, text)
    return changes


def _settings(arguments: argparse.Namespace, root: Path) -> Settings:
    """The settings in the file that --config names: those of a run, or a configuration file."""
    if not arguments.config:
        return Settings(None, {})
    path = Path(arguments.config)
    if (path / METADATA).is_file() or path.name == METADATA:
        from sae_pipeline.study.provenance import settings_of

        return settings_of(path.parent if path.name == METADATA else path, root)
    return read_settings(path)


def _study(arguments: argparse.Namespace, root: Path) -> StudyConfig:
    settings = _settings(arguments, root)
    changes = _changes(arguments, settings)
    present = fields_of(root / "finbert_sae" / "classifier.json")
    named = arguments.preset or settings.preset
    preset = named or present.get("preset")
    if isinstance(layer := present.get("layer"), int) and not named:
        changes.setdefault("extract", {}).setdefault("layer", layer)
    return study_config(preset if preset in PRESETS else "finbert", **changes)


if __name__ == "__main__":
    sys.exit(main())
