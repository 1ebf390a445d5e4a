"""`python -m sae_pipeline VERB`: the study from the command line. Flags are the fields of the configs."""

import argparse
import json
import os
import sys
import types
import typing
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from sae_pipeline.config import PRESETS, StudyConfig, study_config
from sae_pipeline.errors import UserError
from sae_pipeline.study import making
from sae_pipeline.study.root import StudyRoot, study_root

if typing.TYPE_CHECKING:
    import torch

    from sae_pipeline.machine.processes import World

_STUDY = ("finetune", "extract", "train", "analyze")
_SHARED = ("extract", "train", "analyze")  # verbs that several processes may share
_ROOT_HELP = "folder or address (s3://bucket/study, gs://…) that holds finbert_sae/ and analysis_data/ [.]"
# verb: (what it does, the stages whose fields are its flags)
_VERBS = {
    "finetune": ("fine-tune the classifier", ("headlines", "finetune")),
    "extract": ("write a layer's activations over the training headlines", ("extract",)),
    "train": ("train and evaluate the SAEs", ("extract", "train")),
    "sweep": ("train SAEs at several penalties, k or seeds from one reading", ("extract", "train", "sweep")),
    "analyze": ("read the test headlines through an SAE and write a run", ("extract", "analyze")),
    "intervene": ("add causal evidence to a run: effects of features, ablations, flips, faithfulness", ("intervene",)),
    "finish": ("end an SAE's training with the classifier's own loss (end to end)", ("extract", "finish")),
    "evidence": ("hold an SAE against controls, probes and its other seeds", ("extract", "evidence")),
    "family": ("find a run's features in the other sizes and seeds", ("family",)),
    "export": ("write an SAE in SAELens' format", ("extract", "export")),
    "study": ("finetune, extract, train and analyze, reusing what is there", ("headlines", *_STUDY)),
    "report": ("print the figures of the present classifier and SAEs", ()),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb. Returns the exit code: 0, 2 for a user's mistake, 130 for Ctrl-C."""
    try:
        arguments = _parser().parse_args(argv)
        _run(arguments)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nInterrupted; finished stages are kept, run the same command to go on.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 0
    return 0


def _run(arguments: argparse.Namespace) -> None:
    if os.environ.get("WORLD_SIZE", "1") != "1" and arguments.verb not in _SHARED:
        raise UserError(f"{arguments.verb} runs in one process; torchrun is for {', '.join(_SHARED)}.")
    place = study_root(arguments.root, arguments.verb, getattr(arguments, f"{arguments.verb}.run", None))
    with place.named():
        place.sync()
        _run_verb(arguments, place)


def _run_verb(arguments: argparse.Namespace, place: StudyRoot) -> None:
    root = place.folder
    study = None if arguments.verb == "report" else _study(arguments, root)
    from sae_pipeline.machine.device import pick_device
    from sae_pipeline.machine.processes import world  # torch loads here, when the flags are known to be right
    from sae_pipeline.study.report import study_report
    from sae_pipeline.study.training_report import write_report

    if study is None:
        found = study_report(root)
        print("\n".join(found.lines()))
        print(f"with plots: {write_report(root, found)}")
        if arguments.json:
            print(json.dumps(found.summary()))
        return
    if arguments.verb == "study":
        from sae_pipeline.pipeline import check_size

        check_size(study, root)
    device = pick_device(arguments.device)
    with world(device) as here:
        for stage in _STUDY if arguments.verb == "study" else (arguments.verb,):
            _run_stage(stage, study, place, device, here, anew=arguments.verb != "study")
            if here.first:
                place.sync()


def _run_stage(
    verb: str, study: StudyConfig, place: StudyRoot, device: "torch.device", here: "World", anew: bool = True
) -> None:
    from sae_pipeline import pipeline
    from sae_pipeline.sae.kinds import ALONE, Group
    from sae_pipeline.study.report import study_report, sweep_lines
    from sae_pipeline.study.training_report import write_report

    root = place.folder
    if verb == "finetune":
        record = pipeline.finetune(study, root, device)
        print(f"classifier: test accuracy {record.test.accuracy:.3f}, macro-F1 {record.test.macro_f1:.3f}")
    elif verb == "extract":
        store = pipeline.extract(study.extract, root, device, here)
        if here.first:
            n_tokens, layer = store.manifest.n_tokens, study.extract.layer
            print(f"activations: {n_tokens:,} tokens of layer {layer} in {place.shown(store.folder)}")
    elif verb == "train":
        group = Group(study.train.split, here.rank, here.size) if here.size > 1 else ALONE
        if here.first:
            pipeline.train(study.extract, study.train, root, device, group)
            found = study_report(root)
            print("\n".join(found.lines()))
            print(f"with plots: {write_report(root, found)}")
        else:
            making.join_training(study.extract, study.train, root, device, group)
    elif verb == "sweep":
        records = pipeline.sweep(study.extract, study.train, study.sweep, root, device)
        print("\n".join(sweep_lines(records)))
    elif verb == "analyze":
        run = None if anew else pipeline.equal_run(study, root)
        run = run or pipeline.analyze(study, root, device, here=here)
        if here.first:
            print(f"run: {place.shown(run)}" + (f" ({here.size} processes)" if here.size > 1 else ""))
    elif verb == "intervene":
        from sae_pipeline.study.report import summary_lines

        print("\n".join(summary_lines(pipeline.intervene(study.intervene, root, device))))
    elif verb == "export":
        from sae_pipeline.study.export import export

        print(f"SAELens' format: {place.shown(export(study.export, study.extract.layer, root))}")
    else:
        _judge(verb, study, root, device)


def _judge(verb: str, study: StudyConfig, root: Path, device: Any) -> None:
    from sae_pipeline import quality
    from sae_pipeline.study.report import evidence_lines, family_lines, study_report

    if verb == "finish":
        quality.finish(study.finish, study.extract.layer, root, device)
        print("\n".join(study_report(root).lines()))
    elif verb == "evidence":
        print("\n".join(evidence_lines(quality.evidence(study.evidence, study.extract.layer, root, device))))
    else:
        print("\n".join(family_lines(quality.family(study.family, root, device))))


# --- flags ---------------------------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> typing.NoReturn:
        raise UserError(f"{message} (see `{self.prog} --help`).")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m sae_pipeline", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB", parser_class=_Parser)
    for verb, (summary, stages) in _VERBS.items():
        sub = verbs.add_parser(verb, help=summary, description=summary)
        sub.add_argument("--root", default=".", help=_ROOT_HELP)
        if verb == "report":
            sub.add_argument("--json", action="store_true", help="end with one line of JSON")
            continue
        sub.add_argument(
            "--preset", choices=PRESETS, help="default values; default: the present classifier's, else finbert"
        )
        sub.add_argument("--device", help='"cpu", "cuda", "cuda:1"; default: CUDA where there is one')
        for stage, field, flag, info in _fields(stages):
            sub.add_argument(flag, dest=f"{stage}.{field}", metavar="…", help=_help(stage, field, info))
    return parser


