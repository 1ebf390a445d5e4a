"""Makes files behave in this process as they do on Windows, as far as Linux can pretend to.

A file that is open or mapped cannot be renamed, replaced or deleted, and neither can a folder with such a file in it. A
folder cannot be opened. Only a file that is open for writing can be flushed. `select.poll` is missing.

    python -m tests.support.windows VERB …    # `sae-explorer VERB …` under these rules
"""

import errno
import fcntl
import os
import select
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def pretend() -> None:
    """Change `os` for the rest of the process, before the package is imported."""
    real_open, real_fsync = os.open, os.fsync

    def open_file(path: Any, flags: int, *rest: Any, **options: Any) -> int:
        if isinstance(path, str | os.PathLike) and Path(path).is_dir():
            raise PermissionError(errno.EACCES, "a folder cannot be opened", str(path))
        return real_open(path, flags, *rest, **options)

    def fsync(descriptor: int) -> None:
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, "not open for writing")
        real_fsync(descriptor)

    os.open, os.fsync = open_file, fsync  # type: ignore[assignment]
    for name in ("rename", "replace", "unlink", "remove", "rmdir"):
        setattr(os, name, _refusing(getattr(os, name)))
    del os.O_DIRECTORY, select.poll
    shutil._use_fd_functions = False  # type: ignore[attr-defined]

    from sae_pipeline.artefacts import writing

    writing.RENAMES_OPEN_FILES = False


def _refusing(change: Callable[..., None]) -> Callable[..., None]:
    """`change`, but for paths that are open in this process, or below which something is."""

    def refuse(*paths: Any, **options: Any) -> None:
        opened = _open_files()
        for path in map(os.path.realpath, paths):
            if busy := [name for name in opened if name == path or name.startswith(path + os.sep)]:
                raise PermissionError(errno.EACCES, "used by a program", busy[0])
        change(*paths, **options)

    return refuse


def _open_files() -> set[str]:
    """The paths of all files that this process has open or mapped."""
    found = {line.split(maxsplit=5)[-1].strip() for line in Path("/proc/self/maps").read_text().splitlines()}
    for link in Path("/proc/self/fd").iterdir():
        try:
            found.add(str(link.readlink()))
        except OSError:
            continue  # closed meanwhile
    return found


if __name__ == "__main__":
    pretend()
    from sae_explorer.__main__ import main

    sys.exit(main(sys.argv[1:]))
