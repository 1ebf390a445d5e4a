"""Run folders: numbering, atomic writing, validated reading.

A run is written into a hidden draft folder and renamed to `<YYYYmmdd-HHMMSS>_run-XXX` (UTC) when it is whole,
so a folder of that name is never half-written. Numbers are given under a lock, one higher than the highest
there is, so no two writers get the same one. The kernel frees a lock when its process dies: that is how the
drafts of dead writers are told from those of living ones. What the files hold is defined in `schema.py`.
"""

import errno
import fcntl
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from .compact_json import ARRAY_END, NotFiniteError, Record, RecordWriter, array, array_start, indented, lines
from .errors import UserError
from .run_fit import (
    Problems,
    column_problems,
    examples_problems,
    headline_problems,
    metric_problems,
    prompt_problems,
    stats_problems,
)
from .schema import (
    DECODER,
    NEIGHBOURS,
    RUN_FILES,
    SCHEMA_VERSION,
    FeatureStatsFile,
    FeatureTokensFile,
    HeadlineFeaturesFile,
    Prompt,
    RunMetadata,
)

METADATA, PROMPTS, FEATURE_STATS, FEATURE_TOKENS, HEADLINE_FEATURES = RUN_FILES

MAX_METADATA_BYTES = 1 << 26
_DRAFT = ".draft-"
_ALIVE = ".alive"
_RUN_FOLDER = re.compile(r"[^.].*_run-([0-9]{1,9})")
_RUN_NUMBER = re.compile(r"(?:run-)?([0-9]{1,9})")

Model = TypeVar("Model", bound=BaseModel)


class UnknownRunError(UserError):
    """There is no such run."""


class DamagedRunError(UserError):
    """The run is there but cannot be read; the message names file and field."""


# --- writing -------------------------------------------------------------------------------------------


@contextmanager
def new_run(analysis_dir: Path) -> Iterator["RunDraft"]:
    """A draft to fill; it becomes a run with `finish` and is gone when the block is left without.

    Raises `UserError` where the folder cannot be written.
    """
    with ExitStack() as leaving:
        with _saving(analysis_dir):
            analysis_dir.mkdir(parents=True, exist_ok=True)
            with _locked(analysis_dir):
                _remove_dead_drafts(analysis_dir)
                folder = analysis_dir / f"{_DRAFT}{secrets.token_hex(8)}"
                leaving.callback(shutil.rmtree, folder, ignore_errors=True)
                folder.mkdir()
                alive = leaving.enter_context((folder / _ALIVE).open("wb"))
                fcntl.flock(alive, fcntl.LOCK_EX)
        yield RunDraft(folder)


# Of the files with a record for each headline: what stands before, between and after records.
_PER_HEADLINE = {
    PROMPTS: (b"", b"\n", b"\n"),
    HEADLINE_FEATURES: (array_start({}, "headlines") + b"\n", b",\n", ARRAY_END),
}


class RunPart:
    """One process's share of the files that have a record for each headline, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def writing(self, name: str) -> Iterator[RecordWriter]:
        """Write `prompts.jsonl` or `headline_features.json` bit by bit, from records like the schema's."""
        with self._file(name) as write:
            yield RecordWriter(write, _PER_HEADLINE[name][1])

    @contextmanager
    def _file(self, name: str) -> Iterator[Callable[[bytes], None]]:
        """What writes to a file of the run; the system's errors and numbers that are not finite are UserErrors."""
        with _saving(self.folder.parent):
            file = (self.folder / name).open("wb", buffering=1 << 20)

        def write(data: bytes) -> None:  # records are made by the caller, whose own OSErrors are not ours to explain
            with _saving(self.folder.parent):
                file.write(data)

        try:
            yield write
        except NotFiniteError as error:
            raise UserError(f"{name}, {error}; make it finite, no run was saved.") from error
        finally:
            with _saving(self.folder.parent):
                file.close()


