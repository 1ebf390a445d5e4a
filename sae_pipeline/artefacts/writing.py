"""Writing artefacts whole or not at all, and naming them by their content."""

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
    """A hash of JSON-able settings, 12 hex characters. Equal settings have equal hashes."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:HASH_LENGTH]


def file_hash(*paths: Path) -> str:
    """A hash of the contents of files in the order given, 12 hex characters."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:HASH_LENGTH]


def publish(folder: Path, target: Path) -> Path:
    """Rename a partial folder, now whole, to its final name. An equal artefact that exists already is kept."""
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
    """Write a file of indented JSON, like `write_file`."""
    write_file(path, (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode())


def alias(source: Path, target: Path) -> None:
    """Make `target` a hard link to `source`, or a copy on a disk without links, and replace it atomically."""
    with readable_os_errors(target.parent):
        if target.exists() and target.samefile(source):
            return  # renaming one link of a file to another does nothing, and would leave the temporary one
        temporary = target.with_name(_PARTIAL + target.name)
        temporary.unlink(missing_ok=True)
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)
        temporary.replace(target)


@contextmanager
def readable_os_errors(folder: Path) -> Iterator[None]:
    """Turn "disk full", "read-only" and the like into a ResourceError that names the folder."""
    try:
        yield
    except Exception as error:  # safetensors wraps the system's error and keeps only its number, in the message
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
