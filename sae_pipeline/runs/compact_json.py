"""Records as compact JSON: floats with 6 significant digits, never NaN, one record per line for streaming.

Records are plain dicts, lists, strings and numbers; numpy arrays and numbers are welcome in them. A record may also be
finished JSON (bytes), where it was made in bulk.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
from pydantic import BaseModel

Record = Mapping[str, Any] | bytes


class NotFiniteError(ValueError):
    """A number that JSON cannot hold (orjson would write null). The message says where it stands."""


def lines(records: Iterable[Record]) -> Iterator[bytes]:
    """Each record as one line."""
    for line in _records(records):
        yield line + b"\n"


def array(header: Mapping[str, Any], key: str, records: Iterable[Record]) -> Iterator[bytes]:
    """One JSON object: the header's fields, then `key` with an array of the records, one per line."""
    yield array_start(header, key)
    separator = b"\n"
    for line in _records(records):
        yield separator + line
        separator = b",\n"
    yield ARRAY_END


def array_start(header: Mapping[str, Any], key: str) -> bytes:
    """What stands before the records of `array`, each of which follows a line break."""
    start = orjson.dumps(_tidy(header), option=orjson.OPT_SERIALIZE_NUMPY)[:-1]
    return start + (b"," if header else b"") + orjson.dumps(key) + b":["


ARRAY_END = b"\n]}\n"


def indented(record: Mapping[str, Any]) -> bytes:
    """One small record, laid out for people."""
    return orjson.dumps(_tidy(record), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def six_digits(values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """`values` rounded to 6 significant decimal digits: the doubles whose shortest spelling has no more."""
    values = np.asarray(values, np.float64)
    finite = np.isfinite(values)
    if not finite.all():
        index = int(np.argmin(finite))
        raise NotFiniteError(f"{values.flat[index]} at index {index} is not a finite number")
    size = np.abs(values)
    places = 5 - np.floor(np.log10(size, where=size > 0, out=np.zeros_like(size)))
    # Powers of ten up to 22 are exact in float64, so an integer divided by one is the double nearest to the
    # decimal, which is the one that is spelled shortest.
    up, down = 10.0 ** np.clip(places, 0, 22), 10.0 ** np.clip(-places, 0, 22)
    rounded: npt.NDArray[np.float64] = np.round(values / down * up) / up * down
    for index in np.flatnonzero(np.abs(places) > 22).tolist():
        rounded.flat[index] = float(f"{values.flat[index]:.6g}")
    return rounded


def nullable(values: npt.ArrayLike) -> orjson.Fragment:
    """`values` with 6 significant digits and null for NaN; infinite ones are refused."""
    values = np.asarray(values, np.float64)
    rounded = np.full(values.shape, np.nan)
    rounded[~np.isnan(values)] = six_digits(values[~np.isnan(values)])
    return orjson.Fragment(orjson.dumps(rounded, option=orjson.OPT_SERIALIZE_NUMPY))


class RecordWriter:
    """Records handed over bit by bit: `between` stands between two of them."""

    def __init__(self, write: Callable[[bytes], Any], between: bytes) -> None:
        self._write, self._between = write, between
        self.n = 0

    def add(self, records: Iterable[Record]) -> None:
        """Write some records."""
        for line in _records(records, self.n):
            self._write(self._between + line if self.n else line)
            self.n += 1

    def append(self, pieces: Iterable[bytes]) -> None:
        """Write what another writer with the same `between` has written, piece by piece."""
        for index, piece in enumerate(pieces):
            self._write(self._between + piece if self.n and not index else piece)
            self.n += 1


def _records(records: Iterable[Record], first: int = 0) -> Iterator[bytes]:
    for index, record in enumerate(records, first):
        if isinstance(record, bytes):
            yield record
            continue
        try:
            yield orjson.dumps(_tidy(record), option=orjson.OPT_SERIALIZE_NUMPY)
        except NotFiniteError as error:
            name = f" ({record['name']})" if "name" in record else ""
            raise NotFiniteError(f"record {index}{name}: {error}") from error


def _tidy(value: Any) -> Any:
    """What orjson then writes as wanted."""
    match value:
        case str() | bool() | int() | None | orjson.Fragment():
            return value
        case float() | np.floating():
            if not math.isfinite(value):
                raise NotFiniteError(f"{value} is not a finite number")
            return float(f"{value:.6g}")
        case dict():
            return {key: _tidy(item) for key, item in value.items()}
        case BaseModel():
            return _tidy(value.model_dump())
        case list() | tuple():
            if len(value) > 64 and isinstance(value[0], float):  # where an array's overhead pays
                return six_digits(value)
            return [_tidy(item) for item in value]
        case np.ndarray():
            if value.size <= 64:
                return _tidy(value.tolist())
            return six_digits(value) if value.dtype.kind == "f" else np.ascontiguousarray(value)
        case np.generic():
            return value.item()
    raise TypeError(f"cannot write a {type(value).__name__} as JSON")