class RunDraft(RunPart):
    """The files of a run being written, plain records in. See `new_run`.

    Records may hold numpy arrays and numbers. Floats are written with 6 significant digits; one that is not
    finite is a `UserError` that names its place.
    """

    @contextmanager
    def writing(self, name: str) -> Iterator[RecordWriter]:
        """See RunPart; the file is whole when the block is left."""
        start, between, end = _PER_HEADLINE[name]
        with self._file(name) as write:
            write(start)
            writer = RecordWriter(write, between)
            yield writer
            write(end if writer.n or name != PROMPTS else b"")

    def write_prompts(self, prompts: Iterable[Record]) -> None:
        """`prompts.jsonl` from records like `schema.Prompt`."""
        with self.writing(PROMPTS) as file:
            file.add(prompts)

    def write_neighbours(self, neighbours: Mapping[str, Any], decoder: bytes) -> None:
        """`neighbours.json` from a record like `schema.NeighboursFile`, and `decoder.safetensors`."""
        self._write(NEIGHBOURS, lines([neighbours]))
        self._write(DECODER, iter([decoder]))

    def write_feature_stats(self, stats: Mapping[str, Any]) -> None:
        """`feature_stats.json` from a record like `schema.FeatureStatsFile`."""
        header = {key: value for key, value in stats.items() if key != "metrics"}
        self._write(FEATURE_STATS, array(header, "metrics", stats["metrics"]))

    def write_feature_tokens(self, header: Mapping[str, Any], features: Iterable[Record]) -> None:
        """`feature_tokens.json`: header with `histogram_edges`, records like `schema.FeatureExamples`."""
        self._write(FEATURE_TOKENS, array(header, "features", features))

    def write_headline_features(self, headlines: Iterable[Record]) -> None:
        """`headline_features.json` from records like `schema.HeadlineFeatures`."""
        with self.writing(HEADLINE_FEATURES) as file:
            file.add(headlines)

    def finish(self, metadata: Mapping[str, Any]) -> Path:
        """Number the run, write `metadata.json` and rename the draft; the new folder.

        `metadata` is like `schema.RunMetadata` without `run_id`, `created_at` and `schema_version`.
        """
        missing = [name for name in RUN_FILES[1:] if not (self.folder / name).exists()]
        if missing:
            raise ValueError(f"write {', '.join(missing)} before finish")
        analysis_dir = self.folder.parent
        with _saving(analysis_dir):
            for path in self.folder.iterdir():
                if path.is_file():
                    _sync(path)
            with _locked(analysis_dir):
                number = 1 + max((number for _, number in _run_folders(analysis_dir)), default=0)
                now = datetime.now(UTC)
                whole = RunMetadata.model_validate(
                    {
                        **metadata,
                        "schema_version": SCHEMA_VERSION,
                        "run_id": f"run-{number:03d}",
                        "created_at": now.isoformat(timespec="seconds"),
                    }
                )
                (self.folder / METADATA).write_bytes(indented(whole.model_dump()))
                _sync(self.folder / METADATA)
                (self.folder / _ALIVE).unlink()
                _sync(self.folder)
                run = analysis_dir / f"{now:%Y%m%d-%H%M%S}_{whole.run_id}"
                self.folder.rename(run)
                _sync(analysis_dir)
        return run

    def _write(self, name: str, pieces: Iterator[bytes]) -> None:
        with self._file(name) as write:
            for piece in pieces:
                write(piece)


@contextmanager
def _locked(analysis_dir: Path) -> Iterator[None]:
    """Hold the folder's inter-process lock."""
    with (analysis_dir / ".lock").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)  # closing alone leaves it to children forked meanwhile


def _remove_dead_drafts(analysis_dir: Path) -> None:
    """Remove drafts whose writer is dead. Call with the lock held: drafts are born and renamed under it."""
    for folder in analysis_dir.glob(f"{_DRAFT}*"):
        try:
            with (folder / _ALIVE).open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        except OSError:
            pass  # no lock file: killed between the two steps of making or of finishing the draft
        shutil.rmtree(folder, ignore_errors=True)


