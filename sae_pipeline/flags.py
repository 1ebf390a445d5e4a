"""The verbs and their flags, and the settings that a command line gives. A flag is a field of a config."""

import argparse
import re
import typing
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from sae_pipeline import __version__
from sae_pipeline.artefacts.checksums import fields_of
from sae_pipeline.config import (
    PRESETS,
    RUN_FORMATS,
    SAE_FORMATS,
    HeadlinesConfig,
    ScoreConfig,
    StudyConfig,
    study_config,
)
from sae_pipeline.config_file import Settings, field_value, read_settings
from sae_pipeline.errors import UserError
from sae_pipeline.schema.common import METADATA

STAGES = ("finetune", "extract", "train", "analyze")
_ROOT_HELP = "folder or address (s3://bucket/study, gs://…) that holds finbert_sae/ and analysis_data/ [.]"
_CONFIG_HELP = "YAML file of settings, or a run (its folder or metadata.json) to repeat; flags come before it"
# verb: (what it does, the stages whose fields are its flags)
_VERBS = {
    "inspect": ("print what is understood of a table, without making anything", ("headlines",)),
    "finetune": ("fine-tune the classifier", ("headlines", "finetune", "track")),
    "adopt": ("take a fine-tuned classifier as it is, without training", ("headlines", "adopt")),
    "extract": ("write the activations of one or several layers over the training headlines", ("extract", "layers")),
    "train": ("train and evaluate the SAEs of one or several layers", ("extract", "layers", "train", "track")),
    "sweep": (
        "train SAEs at several penalties, k or seeds from one reading of the activations",
        ("extract", "train", "sweep", "track"),
    ),
    "analyze": ("read the test headlines through an SAE and write a run", ("extract", "analyze")),
    "score": ("write a table again with predictions and features", ("extract", "score")),
    "intervene": ("add causal effects to a run: effects of features, ablations, flips, faithfulness", ("intervene",)),
    "finish": ("finish an SAE's training with the classifier's own loss (end to end)", ("extract", "finish", "track")),
    "compare": ("compare an SAE with baselines, probes and its other seeds", ("extract", "compare")),
    "layers": ("compare layers: probes, where the decision is, and their SAEs", ("layers",)),
    "family": ("find a run's features in SAEs of other sizes and seeds; train missing seeds", ("family",)),
    "contrast": ("change texts a little and see which predictions and features move", ("contrast",)),
    "mend": ("find edits of features that mend wrong predictions, and test them on other headlines", ("mend",)),
    "calibrate": ("say how far probabilities can be trusted, and when to abstain", ("calibrate",)),
    "diff": ("say which features fine-tuning changed, and how many of them another seed changes too", ("diff",)),
    "explain": ("ask a language model what features fire on, and test what it says", ("explain",)),
    "map": ("place a run's features in the plane, for the viewer's map", ("map",)),
    "export": ("write an SAE or a run in a format for others: SAELens, one HTML page, …", ("extract", "export")),
    "import": ("take an SAE that another library wrote into the study", ("extract", "import_")),
    "study": (
        "run finetune, extract, train and analyze, in the demo also intervene, contrast and map, and reuse what exists",
        ("headlines", *STAGES, "track"),
    ),
    "push": ("send the classifier, the SAEs and a run to the Hugging Face hub", ("extract", "push")),
    "pull": ("fetch what was pushed from the Hugging Face hub", ("pull",)),
    "unseal": ("test the final claims, once, on the headlines that --seal kept back", ("unseal",)),
    "paper": ("write figures, tables, methods and facts of a run for a paper, and an archive", ("paper",)),
    "report": ("print the figures of the present classifier and SAEs", ()),
    "verify": (
        "compare every artefact, or those in an archive, with the checksums in its record; recompute the figures of an "
        "archive that paper wrote",
        (),
    ),
}
_INSPECT = ("columns", "text_column", "label_column", "label_map", "label_names")  # the flags of inspect
_SCORE = {("extract", "layer"), *(("score", name) for name in ScoreConfig.model_fields if name != "table")}
_IMPORT = {("extract", name) for name in ("layer", "positions", "tokens_per_batch", "precision")} | {
    ("import_", "from_")
}
_ALIASES = {"compare": ("evidence",)}


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


