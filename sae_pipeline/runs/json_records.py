"""Reading the files of `compact_json` record by record, with the place of each record in its file.

Such a file is one JSON object, and one of its fields is an array of objects: the records. `compact_json` writes each
record on its own line, so the file is read line by line. A file in any other layout, such as from a formatter, is
searched for its brackets. That is some ten times slower, and needs as little memory.
"""

import mmap
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MAX_RECORD_BYTES = 1 << 26  # far more than any record has; the limit bounds the memory that a damaged file can take
_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]', re.DOTALL)


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
        while line := _line(file.readline(MAX_RECORD_BYTES)):
            yield Span(start, line.rstrip(b"\r\n"))
            start += len(line)


def json_records(path: Path, key: str) -> Iterator[Span]:
    """First the object with the array `key` empty, then every record of that array in order.

    Raises `RecordsError` for a file without such an array. The JSON of the records is not checked.
    """
    with path.open("rb") as file:
        first = _line(file.readline(MAX_RECORD_BYTES))
        if not first.rstrip().endswith(b'"%s":[' % key.encode()):
            yield from _scanned(path, key)
            return
        yield Span(0, first.rstrip() + b"]}")
        start = len(first)
        while line := _line(file.readline(MAX_RECORD_BYTES)):
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
    if len(line) == MAX_RECORD_BYTES:
        raise RecordsError(f"has a record of more than {MAX_RECORD_BYTES >> 20} MiB")
    return line


def _scanned(path: Path, key: str) -> Iterator[Span]:
    """The same as `json_records` for a file of any layout."""
    if not path.stat().st_size:
        raise RecordsError("is empty: EOF while parsing a value")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        begin, end = _array_of(data, key)
        if begin + len(data) - end > MAX_RECORD_BYTES:
            raise RecordsError(f"has more than {MAX_RECORD_BYTES >> 20} MiB beside its {key}")
        yield Span(0, data[:begin] + data[end:])
        depth = start = 0
        for token in _TOKEN.finditer(data, begin, end):
            match token[0]:
                case b"[" | b"{":
                    start = token.start() if depth == 0 else start
                    depth += 1
                case b"]" | b"}":
                    depth -= 1
                    if depth == 0:
                        if token.end() - start > MAX_RECORD_BYTES:
                            raise RecordsError(f"has a record of more than {MAX_RECORD_BYTES >> 20} MiB")
                        yield Span(start, data[start : token.end()])


def _array_of(data: mmap.mmap, key: str) -> tuple[int, int]:
    """The offsets at which the array `key` of the outermost object begins and ends, inside its brackets."""
    depth, name, begin = 0, b"", 0
    for token in _TOKEN.finditer(data):
        match token[0]:
            case b"[" | b"{":
                depth += 1
                if depth == 2 and token[0] == b"[" and name == b'"%s"' % key.encode():
                    begin = token.end()
            case b"]" | b"}":
                depth -= 1
                if depth == 1 and begin:
                    return begin, token.start()
                name = b""
            case string if depth == 1:
                name = string
    if begin:
        raise RecordsError("ends early: EOF while parsing a list")
    raise RecordsError(f"is Invalid JSON, or has no list of {key}")
