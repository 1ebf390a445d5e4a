"""Checksums: whether a file is still the one that was written.

Every artefact has a record, a JSON file that is written last. It names the size and the SHA-256 of the artefact's other
files under `files`, and begins with its own checksum: the SHA-256 of all bytes after `{"checksum":"…",`. So a change of
any byte is found when the file is first read. A JSON file that is added to an artefact later is sealed in the same way
and says by hashes what it belongs to.

A checksum finds damage and mix-ups. It does not stop a person who recomputes it.
"""

import hashlib
import re
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ValidationError

from sae_pipeline.artefacts.writing import HASH_LENGTH, write_file
from sae_pipeline.errors import DamageError, ResourceError, UnreadableError, reason_of
from sae_pipeline.schema.common import FileSum

_SEAL = re.compile(rb'\{"checksum":"([0-9a-f]{64})",')
_SEAL_BYTES = len('{"checksum":"",') + 64
CHANGED = "has changed since it was written: its checksum does not fit"
SETTLED_NS = 1_000_000_000  # after which a further change of a file is sure to get another time of change

MAX_RECORD_BYTES = 1 << 26
Model = TypeVar("Model", bound=BaseModel)
Stamp = tuple[int, int, int, int]  # size, time of change of the content and of the inode in ns, inode


class MissingError(DamageError):
    """A file is not there."""


class UnsealedError(DamageError):
    """JSON does not begin with a checksum."""


# --- sealed JSON ---------------------------------------------------------------------------------------


def seal(data: bytes) -> bytes:
    """JSON of an object that is not empty, with the checksum of the bytes that follow it as its first field."""
    rest = data[1:]
    return b'{"checksum":"' + hashlib.sha256(rest).hexdigest().encode() + b'",' + rest


def unseal(data: bytes) -> bytes:
    """The JSON that was sealed. Raises DamageError."""
    if hashlib.sha256(data[_SEAL_BYTES:]).hexdigest() != seal_of(data):
        raise DamageError(CHANGED)
    return without_seal(data)


def without_seal(data: bytes) -> bytes:
    """The JSON without the checksum that it may begin with, which is not compared."""
    return b"{" + data[_SEAL_BYTES:] if _SEAL.match(data) else data


def seal_of(data: bytes) -> str:
    """The checksum with which sealed JSON begins, as it stands there. Raises DamageError."""
    found = _SEAL.match(data)
    if found is None:
        raise UnsealedError("has no checksum, so it is damaged or from an earlier version")
    return found[1].decode()


def write_sealed(path: Path, data: bytes) -> None:
    """Seal the JSON of an object and write it whole or not at all. Raises ResourceError, like `write_file`."""
    write_file(path, seal(data))


def read_sealed(path: Path, limit: int) -> bytes:
    """The JSON that `write_sealed` wrote, of at most `limit` bytes. Raises DamageError."""
    if _size(path) > limit:
        raise DamageError(_too_large(limit))
    try:
        return unseal(path.read_bytes())
    except OSError as error:
        raise _unreadable(error) from error


def check_sealed(path: Path, limit: int | None = None) -> None:
    """Compare a sealed file with its checksum, in bounded memory. Raises DamageError, unread where it is too large."""
    size = _size(path)
    if limit is not None and size > limit:
        raise DamageError(_too_large(limit))
    try:
        with path.open("rb") as file:
            known = seal_of(file.read(_SEAL_BYTES))
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(error) from error
    if found != known:
        raise DamageError(CHANGED)


def write_record(path: Path, record: BaseModel) -> None:
    """Write a record, sealed and indented. Raises ResourceError, like `write_file`."""
    write_sealed(path, orjson.dumps(record.model_dump(mode="json"), option=orjson.OPT_INDENT_2) + b"\n")


def read_record(path: Path, model: type[Model]) -> Model:
    """Read a record that `write_record` wrote. Raises DamageError."""
    try:
        return model.model_validate_json(read_sealed(path, MAX_RECORD_BYTES))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise DamageError(f"is of another version ({field}: {first['msg']})") from error


