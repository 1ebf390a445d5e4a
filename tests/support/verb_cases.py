"""Every verb that writes, as a command on a tiny study, and the study that each of them starts from.

The encoder has 3 layers of width 32 and random weights, as in `whole_study.py`, so a verb takes about a second.
"""

import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from sae_pipeline.config import RUN_FORMATS, SAE_FORMATS
from sae_pipeline.runs.index import INDEX, INDEX_RECORD
from sae_pipeline.schema.kinds import KINDS
from tests.support.encoders import finbert_like, save_encoder
from tests.support.faults import FULL, Change, Ended, StoppableCommands
from tests.support.small_study import write_headlines
from tests.support.whole_study import FLAGS, N_HEADLINES, SIZE, without_varying

_PLACE = "--layer 2 --tokens-per-batch 128"
_CHAIN = ("finetune", "extract", "train", "analyze")
_RUN = "analyze"
TRAINING_REPORT = "training_report.html"
_RUN_TIME = re.compile(r"\d{8}-\d{6}_run")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+:\d]*")


class Case(NamedTuple):
    """A command, and the last case before the study that it starts from ("": headlines and an encoder alone)."""

    command: str
    after: str = _RUN


def _own(verb: str, *more: str) -> str:
    """A verb with its flags of `whole_study.py`."""
    return " ".join((verb, FLAGS[verb].format(root="."), *more)).strip()


def _train(kind: str) -> str:
    sparsity = "" if KINDS[kind].penalty else "--k 8"
    return f"train {_PLACE} --latent-dims 64 --batch-size 128 --num-epochs 2 --kind {kind} {sparsity}".strip()


CASES = {
    "finetune": Case(_own("finetune"), ""),
    "adopt": Case("adopt --preset demo --source headlines.csv --model classifier", ""),
    "study": Case(
        "study --preset demo --source headlines.csv --model encoder --new-head true --epochs 1 --layer 2 "
        "--latent-dims 64 --num-epochs 1 --sae-size 64 --top-features 5",
        "",
    ),
    "extract": Case(_own("extract"), "finetune"),
    "train": Case(_own("train"), "extract"),
    "extract, two layers": Case("extract --layers 2,3 --tokens-per-batch 128", "finetune"),
    **{f"train {kind}": Case(_train(kind), "extract") for kind in KINDS},
    "train, two layers": Case("train --layers 2,3 --latent-dims 64 --batch-size 128 --num-epochs 1", "finetune"),
    "train --report-to": Case(f"{_train('relu')} --report-to tensorboard", "extract"),
    "sweep": Case(f"sweep {_PLACE} --latent-dims 64 --batch-size 128 --num-epochs 1 --seeds 0,1", "extract"),
    "finish": Case(_own("finish"), "train"),
    "analyze": Case(_own("analyze"), "train"),
    "score": Case(f"score headlines.csv --layer 2 --sae-size {SIZE} --rows-per-part 100 --features 3,5", "train"),
    **{verb: Case(_own(verb)) for verb in ("intervene", "family", "map", "contrast", "mend", "calibrate", "diff")},
    **{verb: Case(_own(verb)) for verb in ("compare", "layers", "report")},
    **{f"export {to}": Case(_own("export", "--to", to), "train") for to in SAE_FORMATS},
    **{f"export {to}": Case(f"export --to {to} --out out/{to}") for to in RUN_FORMATS},
    "import": Case("import saelens --layer 2", "train"),
    "push --dry-run": Case("push --layer 2 --dry-run card"),
    "paper": Case("paper --out paper"),
    "unseal": Case("unseal --features 3,5 --yes", "sealed"),
    "--write-config": Case("train --write-config settings.yaml", "train"),
}
CASES["export sparsify"] = Case(f"export {_PLACE} --sae-size 64 --to sparsify", "train topk")
CASES["export site --bench"] = Case("export --to site --bench --out out/site")
CASES["export html"] = Case("export --to html --out out/run.html")
CASES["export card"] = Case("export --to card --feature 3 --out out/card.html")
CASES["export classifier"] = Case("export --to classifier --out out/classifier", "mend")
CASES["export site, again"] = Case(CASES["export site"].command, "export site")
CASES["paper, again"] = Case("paper --out paper --features 2", "paper")
CASES["push"] = Case("push --layer 2 --to anna/news --yes")
CASES["pull"] = Case("pull anna/news", "push")
CASES["explain"] = Case("explain --endpoint {endpoint} --model m --max-features 2 --yes")
"""By name."""