def _sync(path: Path) -> None:
    """Have the disk hold what was written to a file or folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _saving(analysis_dir: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _unsaved(analysis_dir, error) from error


def _unsaved(analysis_dir: Path, error: OSError) -> UserError:
    cure = {
        errno.ENOSPC: "free some space there",
        errno.EDQUOT: "free some space there",
        errno.EACCES: "make the folder writable",
        errno.EROFS: "choose a folder on a writable disk",
    }.get(error.errno or 0, "choose another folder")
    return UserError(f"The run cannot be saved in {analysis_dir} ({_why(error)}); {cure} and analyse again.")


def _why(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


# --- reading -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RunEntry:
    """A run folder in a list. `metadata` is there unless `reason` says why the run cannot be read."""

    run_id: str
    number: int
    folder: Path
    metadata: RunMetadata | None
    reason: str | None


@dataclass(frozen=True)
class Run:
    """A whole run, validated."""

    folder: Path
    metadata: RunMetadata
    prompts: list[Prompt]
    feature_stats: FeatureStatsFile
    feature_tokens: FeatureTokensFile
    headline_features: HeadlineFeaturesFile


def list_runs(
    analysis_dir: Path, known: Container[str] | None = None, check: Callable[[Path, str], object] | None = None
) -> list[RunEntry]:
    """All runs, newest first, judged by their metadata and by whether their files are there.

    Folders not among `known` are left out. `check(folder, name)` raises `DamagedRunError` where a file is missing; the
    default looks into the folder.
    """
    entries = []
    for folder, number in _run_folders(analysis_dir, known):
        metadata, reason = None, None
        try:
            for name in RUN_FILES:
                (check or plain_file)(folder, name)
            metadata = read_metadata(folder)
        except DamagedRunError as error:
            reason = str(error)
        entries.append(RunEntry(f"run-{number:03d}", number, folder, metadata, reason))
    return entries


def find_run(analysis_dir: Path, run_id: str | int | None, known: Container[str] | None = None) -> Path:
    """The folder of run "34", "run-034", 34, a folder name, or the latest for None; of those `known`, if given.

    `run_id` is only compared with the names of the folders there are; no path is made of it. Raises
    `UnknownRunError`.
    """
    folders = _run_folders(analysis_dir, known)
    if not folders:
        raise UnknownRunError(
            f"There are no runs in {analysis_dir} yet; make one with `python -m sae_pipeline analyze`."
        )
    if run_id is None:
        return folders[0][0]
    wanted = _RUN_NUMBER.fullmatch(str(run_id))
    for folder, number in folders:
        if folder.name == run_id or (wanted and int(wanted[1]) == number):
            return folder
    known = ", ".join(f"run-{number:03d}" for _, number in folders[:10])
    more = f" and {len(folders) - 10} older ones" if len(folders) > 10 else ""
    raise UnknownRunError(f"There is no run {str(run_id)[:64]!r} in {analysis_dir}; it has {known}{more}.")


def read_run(folder: Path) -> Run:
    """All five files, validated and fitting together. Raises `DamagedRunError` naming file and field."""
    run = Run(
        folder,
        read_metadata(folder),
        _read_prompts(folder),
        _read(folder, FEATURE_STATS, FeatureStatsFile),
        _read(folder, FEATURE_TOKENS, FeatureTokensFile),
        _read(folder, HEADLINE_FEATURES, HeadlineFeaturesFile),
    )
    for file, field, problem in _misfits(run):
        raise damaged(folder, file, field, problem)
    return run


def _run_folders(analysis_dir: Path, known: Container[str] | None = None) -> list[tuple[Path, int]]:
    """(folder, number) of every run, highest number first; of equal numbers, latest time stamp first."""
    try:
        names = [path.name for path in analysis_dir.iterdir()]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(f"{analysis_dir} cannot be read ({_why(error)}).") from error
    found = [(int(match[1]), name) for name in names if (match := _RUN_FOLDER.fullmatch(name))]
    found = [(number, name) for number, name in found if known is None or name in known]
    return [(analysis_dir / name, number) for number, name in sorted(found, reverse=True)]


def damaged(folder: Path, file: str, field: str, problem: str) -> DamagedRunError:
    """What to raise for a run whose `file` is wrong at `field` ("": as a whole)."""
    place = f"{file}, {field}:" if field else file
    return DamagedRunError(f"Run {folder.name} is damaged: {place} {problem}; delete it or analyse again.")


def plain_file(folder: Path, name: str) -> Path:
    """A run's file: a plain one, reached without links, so that nothing outside the folder is ever read."""
    path = folder / name
    try:
        if not stat.S_ISDIR(folder.lstat().st_mode):
            raise damaged(folder, "the folder", "", "is a link or a file; copy the run itself here")
        if not stat.S_ISREG(path.lstat().st_mode):
            raise damaged(folder, name, "", "is not a plain file")
    except OSError as error:
        raise damaged(folder, name, "", f"cannot be read ({_why(error)})") from error
    return path


