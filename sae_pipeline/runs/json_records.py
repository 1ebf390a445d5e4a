"""Reading the files of `compact_json` record by record, with the place of each record in its file.

Such a file is one JSON object, and its last field is an array of objects: the records. Each record is on a line of its
own, so the file is read line by line. A file in any other layout was not written by `compact_json` and is refused.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MAX_LINE_BYTES = 1 << 26  # far more than any record has; the limit bounds the memory that a damaged file can take


class RecordsError(ValueError):
    """The file has another layout. The message continues a sentence that begins with the file's name."""


@dataclass(frozen=True)
class Span:
    """One record: its bytes, and the offset of the first in the file."""

    start: int
    text: bytes


def json_lines(path: Path) -> Iterator[Span]:
    """The lines of a file. Raises `RecordsError`."""
    with path.open("rb") as file:
        start = 0
        while line := _line(file.readline(MAX_LINE_BYTES)):
            yield Span(start, line.rstrip(b"\r\n"))
            start += len(line)


def json_records(path: Path, key: str) -> Iterator[Span]:
    """First the object with the array `key` empty, then every record of that array in order.

    Raises `RecordsError` for a file in another layout. The JSON of the records is not checked.
    """
    with path.open("rb") as file:
        first = _line(file.readline(MAX_LINE_BYTES))
        if not first.rstrip().endswith(b'"%s":[' % key.encode()):
            raise RecordsError(f"does not begin with a line that opens its list of {key}")
        yield Span(0, first.rstrip() + b"]}")
        start = len(first)
        while line := _line(file.readline(MAX_LINE_BYTES)):
            text = line.strip()
            if text.startswith(b"]"):
                if text != b"]}" or file.read(1):
                    raise RecordsError("goes on after its last record")
                return
            yield Span(start, text.removesuffix(b","))
            start += len(line)
    raise RecordsError("ends early: EOF while parsing a list")


def _line(line: bytes) -> bytes:
    """The line, unless it is too long for a record."""
    if len(line) == MAX_LINE_BYTES:
        raise RecordsError(f"has a record of more than {MAX_LINE_BYTES >> 20} MiB")
    return line
