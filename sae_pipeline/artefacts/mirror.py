"""A local copy of what is at an address (`s3://…`, `gs://…`, all that fsspec knows), so that other code reads files.

The copy lies in the cache, in a folder named by a hash of the address; it may be deleted when all is sent. `.mirror/`
holds, for every file that once was the same on both sides, what the address said of it then (ETag or time of change,
size) and the local size and time: whichever differs now has changed since. A file appears whole or not at all, on
either side; object stores show an upload when it is complete.
"""

import contextlib
import errno
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
from typing import Any

from sae_pipeline.artefacts.writing import settings_hash, write_file
from sae_pipeline.errors import ResourceError, UserError

_SEEN = ".mirror"
_PARTIAL = ".partial-"
_DAY = 86_400.0  # seconds
_AT_ONCE = 8  # transfers
_LOCAL = ("file", "local")
_NO_STORES = ("http", "https", "data")  # cannot be listed or written
_PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs"}
_CREDENTIALS = {
    "s3fs": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
    "gcsfs": "set GOOGLE_APPLICATION_CREDENTIALS",
}
_STAMPS = ("ETag", "etag", "md5Hash", "mtime", "LastModified", "last_modified", "updated", "created")
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)  # an address has no such errors: it is the copy's disk

Progress = Callable[[int, int], None]  # bytes done, of


class RemoteError(UserError):
    """The address cannot be read or written as it should."""


class NotThereError(RemoteError):
    """There is no such file or bucket."""


@dataclass(frozen=True)
class RemoteFile:
    """A file at an address: `stamp` changes with its content; `size` in bytes."""

    stamp: str
    size: int


def is_remote(address: str) -> bool:
    """Whether it names something that is not on this machine's disks."""
    scheme, found, _ = address.partition("://")
    return bool(found) and scheme not in _LOCAL


def local_path(address: str) -> Path:
    """The folder that a path or `file://` address names."""
    scheme, found, path = address.partition("://")
    return Path(path if found and scheme in _LOCAL else address)