def named_record(folder: Path, name: str, model: type[Model]) -> Model:
    """Read a record of an artefact's folder. Raises a DamageError that names the file."""
    try:
        return read_record(folder / name, model)
    except DamageError as error:
        raise type(error)(f"{name} {error}") from error


def fields_of(path: Path) -> dict[str, Any]:
    """The fields of a JSON object, not compared with its checksum; none where it cannot be read."""
    try:
        value = orjson.loads(path.read_bytes()) if path.stat().st_size <= MAX_RECORD_BYTES else None
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


# --- files beside a record -----------------------------------------------------------------------------


def file_sums(folder: Path, names: Iterable[str]) -> dict[str, FileSum]:
    """The sizes and checksums of files in a folder, for its record. Raises DamageError where one cannot be read."""
    return {name: FileSum(size=_size(folder / name), sha256=sha256(folder / name)) for name in sorted(names)}


def check_files(folder: Path, files: Mapping[str, FileSum]) -> None:
    """Compare all files with what their record says of them. Raises the DamageError of the first, with its name."""
    for name in sorted(files):
        try:
            check_file(folder / name, files[name])
        except DamageError as error:
            raise type(error)(f"{name} {error}") from error


@contextmanager
def passing_over_damage(folder: Path) -> Iterator[None]:
    """Leave the block quietly where an artefact is missing or damaged, because it is made again.

    Raises ResourceError where a file cannot be read now, as it may be whole.
    """
    try:
        yield
    except UnreadableError as error:
        raise ResourceError(f"{folder}: {error}; run the same command again when it can be read.") from error
    except DamageError:
        pass


def check_file(path: Path, known: FileSum) -> None:
    """Compare a file with what its record says of it. Raises DamageError."""
    check_size(path, known)
    if sha256(path) != known.sha256:
        raise DamageError(CHANGED)


def check_bytes(data: bytes, known: FileSum) -> None:
    """Compare the content of a file, which was read whole, with what its record says of it. Raises DamageError."""
    if hashlib.sha256(data).hexdigest() != known.sha256:
        raise DamageError(CHANGED)


def check_size(path: Path, known: FileSum) -> None:
    """Compare the size alone, without reading the file. Raises DamageError."""
    size = _size(path)
    if size != known.size:
        raise DamageError(f"has {size:,} of {known.size:,} bytes")


def sha256(path: Path) -> str:
    """The SHA-256 of a plain file, 64 hex characters. A file is read again only after a change. Raises DamageError."""
    try:
        before = stamp(path)
        key = str(path.absolute())
        if _known.get(key, (None,))[0] == before:
            return _known[key][1]
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError as error:
        raise MissingError("is missing") from error
    except OSError as error:
        raise _unreadable(error) from error
    if time.time_ns() - before[2] > SETTLED_NS:
        _known[key] = before, found
    return found


_known: dict[str, tuple[Stamp, str]] = {}  # what this process has read, by path


def file_hash(*paths: Path) -> str:
    """A hash of the contents of files in the order given, 12 hex characters. Raises DamageError."""
    return _short(sha256(path) for path in paths)


def content_hash(known: FileSum) -> str:
    """The `file_hash` of the file that a record describes."""
    return _short([known.sha256])


def _short(sums: Iterable[str]) -> str:
    return hashlib.sha256(b"".join(map(bytes.fromhex, sums))).hexdigest()[:HASH_LENGTH]


def stamp(path: Path) -> Stamp:
    """What changes when a file does. Raises OSError."""
    status = path.lstat()
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def _too_large(limit: int) -> str:
    return f"is larger than {limit >> 20} MiB"


def _unreadable(error: OSError) -> UnreadableError:
    return UnreadableError(f"cannot be read ({reason_of(error)})")


def _size(path: Path) -> int:
    """The size of a plain file. A link is none, so nothing outside the folder is read. Raises DamageError."""
    try:
        status = path.lstat()
    except FileNotFoundError as error:
        raise MissingError("is missing") from error
    except OSError as error:
        raise _unreadable(error) from error
    if not stat.S_ISREG(status.st_mode):
        raise DamageError("is not a plain file")
    return status.st_size
