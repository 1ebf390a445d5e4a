"""Writing artefacts so that nothing is ever half-written, and naming them by their content."""

import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sae_pipeline.errors import ResourceError

HASH_LENGTH = 12
_PARTIAL = ".partial-"


def settings_hash(*parts: Any) -> str:
    """12 hex characters over JSON-able settings: the same settings give the same hash."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:HASH_LENGTH]


def file_hash(*paths: Path) -> str:
    """12 hex characters over the contents of files, in the order given."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:HASH_LENGTH]


def publish(folder: Path, target: Path) -> Path:
    """Rename a whole partial folder to its final name; an equal artefact that is already there stays."""
    if target.exists():
        return target
    folder.chmod(0o755)
    folder.rename(target)
    return target


def write_file(path: Path, data: bytes) -> None:
    """Write a file under a temporary name, then rename it. Raises ResourceError on a full or read-only disk."""
    with readable_os_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=_PARTIAL, dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            Path(name).chmod(0o644)
            Path(name).replace(path)
        finally:
            Path(name).unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON atomically."""
    write_file(path, (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode())


def alias(source: Path, target: Path) -> None:
    """Make `target` a hard link to `source` (a copy where links are not to be had), replacing it at once."""
    with readable_os_errors(target.parent):
        if target.exists() and target.samefile(source):
            return  # renaming one link of a file onto another does nothing, and would leave the first
        temporary = target.with_name(_PARTIAL + target.name)
        temporary.unlink(missing_ok=True)
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)
        temporary.replace(target)


@contextmanager
def readable_os_errors(folder: Path) -> Iterator[None]:
    """Turn "disk full" and "read-only" into a ResourceError that names the folder."""
    try:
        yield
    except Exception as error:  # safetensors wraps the system's error and keeps its number in the text
        number = error.errno if isinstance(error, OSError) else None
        wrapped = re.search(r"\(os error (\d+)\)", str(error))
        reason = {
            errno.ENOSPC: "the disk is full; free some space and run the same command again",
            errno.EDQUOT: "the disk quota is used up; free some space and run the same command again",
            errno.EROFS: "the disk is read-only; choose another folder with --root",
            errno.EACCES: "permission is denied; choose another folder with --root",
            errno.EPERM: "permission is denied; choose another folder with --root",
            errno.EFBIG: "the file is larger than this disk allows; choose another folder with --root",
        }.get(number or int(wrapped[1] if wrapped else 0))
        if reason is None:
            raise
        raise ResourceError(f"Cannot write to {folder}: {reason}.") from error
