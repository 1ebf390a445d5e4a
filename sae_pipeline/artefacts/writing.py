"""Writing artefacts whole or not at all, and naming them by their content."""

import errno
import hashlib
import itertools
import json
import os
import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from tqdm.auto import tqdm

from sae_pipeline.artefacts.locks import locked, locked_descriptor, locked_folder
from sae_pipeline.errors import DamageError, ResourceError, UnreadableError, UserError

HASH_LENGTH = 12
RENAMES_OPEN_FILES = os.name == "posix"
"""Whether a file can be renamed by the one who writes it; on Windows a lock file beside it keeps others out."""

_PARTIAL = ".partial-"


def settings_hash(*parts: Any) -> str:
    """A hash of JSON-able settings, 12 hex characters. Equal settings have equal hashes."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:HASH_LENGTH]


def publish(folder: Path, target: Path, check: Callable[[Path], object]) -> Path:
    """Rename a partial folder, now whole, to its final name.

    An equal artefact that exists already is kept. One that `check` refuses with a DamageError is set aside.
    """
    if target.exists():
        try:
            check(target)
            return target
        except UnreadableError as error:
            raise ResourceError(f"{target}: {error}; run the same command again when it can be read.") from error
        except DamageError as error:
            set_aside(target, str(error))
    with readable_os_errors(target.parent):
        folder.chmod(0o755)
        target.parent.mkdir(parents=True, exist_ok=True)
        folder.rename(target)
    return target


def set_aside(path: Path, problem: str) -> None:
    """Move a damaged file or folder out of the way of the one that is made again; say so in one line."""
    aside = move_aside(path)
    tqdm.write(f"{path} {problem}; it is made again, and the damaged one is kept as {aside.name}.")


def move_aside(path: Path) -> Path:
    """Give a file or folder a hidden name beside its own, so that nothing of it is lost. Returns its new path."""
    with readable_os_errors(path.parent):
        names = (path.with_name(f".damaged-{path.name}-{n}") for n in itertools.count(1))
        aside = next(name for name in names if not name.exists())
        return path.rename(aside)


def put(temporary: Path, path: Path) -> None:
    """Rename a finished file to its own name. A folder that is in its place is set aside."""
    if path.is_dir() and not path.is_symlink():
        set_aside(path, "is a folder")
    temporary.replace(path)


@contextmanager
def new_folder(folder: Path, flag: str) -> Iterator[Path]:
    """Name a folder to make and fill in the block, which then takes the place of `folder`.

    Those who write one folder take turns. Raises UserError where none can be written; `flag` chooses another.
    """
    partial = folder.with_name(_PARTIAL + folder.name)
    make_folder(folder.parent, flag)
    with readable_os_errors(folder.parent, flag), locked_folder(folder.parent):
        shutil.rmtree(partial, ignore_errors=True)
        try:
            yield partial
            _put_folder(partial, folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _put_folder(temporary: Path, folder: Path) -> None:
    """Rename a finished folder to its own name, in place of the one before, which is removed last."""
    before = folder.with_name(f".before-{folder.name}")
    shutil.rmtree(before, ignore_errors=True)  # a killed command may have left it
    if folder.exists():
        folder.rename(before)
    try:
        temporary.rename(folder)
    except OSError:
        if before.exists():
            before.rename(folder)
        raise
    shutil.rmtree(before, ignore_errors=True)


def write_file(path: Path, data: bytes, flag: str = "--root") -> None:
    """Write a file under a temporary name, then rename it. Raises ResourceError on a full or read-only disk.

    The temporary name belongs to `path`, so a writer that was killed leaves nothing behind once the file is written
    again. Writers of one path take turns. `flag` is what chooses another folder.
    """
    with readable_os_errors(path.parent, flag):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(_PARTIAL + path.name)
        if not RENAMES_OPEN_FILES:
            with locked(temporary.with_name(f"{temporary.name}.lock")), _removed_on_error(temporary):
                temporary.write_bytes(data)
                put(temporary, path)
            return
        with _opened_alone(temporary) as file, _removed_on_error(temporary):
            file.write(data)
            file.truncate()  # a killed writer may have left more
            file.flush()
            temporary.chmod(0o644)
            put(temporary, path)


@contextmanager
def _removed_on_error(path: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        path.unlink(missing_ok=True)
        raise


@contextmanager
def _opened_alone(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing from its start, and keep other writers of the same file out until it is closed."""
    while True:
        with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b") as file, locked_descriptor(file.fileno()):
            if _is_at(path, file.fileno()):  # else the writer before has renamed it meanwhile
                yield file
                return


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def write_json(path: Path, value: Any, flag: str = "--root") -> None:
    """Write a file of indented JSON, like `write_file`."""
    write_file(path, (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode(), flag)


def alias(source: Path, target: Path) -> None:
    """Make `target` a hard link to `source`, or a copy on a disk without links, and replace it atomically."""
    with readable_os_errors(target.parent), locked_folder(target.parent):  # the temporary name is that of all writers
        if target.exists() and target.samefile(source):
            return  # renaming one link of a file to another does nothing, and would leave the temporary one
        temporary = target.with_name(_PARTIAL + target.name)
        temporary.unlink(missing_ok=True)
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)
        put(temporary, target)


_NUMBER = re.compile(r"(?:\(os error |\[errno )(\d+)[)\]]", re.IGNORECASE)
_SHORT_WRITE = re.compile(r"^\d+ requested and \d+ written$")
_FREE = "free some space and run the same command again"
_PROBLEMS = {
    errno.ENOSPC: f"the disk is full; {_FREE}",
    errno.EDQUOT: f"the disk quota is used up; {_FREE}",
    errno.EROFS: "the disk is read-only; choose another folder with {flag}",
    errno.EACCES: "permission is denied; choose another folder with {flag}",
    errno.EPERM: "permission is denied; choose another folder with {flag}",
    errno.EFBIG: "the file is larger than this disk allows; choose another folder with {flag}",
}


def make_folder(folder: Path, flag: str) -> None:
    """Make a folder that the user named with `flag`. Raises UserError where none can be."""
    try:
        with readable_os_errors(folder, flag):
            folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise UserError(f"{folder} is not a folder; choose another one with {flag}.") from error
    except FileNotFoundError as error:
        raise UserError(f"No folder can be made at {folder}; choose another one with {flag}.") from error


@contextmanager
def readable_os_errors(folder: Path, flag: str = "--root") -> Iterator[None]:
    """Turn "disk full", "read-only" and the like into a ResourceError that names the folder.

    `flag` is what chooses another folder.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        problem = disk_problem(error, flag)
        if problem is None:
            raise
        raise ResourceError(f"Cannot write to {folder}: {problem}.") from error


def disk_problem(error: BaseException, flag: str = "--root") -> str | None:
    """What is wrong with the disk and what to do, where that is behind an exception of any library; else None."""
    problem = _PROBLEMS.get(_system_number(error))
    return problem and problem.format(flag=flag)


def _system_number(error: BaseException | None) -> int:
    """The number of the system's error behind an exception; 0 where there is none.

    Libraries wrap it. Those written in Rust (safetensors, tokenizers) and `shutil.copytree` keep the number in their
    message alone, SQLite has numbers of its own, and numpy says only how many items it could not write.
    """
    while error is not None:
        if isinstance(error, OSError) and error.errno is not None:
            return error.errno
        if wrapped := _NUMBER.search(str(error)):
            return int(wrapped[1])
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL or _SHORT_WRITE.search(str(error)):
            return errno.ENOSPC
        error = error.__cause__
    return 0
