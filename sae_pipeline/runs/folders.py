"""Finding run folders, and reading a whole run.

A run is a folder `<YYYYmmdd-HHMMSS>_run-XXX`, written by `drafts.py`. `schema/` defines its files.
"""

import re
import stat
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from sae_pipeline.errors import UserError
from sae_pipeline.runs.fit import (
    Problems,
    column_problems,
    examples_problems,
    headline_problems,
    metric_problems,
    prompt_problems,
    stats_problems,
)
from sae_pipeline.schema.common import (
    FEATURE_STATS,
    FEATURE_TOKENS,
    HEADLINE_FEATURES,
    METADATA,
    PROMPTS,
    RUN_FILES,
)
from sae_pipeline.schema.run import (
    FeatureExamples,
    FeatureStatsFile,
    FeatureTokensFile,
    HeadlineFeaturesFile,
    Prompt,
    RunMetadata,
)

MAX_METADATA_BYTES = 1 << 26
_RUN_FOLDER = re.compile(r"[^.].*_run-([0-9]{1,9})")
_RUN_NUMBER = re.compile(r"(?:run-)?([0-9]{1,9})")

Model = TypeVar("Model", bound=BaseModel)


class UnknownRunError(UserError):
    """No run has the number or name that was asked for."""


class DamagedRunError(UserError):
    """A run exists but cannot be read; the message names file and field."""


@dataclass(frozen=True)
class RunEntry:
    """A run folder in a list. `metadata` is None if the run cannot be read; `reason` then says why."""

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

    def words(self, feature: int) -> list[str]:
        """The words that the feature fires on, most characteristic first.

        Without saved examples of the feature they are its words in the headlines where it is among the strongest.
        """
        if feature in self._saved:
            saved = self._saved[feature]
            return [fired.word for fired in saved.words] or [saved.word]
        fired = (
            one.word for record in self.headline_features.headlines for one in record.features if one.feature == feature
        )
        return list(dict.fromkeys(fired))

    @cached_property
    def _saved(self) -> dict[int, FeatureExamples]:
        return {saved.feature: saved for saved in self.feature_tokens.features}


def list_runs(
    analysis_dir: Path, known: Container[str] | None = None, check: Callable[[Path, str], object] | None = None
) -> list[RunEntry]:
    """All runs, newest first. A run counts as readable if its files exist and its metadata is valid.

    Folders that are not among `known` are left out. `check(folder, name)` raises `DamagedRunError` if a file is
    missing; the default looks into the folder.
    """
    entries = []
    for folder, number in run_folders(analysis_dir, known):
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
    """The folder of run "34", "run-034", 34 or of a folder name; the latest for None. Only `known` folders, if given.

    `run_id` is only compared with the names of the folders; it never becomes part of a path. Raises
    `UnknownRunError`.
    """
    folders = run_folders(analysis_dir, known)
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
    """Read all five files and check that they fit together. Raises `DamagedRunError`, which names file and field."""
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


def load_run(analysis_dir: str | Path = "analysis_data", run: str | int | None = None) -> Run:
    """Read run 34, "34", "run-034", a folder name, or the latest for None. Raises UserError when it cannot be read."""
    return read_run(find_run(Path(analysis_dir), run))


def run_folders(analysis_dir: Path, known: Container[str] | None = None) -> list[tuple[Path, int]]:
    """(folder, number) of every run, highest number first; of equal numbers, latest time stamp first."""
    try:
        names = [path.name for path in analysis_dir.iterdir()]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(f"{analysis_dir} cannot be read ({reason_of(error)}).") from error
    found = [(int(match[1]), name) for name in names if (match := _RUN_FOLDER.fullmatch(name))]
    found = [(number, name) for number, name in found if known is None or name in known]
    return [(analysis_dir / name, number) for number, name in sorted(found, reverse=True)]


def damaged(folder: Path, file: str, field: str, problem: str) -> DamagedRunError:
    """The error of a run whose `file` is wrong at `field` ("": as a whole)."""
    place = f"{file}, {field}:" if field else file
    return DamagedRunError(f"Run {folder.name} is damaged: {place} {problem}; delete it or analyse again.")


def plain_file(folder: Path, name: str) -> Path:
    """The path of a run's file, which must be a plain file. No link is followed, so nothing outside the run is read."""
    path = folder / name
    try:
        if not stat.S_ISDIR(folder.lstat().st_mode):
            raise damaged(folder, "the folder", "", "is a link or a file; copy the run itself here")
        if not stat.S_ISREG(path.lstat().st_mode):
            raise damaged(folder, name, "", "is not a plain file")
    except OSError as error:
        raise damaged(folder, name, "", f"cannot be read ({reason_of(error)})") from error
    return path


def _bytes(folder: Path, name: str) -> bytes:
    try:
        if name == METADATA and plain_file(folder, name).stat().st_size > MAX_METADATA_BYTES:
            raise damaged(folder, name, "", f"is larger than {MAX_METADATA_BYTES >> 20} MiB")
        return plain_file(folder, name).read_bytes()
    except OSError as error:
        raise damaged(folder, name, "", f"cannot be read ({reason_of(error)})") from error


def parse_record(folder: Path, name: str, text: bytes, model: type[Model], prefix: str = "") -> Model:
    """Validate a record, which stands at `prefix` in a run's file. Raises `DamagedRunError`."""
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise damaged(folder, name, " ".join(filter(None, (prefix, field))), first["msg"]) from error


def _read(folder: Path, name: str, model: type[Model]) -> Model:
    return parse_record(folder, name, _bytes(folder, name), model)


def _read_prompts(folder: Path) -> list[Prompt]:
    lines = _bytes(folder, PROMPTS).splitlines()  # bytes split at \n and \r only, which no JSON string contains
    return [parse_record(folder, PROMPTS, line, Prompt, f"line {n}") for n, line in enumerate(lines, 1)]


def read_metadata(folder: Path) -> RunMetadata:
    """Read `metadata.json` alone. Raises `DamagedRunError`."""
    metadata = _read(folder, METADATA, RunMetadata)
    match = _RUN_FOLDER.fullmatch(folder.name)
    if match and metadata.run_id != f"run-{int(match[1]):03d}":
        raise damaged(folder, METADATA, "run_id", f"says {metadata.run_id!r}, unlike the folder's name")
    return metadata


def _misfits(run: Run) -> Iterator[tuple[str, str, str]]:
    """The places (file, field, problem) where files that are valid by themselves do not fit together."""
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


def reason_of(error: OSError) -> str:
    """The reason of a system error, in a few words."""
    return (error.strerror or str(error)).lower()
