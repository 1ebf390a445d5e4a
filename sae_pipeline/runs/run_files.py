"""The files of one run: each is a plain file, is valid, and is the one that was written.

`metadata.json` begins with its own checksum and has the sizes and checksums of the other files.
"""

import re
import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from sae_pipeline.artefacts.checksums import (
    MAX_RECORD_BYTES,
    MissingError,
    check_bytes,
    check_size,
    read_sealed,
    seal_of,
    unseal,
    without_seal,
)
from sae_pipeline.errors import DamageError, UserError, reason_of
from sae_pipeline.runs.fit import metadata_problems
from sae_pipeline.runs.problems import Problems
from sae_pipeline.schema.calibration import CALIBRATION
from sae_pipeline.schema.causes import FEATURE_EFFECTS, INTERVENTIONS
from sae_pipeline.schema.common import METADATA, FileSum
from sae_pipeline.schema.contrast import CONTRAST
from sae_pipeline.schema.diff import DIFF
from sae_pipeline.schema.explanations import EXPLANATIONS
from sae_pipeline.schema.family import FAMILY
from sae_pipeline.schema.map import MAP
from sae_pipeline.schema.mending import MENDING
from sae_pipeline.schema.run import RunMetadata

MAX_WHOLE_BYTES = 1 << 28  # of a file that is read whole; one with 10 neighbours of 32,768 features has 10 MB
_MAX_PER_HEADLINE = 1 << 16  # bytes of a file that is added to a run; interventions.json of the demo has 3,400
ADDED_BY = {
    FEATURE_EFFECTS: "intervene",
    INTERVENTIONS: "intervene",
    CONTRAST: "contrast",
    FAMILY: "family",
    MENDING: "mend",
    CALIBRATION: "calibrate",
    DIFF: "diff",
    MAP: "map",
    EXPLANATIONS: "explain",
}
"""The files that later verbs add to a run, sealed, and the verb that makes each again."""
RUN_FOLDER = re.compile(r"[^.].*_run-([0-9]{1,9})")
Model = TypeVar("Model", bound=BaseModel)
Content = TypeVar("Content")


class DamagedRunError(UserError):
    """A run exists but cannot be read; the message names file and field. `what` is the message without the run."""

    def __init__(self, message: str, what: str = "") -> None:
        super().__init__(message)
        self.what = what


def damaged(folder: Path, file: str, field: str, problem: str) -> DamagedRunError:
    """The error of a run whose `file` is wrong at `field` ("": as a whole)."""
    return damaged_run(folder, f"{file}, {field}: {problem}" if field else f"{file} {problem}")


def damaged_run(folder: Path, what: str) -> DamagedRunError:
    """The error of a run; `what` names the file and what is wrong with it."""
    return DamagedRunError(f"Run {folder.name} is damaged: {what}; restore it or analyse again.", what)


def check(folder: Path, name: str, place: str, problems: Problems) -> None:
    """Raise the first problem of the record at `place` in a run's file as a `DamagedRunError`."""
    for field, problem in problems:
        raise damaged(folder, name, f"{place}{field}".strip(), problem)


def plain_file(folder: Path, name: str) -> Path:
    """The path of a run's file, which must be a plain file. No link is followed, so nothing outside the run is read."""
    path = folder / name
    try:
        if not stat.S_ISDIR(folder.lstat().st_mode):
            raise damaged(folder, "the folder", "", "is a link or a file instead of a folder")
        if not stat.S_ISREG(path.lstat().st_mode):
            raise damaged(folder, name, "", "is not a plain file")
    except OSError as error:
        raise damaged(folder, name, "", f"cannot be read ({reason_of(error)})") from error
    return path


def parse_record(folder: Path, name: str, text: bytes, model: type[Model], prefix: str = "") -> Model:
    """Validate a record, which stands at `prefix` in a run's file. Raises `DamagedRunError`."""
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise damaged(folder, name, " ".join(filter(None, (prefix, field))), first["msg"]) from error


def read_whole(folder: Path, name: str, known: FileSum, parse: Callable[[bytes], Content]) -> Content:
    """Read and parse a file, and compare it with what the metadata say of it. Raises `DamagedRunError`.

    A file of another size is not read. A change that leaves the content invalid is named by record and field, any other
    change by the checksum.
    """
    path = plain_file(folder, name)
    try:
        check_size(path, known)
        data = _bytes(folder, name)
        content = parse(data)
        check_bytes(data, known)
    except DamageError as error:
        raise damaged(folder, name, "", str(error)) from error
    return content


def read_listed(folder: Path, name: str, known: FileSum, model: type[Model]) -> Model:
    """Read a file that a run can do without and that its metadata list. Raises `DamagedRunError`."""
    if known.size > MAX_WHOLE_BYTES:
        raise damaged(folder, name, "", f"is larger than {MAX_WHOLE_BYTES >> 20} MiB")
    return read_whole(folder, name, known, partial(parse_record, folder, name, model=model))


def read_added(folder: Path, name: str, model: type[Model], limit: int = MAX_WHOLE_BYTES) -> Model | None:
    """Read a file that a verb added to a run; None where there is none.

    Raises `DamagedRunError`; a file of more than `limit` bytes is not read.
    """
    try:
        text = read_sealed(folder / name, limit)
    except MissingError:
        return None
    except DamageError as error:
        raise damaged(folder, name, "", str(error)) from error
    return parse_record(folder, name, text, model)


def read_metadata(folder: Path) -> RunMetadata:
    """Read `metadata.json` and compare it with its checksum. Raises `DamagedRunError`."""
    if plain_file(folder, METADATA).lstat().st_size > MAX_RECORD_BYTES:
        raise damaged(folder, METADATA, "", f"is larger than {MAX_RECORD_BYTES >> 20} MiB")
    data = _bytes(folder, METADATA)
    try:
        seal_of(data)
        metadata = parse_record(folder, METADATA, without_seal(data), RunMetadata)
        unseal(data)
    except DamageError as error:
        raise damaged(folder, METADATA, "", str(error)) from error
    check(folder, METADATA, "", metadata_problems(metadata, run_number(folder.name)))
    return metadata


def run_number(name: str) -> int | None:
    """The number of the run whose folder has this name; None for any other name."""
    match = RUN_FOLDER.fullmatch(name)
    return int(match[1]) if match else None


def added_limit(metadata: RunMetadata) -> int:
    """The bytes that a file which is added to a run may have. One that is larger is not read."""
    return MAX_WHOLE_BYTES + _MAX_PER_HEADLINE * metadata.totals.n_headlines


def run_checksum(folder: Path) -> str:
    """The checksum of `metadata.json`, by which files that are added later name their run. Raises `DamagedRunError`."""
    try:
        return seal_of(_bytes(folder, METADATA))
    except DamageError as error:
        raise damaged(folder, METADATA, "", str(error)) from error


def _bytes(folder: Path, name: str) -> bytes:
    try:
        return plain_file(folder, name).read_bytes()
    except OSError as error:
        raise damaged(folder, name, "", f"cannot be read ({reason_of(error)})") from error
