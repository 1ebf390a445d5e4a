"""A local copy of the files at an address, so that other code reads and writes plain files.

The copy lies in the cache, in a folder named by a hash of the address. It may be deleted when all is sent. A file
appears whole or not at all, on either side.

A file is in step when both sides hold the same content. `.mirror/NAME` records how both looked at that moment: the
stamp of the file at the address (ETag or time of change, and size), and the size and time of change of the copy. A side
that differs from the record has changed since.
"""

import contextlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from sae_pipeline.artefacts.remote_files import (
    ChangedFileError,
    MissingFileError,
    RemoteFile,
    RemoteFolder,
)
from sae_pipeline.artefacts.writing import settings_hash, write_file
from sae_pipeline.errors import ResourceError, UserError

_RECORDS = ".mirror"
_PARTIAL = ".partial-"
_DAY = 86_400.0  # seconds
_TRANSFERS = 8  # at the same time

Progress = Callable[[int, int], None]  # told the bytes done, and the bytes in all


@dataclass(frozen=True)
class _Record:
    """How both sides of a file looked when they were in step."""

    stamp: str  # of the file at the address
    size: int  # of the copy, bytes
    changed: int  # time of change of the copy, ns


_NO_RECORD = _Record("", -1, -1)


class Mirror:
    """The local copy of an address. Names are relative to it, with `/`; hidden files are on neither side.

    The methods raise RemoteError when the address cannot be used, and ResourceError when the copy cannot be written.
    """

    def __init__(self, address: str) -> None:
        self._remote = RemoteFolder(address)
        self.address = self._remote.address
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        self.folder = _cache() / settings_hash(address.rstrip("/"), endpoint)
        self._write(self.folder / ".address", f"{self.address}\n".encode())

    # --- comparing both sides --------------------------------------------------------------------------

    def list_files(self, within: str = "") -> dict[str, RemoteFile]:
        """All files at the address, or below its folder `within`, as they are now."""
        return {name: file for name, file in self._remote.list_files(within).items() if _is_plain(name)}

    def recorded(self) -> set[str]:
        """The names of the files that were in step at some time."""
        records = self.folder / _RECORDS
        found = ((folder, name) for folder, _, names in os.walk(records) for name in names)
        return {Path(folder, name).relative_to(records).as_posix() for folder, name in found}

    def changed(self) -> list[str]:
        """The names of the copies that are new, or have changed since they were in step."""
        found = ((folder, name) for folder, _, names in os.walk(self.folder) for name in names)
        paths = (Path(folder, name).relative_to(self.folder).as_posix() for folder, name in found)
        return sorted(name for name in paths if _is_plain(name) and not self._copy_is_unchanged(name))

    def is_current(self, name: str, file: RemoteFile) -> bool:
        """Whether the copy of `file` exists and is in step."""
        return self._copy_is_unchanged(name) and self._record(name).stamp == file.stamp

    def is_changed_here_only(self, name: str, file: RemoteFile) -> bool:
        """Whether the copy has changed since it was in step, and `file` at the address has not."""
        exists = (self.folder / name).exists()
        return exists and self._record(name).stamp == file.stamp and not self._copy_is_unchanged(name)

    # --- fetching --------------------------------------------------------------------------------------

    def pull(self, files: Mapping[str, RemoteFile], progress: Progress | None = None) -> None:
        """Make the copies of these files current."""
        for error in self.pull_available(files, progress).values():
            raise error

    def pull_available(self, files: Mapping[str, RemoteFile], progress: Progress | None = None) -> dict[str, UserError]:
        """Make the copies of those files current that can be fetched. Returns the errors of the others by name."""
        wanted = {name: file for name, file in files.items() if not self.is_current(name, file)}
        count = _ByteCount(sum(file.size for file in wanted.values()), progress)
        errors: dict[str, UserError] = {}

        def fetch(name: str) -> None:
            try:
                self._fetch(name, wanted[name], count)
            except UserError as error:
                errors[name] = error

        _in_parallel(fetch, wanted)
        return errors

    def refresh(self, name: str) -> RemoteFile | None:
        """Make the copy of one file current, or remove it if the address does not have the file. Returns what it has.

        The copy may be newer than that, because another may write meanwhile.
        """
        try:
            file = self._remote.info(name)
            self.pull({name: file})
        except MissingFileError:
            _remove(self.folder, name)
            _remove(self.folder / _RECORDS, name)
            return None
        return file

    def forget(self, names: Iterable[str]) -> None:
        """Remove the copies of files that the address no longer has, but keep those that have changed here."""
        for name in names:
            if self._copy_is_unchanged(name):
                _remove(self.folder, name)
            _remove(self.folder / _RECORDS, name)

    def _fetch(self, name: str, file: RemoteFile, count: "_ByteCount") -> None:
        path = self.folder / name
        with self._disk_errors():
            path.parent.mkdir(parents=True, exist_ok=True)
            _remove_old_partials(path.parent)
            handle, partial_name = tempfile.mkstemp(prefix=_PARTIAL, dir=path.parent)
            os.close(handle)
        partial = Path(partial_name)
        try:
            with self._disk_errors():
                self._remote.download(name, partial, count.add)
            if partial.stat().st_size != file.size:
                raise ChangedFileError(f"{self.address}/{name} has changed while it was read; try again.")
            with self._disk_errors():
                partial.chmod(0o644)
                partial.replace(path)
                self._keep_record(name, file.stamp, path.stat())
        finally:
            partial.unlink(missing_ok=True)

    # --- sending ---------------------------------------------------------------------------------------

    def push(self, names: Iterable[str], progress: Progress | None = None) -> None:
        """Send copies to the address, whatever it has."""
        names = list(names)
        count = _ByteCount(sum((self.folder / name).stat().st_size for name in names), progress)

        def send(name: str) -> None:
            path = self.folder / name
            status = path.stat()  # before it is sent, as the copy may be replaced meanwhile
            with self._disk_errors():
                self._remote.upload(path, name, count.add)
            self._keep_record(name, self._remote.info(name).stamp, status)

        _in_parallel(send, names)

    def replace(self, name: str, data: bytes, seen: RemoteFile | None) -> None:
        """Write a file at the address, then its copy; `seen` is what `refresh` returned.

        The next `pull` compares both, as another may write meanwhile. Raises ChangedFileError if one has by now.
        """
        self._remote.replace(name, data, seen)
        self._write(self.folder / name, data)
        self._keep_record(name, "", (self.folder / name).stat())

    # --- records and disk errors -----------------------------------------------------------------------

    def _keep_record(self, name: str, stamp: str, status: os.stat_result) -> None:
        record = [stamp, status.st_size, status.st_mtime_ns]
        self._write(self.folder / _RECORDS / name, json.dumps(record).encode())

    def _record(self, name: str) -> _Record:
        try:
            return _Record(*json.loads((self.folder / _RECORDS / name).read_bytes()))
        except (OSError, ValueError, TypeError):
            return _NO_RECORD

    def _copy_is_unchanged(self, name: str) -> bool:
        """Whether the copy exists as it was when it was in step."""
        try:
            status = (self.folder / name).stat()
        except OSError:
            return False
        record = self._record(name)
        return (record.size, record.changed) == (status.st_size, status.st_mtime_ns)

    def _write(self, path: Path, data: bytes) -> None:
        with self._disk_errors():
            write_file(path, data)

    @contextmanager
    def _disk_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ResourceError(
                f"The copy of {self.address} in {self.folder} cannot be written ({error.strerror or error}); free some "
                "space or name another folder in SAE_CACHE, and run the same command again."
            ) from error