def study_parser(description: str | None) -> Parser:
    """The parser of `python -m sae_pipeline`."""
    parser = Parser(prog="python -m sae_pipeline", description=description)
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
            sub.add_argument("archive", nargs="?", metavar="ARCHIVE", help="check this .zip, .tar or .tar.gz instead")
            sub.add_argument("--archive", dest="archive_flag", metavar="ARCHIVE", help="the same")
            continue
        sub.add_argument(
            "--preset",
            choices=PRESETS,
            help="where default values come from; default: the present classifier's preset, else finbert",
        )
        if verb in ("extract", "train"):
            flags = [flag for flag in flags if flag[:2] != ("layers", "sae_size")]
        if verb == "score":
            sub.add_argument("score.table", metavar="TABLE", help="a file, or a folder saved by datasets")
            flags = [flag for flag in flags if flag[:2] in _SCORE]
        if verb == "import":
            sub.add_argument("import_.place", metavar="PLACE", help="folder of the SAE, or its file of weights")
            flags = [flag for flag in flags if flag[:2] in _IMPORT]
        if verb == "push":
            sub.add_argument("--yes", action="store_true", help="send; without it only say what would be sent")
            sub.add_argument("--dry-run", metavar="FOLDER", help="write the card into a folder and send nothing")
        if verb == "unseal":
            sub.add_argument("--yes", action="store_true", help="open the seal; without it only say what would be done")
        if verb == "explain":
            sub.add_argument("--yes", action="store_true", help="ask; without it only say how much would be asked")
        if verb == "pull":
            sub.add_argument("pull.repository", metavar="USER/NAME", help="a repository on the hub")
            flags = [flag for flag in flags if flag[1] != "repository"]
        sub.add_argument("--config", help=_CONFIG_HELP)
        sub.add_argument("--write-config", metavar="FILE", help="write all settings, with comments, and stop")
        if verb not in ("push", "pull"):
            sub.add_argument("--device", help='"cpu", "cuda", "cuda:1", "mps"; default: CUDA where there is a card')
        _add_flags(sub, flags)


def _add_flags(parser: argparse.ArgumentParser, flags: Sequence[tuple[str, str, str, FieldInfo]]) -> None:
    for stage, field, flag, info in flags:
        alone: dict[str, Any] = {"nargs": "?", "const": "true"} if info.annotation is bool else {}
        parser.add_argument(flag, dest=f"{stage}.{field}", metavar="…", help=_help(stage, field, info), **alone)


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


# --- settings ------------------------------------------------------------------------------------------


def headlines_config(arguments: argparse.Namespace) -> HeadlinesConfig:
    """What the flags of `inspect`, and the file that --config names, say of a table."""
    return study_config("finbert", **_changes(arguments, _settings(arguments, Path()))).headlines


def study_of(arguments: argparse.Namespace, root: Path) -> StudyConfig:
    """The settings that the flags and the file that --config names give to a study in `root`. Raises UserError."""
    settings = _settings(arguments, root)
    changes = _changes(arguments, settings)
    present = fields_of(root / "finbert_sae" / "classifier.json")
    named = arguments.preset or settings.preset
    preset = named or present.get("preset")
    if isinstance(layer := present.get("layer"), int) and not named:
        changes.setdefault("extract", {}).setdefault("layer", layer)
    if "export" in changes:
        changes["export"] = _with_folder_in_out(changes["export"])
    return study_config(preset if preset in PRESETS else "finbert", **changes)


def _with_folder_in_out(values: dict[str, Any]) -> dict[str, Any]:
    """Take a folder in `--to`, which named the folder before there were formats, as `--out`."""
    to = values.get("to")
    if to is None or to in (*SAE_FORMATS, *RUN_FORMATS) or values.get("out"):
        return values
    if not re.search(r"[/\\]", to) and not Path(to).exists():
        return values
    print(f"--to names a format now; {to} is taken as the folder of --to saelens (write --out {to}).")
    return {**values, "to": "saelens", "out": to}


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
