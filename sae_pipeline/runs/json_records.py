"""Reading what `compact_json` writes, a record at a time, with the place of each record in its file.

A file is one JSON object of which one field is an array of objects, the records. `compact_json` puts each record on a
line of its own, which is read line by line. Any other layout (a file that went through a formatter) is read too, by
looking for its brackets; that is some ten times slower and equally flat in memory.
"""

import mmap
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MAX_RECORD_BYTES = 1 << 26  # far beyond any honest one; what is longer would have to be held in memory
_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]', re.DOTALL)


class RecordsError(ValueError):
    """Not such a file. The message goes on from the file's name."""


@dataclass(frozen=True)
class Span:
    """One record: its bytes, and where they begin in the file."""

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
    """First the object without its records (the array of `key` empty), then every record in order.

    Raises `RecordsError` for what is not laid out so; whether records are valid JSON is for their reader to find.
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
    if len(line) == MAX_RECORD_BYTES:
        raise RecordsError(f"has a record of more than {MAX_RECORD_BYTES >> 20} MiB")
    return line


def _scanned(path: Path, key: str) -> Iterator[Span]:
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
    """Where the array of `key` of the outermost object begins and ends, inside its brackets."""
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