class _ByteCount:
    """The bytes of several transfers at the same time, reported together."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self._done, self._total, self._progress, self._lock = 0, max(total, 1), progress, Lock()

    def add(self, n_bytes: int) -> None:
        if self._progress:
            with self._lock:
                self._done = min(self._done + n_bytes, self._total)
                self._progress(self._done, self._total)


def _in_parallel(work: Callable[[str], None], names: Iterable[str]) -> None:
    with ThreadPoolExecutor(_TRANSFERS) as pool:
        try:
            for job in [pool.submit(work, name) for name in names]:
                job.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("SAE_CACHE") or Path(home) / "finbert-sae-explorer").absolute()


def _is_plain(name: str) -> bool:
    """Whether a name leads to a file below the folder on any disk; an object store's keys may be anything."""
    parts = name.split("/")
    return all(part and part[0] != "." and len(part.encode()) < 200 and not set(part) & set("\\\0") for part in parts)


def _remove_old_partials(folder: Path) -> None:
    """Remove the partial files of processes that were killed."""
    for path in folder.glob(f"{_PARTIAL}*"):
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_mtime < time.time() - _DAY:
                path.unlink()


def _remove(folder: Path, name: str) -> None:
    """Remove a file, and the folders that become empty."""
    path = folder / name
    path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        while (path := path.parent) != folder:
            path.rmdir()
