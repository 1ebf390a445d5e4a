"""The bytes of a file as a stream: as they are, or unpacked from a .gz or a .zip."""

import gzip
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import BinaryIO

from sae_pipeline.errors import UserError

GZIP, ZIP = b"\x1f\x8b", b"PK\3\4"  # how packed files begin


@dataclass(frozen=True)
class FileBytes:
    """A file whose bytes can be streamed any number of times."""

    path: Path
    member: str | None = None  # of a .zip
    gzipped: bool = False

    @property
    def name(self) -> str:
        """The name of the file in messages."""
        return self.path.name

    @property
    def ending(self) -> str:
        """The ending that names the format, in lower case; that of the content where the file is packed."""
        if self.member:
            return PurePath(self.member).suffix.lower()
        return PurePath(self.path.stem if self.path.suffix.lower() == ".gz" else self.path.name).suffix.lower()

    @property
    def packed(self) -> bool:
        """Whether the bytes come from a .gz or a .zip."""
        return self.gzipped or self.member is not None

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """Open a fresh stream. Raises UserError, also while it is read, when the file is damaged or unreadable."""
        try:
            if self.member:
                with zipfile.ZipFile(self.path) as archive, archive.open(self.member) as stream:
                    yield stream  # type: ignore[misc]
            elif self.gzipped:
                with gzip.open(self.path) as stream:
                    yield stream  # type: ignore[misc]
            else:
                with self.path.open("rb") as stream:
                    yield stream
        except (EOFError, zlib.error, gzip.BadGzipFile, zipfile.BadZipFile, NotImplementedError) as error:
            raise UserError(f"{self.name} is damaged or cut off ({error}); unpack or copy it again.") from error
        except OSError as error:
            raise UserError(f"{self.path} cannot be read: {error.strerror or error}.") from error

    def head(self, n_bytes: int) -> bytes:
        """The first bytes."""
        with self.open() as stream:
            return stream.read(n_bytes)


def unpacked(path: Path) -> FileBytes:
    """The bytes of a file, or of what a .gz or .zip holds.

    Raises UserError for a .zip with several files, with a password or with a compression that is not known.
    """
    head, ending = FileBytes(path).head(4), path.suffix.lower()
    if head.startswith(GZIP):
        return FileBytes(path, gzipped=True)
    if not zipfile.is_zipfile(path):
        if head and ending in (".gz", ".zip"):
            raise UserError(f"{path.name} is no {ending} file, or a damaged one.")
        return FileBytes(path)
    with FileBytes(path).open() as file, zipfile.ZipFile(file) as archive:
        members = [info for info in archive.infolist() if not _is_clutter(info)]
    names = {info.filename for info in members}
    if "[Content_Types].xml" in names:
        return FileBytes(path)  # an Office file, which is a .zip too
    if len(members) != 1:
        listed = ", ".join(sorted(names)[:3]) + (" …" if len(names) > 3 else "")
        raise UserError(f"{path.name} holds {len(members)} files ({listed}); unpack it and name one of them.")
    if members[0].flag_bits & 1:
        raise UserError(f"{path.name} is protected by a password; unpack it and name the file in it.")
    return FileBytes(path, member=members[0].filename)


def _is_clutter(info: zipfile.ZipInfo) -> bool:
    """Whether a member is a folder, or what macOS adds to every archive."""
    return info.is_dir() or info.filename.startswith("__MACOSX/") or info.filename.endswith(".DS_Store")