def _bytes(folder: Path, name: str) -> bytes:
    try:
        if name == METADATA and plain_file(folder, name).stat().st_size > MAX_METADATA_BYTES:
            raise damaged(folder, name, "", f"is larger than {MAX_METADATA_BYTES >> 20} MiB")
        return plain_file(folder, name).read_bytes()
    except OSError as error:
        raise damaged(folder, name, "", f"cannot be read ({_why(error)})") from error


def parse_record(folder: Path, name: str, text: bytes, model: type[Model], prefix: str = "") -> Model:
    """A record of a run's file, which stands there at `prefix`. Raises `DamagedRunError`."""
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise damaged(folder, name, " ".join(filter(None, (prefix, field))), first["msg"]) from error


def _read(folder: Path, name: str, model: type[Model]) -> Model:
    return parse_record(folder, name, _bytes(folder, name), model)


def _read_prompts(folder: Path) -> list[Prompt]:
    lines = _bytes(folder, PROMPTS).splitlines()  # on bytes: at \n and \r only, which JSON strings never hold
    return [parse_record(folder, PROMPTS, line, Prompt, f"line {n}") for n, line in enumerate(lines, 1)]


def read_metadata(folder: Path) -> RunMetadata:
    """`metadata.json` alone. Raises `DamagedRunError`."""
    metadata = _read(folder, METADATA, RunMetadata)
    match = _RUN_FOLDER.fullmatch(folder.name)
    if match and metadata.run_id != f"run-{int(match[1]):03d}":
        raise damaged(folder, METADATA, "run_id", f"says {metadata.run_id!r}, unlike the folder's name")
    return metadata


def _misfits(run: Run) -> Iterator[tuple[str, str, str]]:
    """(file, field, problem) wherever files that are valid by themselves do not fit together."""
    stats, n_tokens = run.feature_stats, [len(prompt.tokens) for prompt in run.prompts]
    for n, prompt in enumerate(run.prompts, 1):
        yield from _at(PROMPTS, f"line {n} ", prompt_problems(prompt, len(run.metadata.labels)))

    if stats.n_headlines != len(run.prompts):
        yield FEATURE_STATS, "n_headlines", f"is {stats.n_headlines}, {PROMPTS} has {len(run.prompts)}"
    yield from _at(FEATURE_STATS, "", stats_problems(stats, len(run.metadata.labels)))
    if not run.metadata.metrics:
        yield METADATA, "metrics", "names none"
    yield from _at(FEATURE_STATS, "", metric_problems([column.name for column in stats.metrics], run.metadata))
    for column in stats.metrics:
        yield from _at(FEATURE_STATS, "metrics ", column_problems(column, stats.d_sae))

    n_bins = len(run.feature_tokens.histogram_edges) - 1
    for n, saved in enumerate(run.feature_tokens.features):
        yield from _at(FEATURE_TOKENS, f"features.{n}.", examples_problems(saved, n_bins, stats.d_sae, n_tokens))

    if len(run.headline_features.headlines) != len(run.prompts):
        yield HEADLINE_FEATURES, "headlines", f"has {len(run.headline_features.headlines)} of {len(run.prompts)}"
    for n, (record, prompt) in enumerate(zip(run.headline_features.headlines, run.prompts, strict=False)):
        yield from _at(HEADLINE_FEATURES, f"headlines.{n}.", headline_problems(record, n, prompt, stats.d_sae))


def _at(file: str, place: str, problems: Problems) -> Iterator[tuple[str, str, str]]:
    return ((file, f"{place}{field}", problem) for field, problem in problems)