class Mirror:
    """The local copy of an address. Names are relative to it, with `/`; hidden ones exist on neither side.

    All methods raise RemoteError for what is wrong with the address, ResourceError for a copy that cannot be written.
    """

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        self._package = _PACKAGES.get(self.address.partition("://")[0], "")
        self._files, self._path = self._filesystem()
        self.folder = _cache() / settings_hash(
            self.address, os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        )
        self._write(self.folder / ".address", f"{self.address}\n".encode())

    # --- looking ---------------------------------------------------------------------------------------

    def look(self, within: str = "") -> dict[str, RemoteFile]:
        """All files at the address, or below the folder `within`, as they are now."""
        with self._explained():
            self._files.invalidate_cache()
            found = self._files.find(f"{self._path}/{within}".rstrip("/"), detail=True)
        start = f"{self._path}/"
        names = {key.removeprefix(start): info for key, info in found.items() if key.startswith(start)}
        return {name: _remote_file(info) for name, info in names.items() if _is_plain(name) and info["type"] == "file"}

    def changed(self) -> list[str]:
        """Local files that the address does not have, or not like this."""
        found = [
            Path(folder, name).relative_to(self.folder).as_posix()
            for folder, _, names in os.walk(self.folder)
            for name in names
        ]
        return sorted(name for name in found if _is_plain(name) and not self._is_as_seen(name))

    def is_current(self, name: str, file: RemoteFile) -> bool:
        """Whether the copy of a file is there and the same."""
        return self._is_as_seen(name) and self._seen(name)[0] == file.stamp

    def is_changed_here_only(self, name: str, file: RemoteFile) -> bool:
        """Whether a file waits for its upload, and nobody else has replaced it meanwhile."""
        here = (self.folder / name).exists()
        return here and self._seen(name)[0] == file.stamp and not self._is_as_seen(name)

    # --- fetching --------------------------------------------------------------------------------------

    def pull(self, files: Mapping[str, RemoteFile], progress: Progress | None = None) -> None:
        """Make the copies of these files current; `progress` is told of bytes."""
        for error in self.pull_what_comes(files, progress).values():
            raise error

    def pull_what_comes(
        self, files: Mapping[str, RemoteFile], progress: Progress | None = None
    ) -> dict[str, UserError]:
        """The same for what can be fetched; why the others cannot."""
        wanted = {name: file for name, file in files.items() if not self.is_current(name, file)}
        told = _Told(sum(file.size for file in wanted.values()), progress)
        failed: dict[str, UserError] = {}

        def fetch(name: str) -> None:
            try:
                self._fetch(name, wanted[name], told)
            except UserError as error:
                failed[name] = error

        _in_parallel(fetch, wanted)
        return failed

    def known(self) -> set[str]:
        """What was the same on both sides once."""
        seen = self.folder / _SEEN
        return {Path(folder, name).relative_to(seen).as_posix() for folder, _, names in os.walk(seen) for name in names}

    def forget(self, names: Iterable[str]) -> None:
        """Remove the copies of files that the address no longer has; what has changed here since stays."""
        for name in names:
            if self._is_as_seen(name):
                _remove(self.folder, name)
            _remove(self.folder / _SEEN, name)

    def _fetch(self, name: str, file: RemoteFile, told: "_Told") -> None:
        path = self.folder / name
        with self._in_the_copy():
            path.parent.mkdir(parents=True, exist_ok=True)
            _sweep(path.parent)
            handle, temporary = tempfile.mkstemp(prefix=_PARTIAL, dir=path.parent)
            os.close(handle)
        try:
            with self._explained(name):
                self._files.get_file(f"{self._path}/{name}", temporary, callback=told.callback())
            if Path(temporary).stat().st_size != file.size:
                raise RemoteError(f"{self.address}/{name} has changed while it was read; try again.")
            with self._in_the_copy():
                Path(temporary).chmod(0o644)
                Path(temporary).replace(path)
                self._see(name, file.stamp, path.stat())
        finally:
            Path(temporary).unlink(missing_ok=True)

    # --- sending ---------------------------------------------------------------------------------------

    def push(self, names: Iterable[str], progress: Progress | None = None) -> None:
        """Send local files to the address, whatever is there."""
        names = list(names)
        told = _Told(sum((self.folder / name).stat().st_size for name in names), progress)

        def send(name: str) -> None:
            status = (self.folder / name).stat()  # of what is sent: it may be replaced meanwhile
            with self._explained(name):
                self._files.put_file(str(self.folder / name), f"{self._path}/{name}", callback=told.callback())
            self._see(name, self._now(name).stamp, status)

        _in_parallel(send, names)

    def write(self, name: str, data: bytes) -> None:
        """Write a file at the address, and then its copy, which the next `pull` compares with what is there by then."""
        with self._explained(name):
            self._files.pipe_file(f"{self._path}/{name}", data)
        self._write(self.folder / name, data)
        self._see(name, "", (self.folder / name).stat())

    def refresh(self, name: str) -> None:
        """Make the copy of one file current, or remove it where the address has none."""
        try:
            self.pull({name: self._now(name)})
        except NotThereError:
            _remove(self.folder, name)
            _remove(self.folder / _SEEN, name)

    def _now(self, name: str) -> RemoteFile:
        with self._explained(name):
            self._files.invalidate_cache()
            return _remote_file(self._files.info(f"{self._path}/{name}"))

    # --- what was seen ---------------------------------------------------------------------------------

    def _see(self, name: str, stamp: str, status: os.stat_result) -> None:
        seen = [stamp, status.st_size, status.st_mtime_ns]
        self._write(self.folder / _SEEN / name, json.dumps(seen).encode())

    def _seen(self, name: str) -> tuple[str, int, int]:
        try:
            stamp, size, changed = json.loads((self.folder / _SEEN / name).read_bytes())
        except (OSError, ValueError, TypeError):
            return ("", -1, -1)
        return (stamp, size, changed)

    def _is_as_seen(self, name: str) -> bool:
        try:
            status = (self.folder / name).stat()
        except OSError:
            return False
        return self._seen(name)[1:] == (status.st_size, status.st_mtime_ns)

    # --- errors ----------------------------------------------------------------------------------------

    def _filesystem(self) -> tuple[Any, str]:
        from fsspec.core import url_to_fs

        scheme, _, place = self.address.partition("://")
        if not place.strip("/") or scheme in _NO_STORES:
            raise UserError(f"{self.address} is no place to keep files; name a folder, s3://bucket/… or gs://bucket/….")
        try:
            files, path = url_to_fs(self.address, skip_instance_cache=True)
        except ImportError as error:
            cure = f"pip install {self._package}" if self._package else str(error)
            raise UserError(f"{scheme}:// needs {self._package or 'another package'}: {cure}.") from error
        except ValueError as error:
            raise UserError(f"{self.address} is no address that can be used ({error}).") from error
        return files, path.rstrip("/")

    def _write(self, path: Path, data: bytes) -> None:
        with self._in_the_copy():
            write_file(path, data)

    @contextmanager
    def _in_the_copy(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._no_room(error) from error

    def _no_room(self, error: OSError) -> ResourceError:
        return ResourceError(
            f"The copy of {self.address} in {self.folder} cannot be written ({error.strerror or error}); free some "
            "space or name another folder in SAE_CACHE, and run the same command again."
        )

    @contextmanager
    def _explained(self, name: str = "") -> Iterator[None]:
        try:
            yield
        except Exception as error:  # each kind of address has exceptions of its own
            raise self._reason(error, name) from error

    def _reason(self, error: Exception, name: str) -> UserError:
        place = f"{self.address}/{name}".rstrip("/")
        if isinstance(error, OSError) and error.errno in _DISK:
            return self._no_room(error)
        text = " ".join(str(error).split()).rstrip(".")[:200] or type(error).__name__
        if isinstance(error, FileNotFoundError):
            return NotThereError(f"{place} is not there ({text}); check the address.")
        if "Credentials" in type(error).__name__:
            cure = _CREDENTIALS.get(self._package, "see the documentation of fsspec")
            return RemoteError(f"There are no credentials for {self.address} ({text}); {cure}.")
        if isinstance(error, PermissionError):
            return RemoteError(f"{place} may not be used ({text}); check the credentials and the bucket's policy.")
        return RemoteError(f"{place} cannot be reached ({text}); try again when it can.")


class _Told:
    """Counts bytes of transfers at once."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self._done, self._total, self._progress, self._lock = 0, max(total, 1), progress, Lock()

    def add(self, n_bytes: int) -> None:
        if self._progress:
            with self._lock:
                self._done = min(self._done + n_bytes, self._total)
                self._progress(self._done, self._total)

    def callback(self) -> Any:
        """What fsspec tells of one transfer."""
        from fsspec.callbacks import Callback

        told = self

        class Bytes(Callback):  # type: ignore[misc]
            def relative_update(self, inc: int = 1) -> None:
                told.add(inc)

        return Bytes()


def _in_parallel(work: Callable[[str], None], names: Iterable[str]) -> None:
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        try:
            for job in [pool.submit(work, name) for name in names]:
                job.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("SAE_CACHE") or Path(home) / "finbert-sae-explorer").absolute()


def _remote_file(info: Mapping[str, Any]) -> RemoteFile:
    size = int(info["size"] or 0)
    stamp = next((str(info[key]) for key in _STAMPS if info.get(key)), "")
    return RemoteFile(f"{stamp} {size}", size)


def _is_plain(name: str) -> bool:
    """Whether a name leads to a file below the folder on any disk: keys of an object store may be anything."""
    parts = name.split("/")
    return all(part and part[0] != "." and len(part.encode()) < 200 and not set(part) & set("\\\0") for part in parts)


def _sweep(folder: Path) -> None:
    """Remove what fetches left that were killed."""
    for path in folder.glob(f"{_PARTIAL}*"):
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_mtime < time.time() - _DAY:
                path.unlink()


def _remove(folder: Path, name: str) -> None:
    """Remove a file, and the folders that it leaves empty."""
    path = folder / name
    path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        while (path := path.parent) != folder:
            path.rmdir()
