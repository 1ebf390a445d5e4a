"""Records as compact JSON: floats with 6 significant digits, never NaN, one record per line for streaming.

Records are plain dicts, lists, strings and numbers; numpy arrays and numbers are welcome in them.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

Record = Mapping[str, Any]


class NotFiniteError(ValueError):
    """A number that JSON cannot hold (orjson would write null). The message says where it stands."""


def lines(records: Iterable[Record]) -> Iterator[bytes]:
    """Each record as one line."""
    for line in _records(records):
        yield line + b"\n"


def array(header: Record, key: str, records: Iterable[Record]) -> Iterator[bytes]:
    """One JSON object: the header's fields, then `key` with an array of the records, one per line."""
    start = orjson.dumps(_tidy(header), option=orjson.OPT_SERIALIZE_NUMPY)[:-1]
    yield start + (b"," if header else b"") + orjson.dumps(key) + b":["
    separator = b"\n"
    for line in _records(records):
        yield separator + line
        separator = b",\n"
    yield b"\n]}\n"


def indented(record: Record) -> bytes:
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


def _records(records: Iterable[Record]) -> Iterator[bytes]:
    for index, record in enumerate(records):
        try:
            yield orjson.dumps(_tidy(record), option=orjson.OPT_SERIALIZE_NUMPY)
        except NotFiniteError as error:
            name = f" ({record['name']})" if "name" in record else ""
            raise NotFiniteError(f"record {index}{name}: {error}") from error


def _tidy(value: Any) -> Any:
    """What orjson then writes as wanted."""
    match value:
        case str() | bool() | int() | None:
            return value
        case float() | np.floating():
            if not math.isfinite(value):
                raise NotFiniteError(f"{value} is not a finite number")
            return float(f"{value:.6g}")
        case dict():
            return {key: _tidy(item) for key, item in value.items()}
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
