"""The files at an address (`s3://…`, `gs://…`, and all others that fsspec reads and writes).

Each kind of address has exceptions of its own. They all become a `RemoteError`, which says in one sentence what is
wrong and what to do.
"""

import errno
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sae_pipeline.errors import UserError

_LOCAL = ("file", "local")
_CANNOT_BE_WRITTEN = ("http", "https", "data")  # nor listed
_PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs"}
_CREDENTIALS = {
    "s3fs": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
    "gcsfs": "set GOOGLE_APPLICATION_CREDENTIALS",
}
_STAMPS = ("ETag", "etag", "md5Hash", "mtime", "LastModified", "last_modified", "updated", "created")
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)  # of a local disk; an address has none of these

OnBytes = Callable[[int], None]  # told the number of bytes of each piece that is transferred


class RemoteError(UserError):
    """The address cannot be read or written."""


class MissingFileError(RemoteError):
    """The address has no such file or bucket."""


class ChangedFileError(RemoteError):
    """Another has written the file since it was seen."""


@dataclass(frozen=True)
class RemoteFile:
    """A file at an address: `stamp` changes with its content; `size` in bytes."""

    stamp: str
    size: int
    etag: str = ""  # by which S3 replaces a file only if it is still this one


def is_remote(address: str) -> bool:
    """Whether an address names something outside this machine's disks."""
    scheme, separator, _ = address.partition("://")
    return bool(separator) and scheme not in _LOCAL


def local_path(address: str) -> Path:
    """The folder that a path or a `file://` address names."""
    scheme, separator, path = address.partition("://")
    return Path(path if separator and scheme in _LOCAL else address)


def without_secrets(address: str) -> str:
    """An address without a password and without the part after `?`, which may hold a token."""
    return re.sub(r"(://[^/:@]*):[^/@]*@", r"\1@", address.partition("?")[0])


class RemoteFolder:
    """The files below an address, which is shown without secrets. Names are relative to it, with `/`.

    The methods raise RemoteError, and pass on an OSError of the local disk.
    """

    def __init__(self, address: str) -> None:
        """Raises UserError if no files can be kept at the address, or if a package is missing."""
        from fsspec.core import url_to_fs  # most commands need no address

        self.address = without_secrets(address).rstrip("/")
        scheme, _, place = self.address.partition("://")
        self._package = _PACKAGES.get(scheme, "")
        if not place.strip("/") or scheme in _CANNOT_BE_WRITTEN:
            raise UserError(f"{self.address} is no place to keep files; name a folder, s3://bucket/… or gs://bucket/….")
        try:
            self._files, path = url_to_fs(address.rstrip("/"), skip_instance_cache=True)
        except ImportError as error:
            cure = f"pip install {self._package}" if self._package else str(error)
            raise UserError(f"{scheme}:// needs {self._package or 'another package'}: {cure}.") from error
        except ValueError as error:
            raise UserError(f"{self.address} is no address that can be used ({error}).") from error
        self._path = path.rstrip("/")

    def list_files(self, within: str = "") -> dict[str, RemoteFile]:
        """All files at the address, or below its folder `within`, as they are now."""
        with self._errors_as_sentences():
            self._files.invalidate_cache()
            found = self._files.find(f"{self._path}/{within}".rstrip("/"), detail=True)
        start = f"{self._path}/"
        return {
            key.removeprefix(start): _remote_file(info)
            for key, info in found.items()
            if key.startswith(start) and info["type"] == "file"
        }

    def info(self, name: str) -> RemoteFile:
        """One file as it is now. Raises MissingFileError."""
        with self._errors_as_sentences(name):
            self._files.invalidate_cache()
            return _remote_file(self._files.info(f"{self._path}/{name}"))

    def download(self, name: str, path: Path, on_bytes: OnBytes) -> None:
        """Write a file's content to `path`."""
        with self._errors_as_sentences(name):
            self._files.get_file(f"{self._path}/{name}", str(path), callback=_callback(on_bytes))

    def upload(self, path: Path, name: str, on_bytes: OnBytes) -> None:
        """Write the content of `path` to a file; an object store shows it when it is complete."""
        with self._errors_as_sentences(name):
            self._files.put_file(str(path), f"{self._path}/{name}", callback=_callback(on_bytes))

    def replace(self, name: str, data: bytes, seen: RemoteFile | None) -> None:
        """Write a file in place of the one that was `seen`, or as a new one.

        Raises ChangedFileError if the address has another by now. Only S3 can tell; elsewhere the last writer wins.
        """
        path, condition = f"{self._path}/{name}", {"IfMatch": seen.etag} if seen else {"IfNoneMatch": "*"}
        with self._errors_as_sentences(name):
            if self._package != "s3fs":
                self._files.pipe_file(path, data)
                return
            try:
                self._files.pipe_file(path, data, **condition)
            except OSError as error:
                if error.errno == errno.ENOSYS:  # a store that speaks S3 and cannot compare
                    self._files.pipe_file(path, data)
                elif _http_status(error) in (409, 412) or (seen and isinstance(error, FileNotFoundError)):
                    raise ChangedFileError(f"{self.address}/{name} has changed meanwhile; read it again.") from error
                else:
                    raise

    @contextmanager
    def _errors_as_sentences(self, name: str = "") -> Iterator[None]:
        try:
            yield
        except RemoteError:
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
                raise
            raise self._sentence(error, name) from error

    def _sentence(self, error: Exception, name: str) -> RemoteError:
        place = f"{self.address}/{name}".rstrip("/")
        text = " ".join(str(error).split()).rstrip(".")[:200] or type(error).__name__
        if isinstance(error, FileNotFoundError):
            return MissingFileError(f"{place} is not there ({text}); check the address.")
        if "Credentials" in type(error).__name__:
            cure = _CREDENTIALS.get(self._package, "see the documentation of fsspec")
            return RemoteError(f"There are no credentials for {self.address} ({text}); {cure}.")
        if isinstance(error, PermissionError):
            return RemoteError(f"{place} may not be used ({text}); check the credentials and the bucket's policy.")
        return RemoteError(f"{place} cannot be reached ({text}); try again when it can.")


def _remote_file(info: Mapping[str, Any]) -> RemoteFile:
    size = int(info["size"] or 0)
    stamp = next((str(info[key]) for key in _STAMPS if info.get(key)), "")
    return RemoteFile(f"{stamp} {size}", size, str(info.get("ETag") or ""))


def _http_status(error: Exception) -> int:
    """The HTTP status behind an error of s3fs; 0 where there is none."""
    response = getattr(error.__cause__, "response", {})
    return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _callback(on_bytes: OnBytes) -> Any:
    """The object by which fsspec reports the progress of one transfer."""
    from fsspec.callbacks import Callback

    class Bytes(Callback):  # type: ignore[misc]
        def relative_update(self, inc: int = 1) -> None:
            on_bytes(inc)

    return Bytes()
