"""Writing records as compact JSON: floats have 6 significant digits, and each record is one line.

A record is a dict of strings, numbers, lists, dicts, models, and numpy arrays and numbers. It may also be finished
JSON, as bytes: making many records as JSON at once is faster. A reader can take the lines one by one
(`json_records.py`).
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
from pydantic import BaseModel

from sae_pipeline.runs.json_records import Span

Record = Mapping[str, Any] | bytes


class NotFiniteError(ValueError):
    """A number is NaN or infinite, which JSON cannot hold. The message says where the number stands."""


def lines(records: Iterable[Record]) -> Iterator[bytes]:
    """The records as lines."""
    for line in _records(records):
        yield line + b"\n"


def array(header: Mapping[str, Any], key: str, records: Iterable[Record]) -> Iterator[bytes]:
    """One JSON object: the fields of the header, then the field `key`, an array with one record per line."""
    yield array_start(header, key)
    separator = b"\n"
    for line in _records(records):
        yield separator + line
        separator = b",\n"
    yield ARRAY_END


def array_start(header: Mapping[str, Any], key: str) -> bytes:
    """The beginning of `array`, up to the line break before its first record."""
    start = orjson.dumps(_writable(header), option=orjson.OPT_SERIALIZE_NUMPY)[:-1]
    return start + (b"," if header else b"") + orjson.dumps(key) + b":["


ARRAY_END = b"\n]}\n"


def indented(record: Mapping[str, Any]) -> bytes:
    """One small record with indentation, for human readers."""
    return orjson.dumps(_writable(record), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def six_digits(values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """`values` rounded to 6 significant decimal digits, of any shape; float64. Raises NotFiniteError.

    Each result is the double nearest to the rounded decimal, so that it is printed with at most 6 digits.
    """
    values = np.asarray(values, np.float64)
    finite = np.isfinite(values)
    if not finite.all():
        index = int(np.argmin(finite))
        raise NotFiniteError(f"{values.flat[index]} at index {index} is not a finite number")
    size = np.abs(values)
    places = 5 - np.floor(np.log10(size, where=size > 0, out=np.zeros_like(size)))
    # Powers of ten up to 22 are exact in float64, so an integer divided by one is the double nearest to the decimal.
    up, down = 10.0 ** np.clip(places, 0, 22), 10.0 ** np.clip(-places, 0, 22)
    rounded: npt.NDArray[np.float64] = np.round(values / down * up) / up * down
    for index in np.flatnonzero(np.abs(places) > 22).tolist():
        rounded.flat[index] = float(f"{values.flat[index]:.6g}")
    return rounded


def nullable(values: npt.ArrayLike) -> orjson.Fragment:
    """The JSON of `values` with 6 significant digits and null for NaN. Raises NotFiniteError for infinite values."""
    values = np.asarray(values, np.float64)
    rounded = np.full(values.shape, np.nan)
    rounded[~np.isnan(values)] = six_digits(values[~np.isnan(values)])
    return orjson.Fragment(orjson.dumps(rounded, option=orjson.OPT_SERIALIZE_NUMPY))


class RecordWriter:
    """Writes records as they come, with the bytes `between` between two of them, from the offset `at` of a file.

    `seen` is given each record with its place in the file.
    """

    def __init__(
        self, write: Callable[[bytes], Any], between: bytes, at: int = 0, seen: Callable[[Span], None] | None = None
    ) -> None:
        self._write, self._between, self._at, self._seen = write, between, at, seen
        self.n = 0

    def add(self, records: Iterable[Record]) -> None:
        """Write some records."""
        for line in _records(records, self.n):
            between = self._between if self.n else b""
            self._write(between + line)
            self._at += len(between)
            if self._seen:
                self._seen(Span(self._at, line))
            self._at += len(line)
            self.n += 1

    def append(self, pieces: Iterable[bytes]) -> None:
        """Write the output of another writer with the same `between`, piece by piece. `seen` is not told of it."""
        for index, piece in enumerate(pieces):
            self._write(self._between + piece if self.n and not index else piece)
            self.n += 1


def _records(records: Iterable[Record], first: int = 0) -> Iterator[bytes]:
    for index, record in enumerate(records, first):
        if isinstance(record, bytes):
            yield record
            continue
        try:
            yield orjson.dumps(_writable(record), option=orjson.OPT_SERIALIZE_NUMPY)
        except NotFiniteError as error:
            name = f" ({record['name']})" if "name" in record else ""
            raise NotFiniteError(f"record {index}{name}: {error}") from error


def _writable(value: Any) -> Any:
    """The value as orjson can write it: floats rounded, arrays contiguous, models as dicts. Raises NotFiniteError."""
    match value:
        case str() | bool() | int() | None | orjson.Fragment():
            return value
        case float() | np.floating():
            if not math.isfinite(value):
                raise NotFiniteError(f"{value} is not a finite number")
            return float(f"{value:.6g}")
        case dict():
            return {key: _writable(item) for key, item in value.items()}
        case BaseModel():
            return _writable(value.model_dump())
        case list() | tuple():
            if len(value) > 64 and isinstance(value[0], float):  # from this length on an array is faster
                return six_digits(value)
            return [_writable(item) for item in value]
        case np.ndarray():
            if value.size <= 64:
                return _writable(value.tolist())
            return six_digits(value) if value.dtype.kind == "f" else np.ascontiguousarray(value)
        case np.generic():
            return value.item()
    raise TypeError(f"cannot write a {type(value).__name__} as JSON")