def _fields(stages: Sequence[str]) -> list[tuple[str, str, str, FieldInfo]]:
    """(stage, field, flag, info) of every field; a name that two stages share gets its stage in front."""
    fields = [
        (stage, name, info)
        for stage in stages
        for name, info in type(getattr(StudyConfig(), stage)).model_fields.items()
    ]
    counts = Counter(name for _, name, _ in fields)
    return [
        (stage, name, "--" + (f"{stage}-{name}" if counts[name] > 1 else name).replace("_", "-"), info)
        for stage, name, info in fields
    ]


def _help(stage: str, field: str, info: FieldInfo) -> str:
    defaults = {name: getattr(getattr(study, stage), field) for name, study in PRESETS.items()}
    shown = "; ".join(f"{value} ({name})" for name, value in defaults.items())
    default = shown if len(set(defaults.values())) > 1 else defaults["finbert"]
    return f"{info.description or field.replace('_', ' ')} [{default}]".replace("%", "%%")


def _study(arguments: argparse.Namespace, root: Path) -> StudyConfig:
    changes: dict[str, dict[str, Any]] = {}
    for key, text in vars(arguments).items():
        if "." in key and text is not None:
            stage, field = key.split(".")
            info = type(getattr(StudyConfig(), stage)).model_fields[field]
            changes.setdefault(stage, {})[field] = _parse(info, text)
    return study_config(arguments.preset or _present_preset(root) or "finbert", **changes)


def _parse(info: FieldInfo, text: str) -> Any:
    """Text to what pydantic takes: "none" for an optional field, a comma-separated list for a tuple."""
    annotation = info.annotation
    if text.lower() == "none" and isinstance(annotation, types.UnionType) and type(None) in annotation.__args__:
        return None
    return text.split(",") if typing.get_origin(annotation) is tuple else text


def _present_preset(root: Path) -> str | None:
    try:
        name = json.loads((root / "finbert_sae" / "classifier.json").read_bytes())["preset"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return name if name in PRESETS else None


if __name__ == "__main__":
    sys.exit(main())