class Studies:
    """The studies that cases start from, each made once, and what each case makes of its own."""

    def __init__(self, commands: StoppableCommands, folder: Path, endpoint: str) -> None:
        """`folder` keeps the studies, and `endpoint` is the address of a language model."""
        self.root, self._endpoint = commands.faults.folder, endpoint
        self.commands, self._folder = commands, folder
        self._before: dict[str, dict[str, Any]] = {}
        self._whole: dict[str, dict[str, Any]] = {}
        self._changes: dict[str, list[Change]] = {}

    def start(self, after: str) -> None:
        """Put a fresh copy of the study after a verb in the watched folder."""
        kept = self._folder / (after or "headlines")
        if not kept.exists():
            self._make(after)
            shutil.copytree(self.root, kept, symlinks=True)
        _replace(self.root, kept)

    def _make(self, after: str) -> None:
        if not after:
            _clear(self.root)
            write_headlines(self.root / "headlines.csv", N_HEADLINES)
            save_encoder("bert", self.root / "encoder")
            finbert_like(self.root / "classifier", ["Bearish", "Bullish", "Neutral"])
        elif after == "sealed":
            self.start("")
            write_headlines(self.root / "headlines.csv", 2 * N_HEADLINES)
            for verb in _CHAIN:
                self._made(_own(verb, "--seal" if verb == "finetune" else ""))
        else:
            self.start(CASES[after].after)
            self._made(CASES[after].command)
            if after == "train":
                self._made(_own("export", "--to saelens --out saelens"))
            if after == "push":
                _clear(self.root)  # what is on the hub, and an empty folder

    def run(self, command: str, at: int = 0, sent: int = FULL) -> Ended:
        """Run a command, and stop it at change number `at`."""
        return self.commands(self.filled(command), at, sent)

    def filled(self, command: str) -> str:
        """A command with the address of the language model."""
        return command.format(endpoint=self._endpoint)

    def _made(self, command: str, checkpoints: bool = False) -> None:
        ended = self.commands(self.filled(command), checkpoints=checkpoints)
        assert ended.code == 0, f"{command}: {ended.err[-3000:]}"

    def before(self, after: str) -> dict[str, Any]:
        """The files of the study after a verb."""
        if after not in self._before:
            self.start(after)
            self._before[after] = contents(self.root)
        return self._before[after]

    def whole(self, name: str) -> dict[str, Any]:
        """The files of a study after a case that nothing stops."""
        if name not in self._whole:
            case = CASES[name]
            self.start(case.after)
            self._made(case.command, checkpoints=True)
            self._whole[name] = contents(self.root)
            self._changes[name] = self.commands.faults.changes()
        return self._whole[name]

    def changes(self, name: str) -> list[Change]:
        """What a case changes on the disk when nothing stops it."""
        self.whole(name)
        return self._changes[name]

    def both(self, name: str, other: str) -> dict[str, Any]:
        """The files of a study after two cases, one after the other."""
        key = f"{name} and {other}"
        if key not in self._whole:
            self.start(CASES[name].after)
            self._made(CASES[name].command, checkpoints=True)
            self._made(CASES[other].command)
            self._whole[key] = contents(self.root)
        return self._whole[key]

    def stopped_at(self, at: int) -> Change | None:
        """The change at which the last command was stopped, if it came so far."""
        changes = self.commands.faults.changes()
        return changes[at - 1] if at <= len(changes) else None


def _clear(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _replace(folder: Path, kept: Path) -> None:
    _clear(folder)
    shutil.copytree(kept, folder, symlinks=True, dirs_exist_ok=True)
    (folder / "tmp").mkdir(exist_ok=True)


def contents(root: Path) -> dict[str, Any]:
    """Every file below a folder by its path, without what varies from one making to the next.

    Lock files, temporary folders and the files of trackers are left out; of an index, its rows count.
    """
    paths = (path for path in root.rglob("*") if path.is_file() and not _is_left_out(path.relative_to(root)))
    return {name_of(path.relative_to(root)): _content(path) for path in sorted(paths)}


def name_of(path: Path) -> str:
    """A path without the time in the names of runs."""
    return _RUN_TIME.sub("run", path.as_posix())


def _is_left_out(path: Path) -> bool:
    """Also the unfinished index: the next one that is made takes its place."""
    named = path.name.endswith((".lock", INDEX_RECORD, ".index.partial"))
    return named or path.parts[0] in ("tmp", "tracking")


def _content(path: Path) -> Any:
    if path.name == INDEX:
        with closing(sqlite3.connect(path)) as connection:
            names = [
                name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE sql LIKE 'CREATE T%'")
            ]
            tables = {name: connection.execute(f'SELECT * FROM "{name}"').fetchall() for name in sorted(names)}
        return {name: [tuple(map(_cell, row)) for row in rows] for name, rows in tables.items()}
    data = path.read_bytes()
    if path.name == TRAINING_REPORT:  # it sums up what the study has when it is written: the second time more
        return data.endswith(b"</html>\n")
    return _cell(data.decode()) if path.suffix == ".json" else data


def _cell(value: Any) -> Any:
    """A value without what varies, if it is JSON."""
    if not isinstance(value, str) or value[:1] != "{":
        return value
    try:
        return without_varying(orjson.loads(_TIME.sub("time", _RUN_TIME.sub("run", value))))
    except ValueError:
        return value
