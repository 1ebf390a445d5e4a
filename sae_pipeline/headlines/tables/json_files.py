"""JSON files: an object in each line, a list of objects, and what pandas' `to_json` writes."""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sae_pipeline.errors import UserError
from sae_pipeline.headlines.columns import is_usual
from sae_pipeline.headlines.tables.encodings import MAX_LINE, encoding_name, encoding_of, lines, opened_text
from sae_pipeline.headlines.tables.file_bytes import FileBytes
from sae_pipeline.headlines.tables.header import check_given
from sae_pipeline.headlines.tables.table import Row, Table, column_names, plain

MAX_WHOLE = 500_000_000  # characters of a file that is one JSON value, as it has to be read whole


def json_lines_table(source: FileBytes, columns: Sequence[str]) -> Table:
    """A file with a JSON object in each line. It is read once for its columns, as any row may bring a new one."""
    codec = encoding_of(source)

    def stream() -> Iterator[Row]:
        for number, line in enumerate(lines(source, codec), start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise UserError(f"{source.name}, line {number}: not valid JSON ({error}).") from error
            if not isinstance(row, dict):
                raise UserError(f"{source.name}, line {number}: not a JSON object (JSONL has one object per line).")
            yield f"line {number}", _cells(row, f"{source.name}, line {number}")

    keys = tuple(dict.fromkeys(key for _, row in stream() for key in row))
    check_given(columns, keys, source.name)
    return Table(source.path, "JSON lines", keys, stream, encoding=encoding_name(codec))


def json_table(source: FileBytes, columns: Sequence[str]) -> Table:
    """A JSON file of any supported shape; a file that is a single value is held in memory."""
    codec = encoding_of(source)
    if _begins_with_a_row(source, codec):
        return json_lines_table(source, columns)
    with opened_text(source, codec) as text:
        content = text.read(MAX_WHOLE + 1)
    if len(content) > MAX_WHOLE:
        raise UserError(f"{source.name} is one JSON value of over {MAX_WHOLE:,} characters; save it as JSON lines.")
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{source.name}: not valid JSON ({error}).") from error
    shape, rows = _rows_of(value, source.name)
    if not rows:
        raise UserError(f"{source.name} is empty.")
    rows = [_cells(row, f"{source.name}, entry {number}") for number, row in enumerate(rows, start=1)]
    keys = tuple(dict.fromkeys(key for row in rows for key in row))
    check_given(columns, keys, source.name)

    def stream() -> Iterator[Row]:
        return ((f"entry {number}", dict(row)) for number, row in enumerate(rows, start=1))

    return Table(source.path, shape, keys, stream, encoding=encoding_name(codec))


def _begins_with_a_row(source: FileBytes, codec: str) -> bool:
    """Whether the first line is an object that holds a cell, and not all columns."""
    with opened_text(source, codec) as text:
        first = next(line for line in iter(lambda: text.readline(MAX_LINE), "") if line.strip())
    try:
        value = json.loads(first)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and not (value and all(isinstance(cell, dict | list) for cell in value.values()))


def _rows_of(value: Any, name: str) -> tuple[str, list[dict[str, Any]]]:
    """The name of the shape and the rows. Raises UserError for JSON that is no table."""
    if isinstance(value, list):
        return "JSON list", _objects(value, name)
    if isinstance(value, dict) and value:
        data, names = value.get("data"), value.get("columns")
        if isinstance(data, list) and isinstance(names, list):
            column_names([str(column) for column in names], name)  # raises where two are the same
            return "JSON of pandas (split)", [_row(names, cells, name) for cells in data]
        if isinstance(data, list) and "schema" in value:
            return "JSON of pandas (table)", _objects(data, name)
        columns = list(value.values())
        if all(isinstance(column, dict) for column in columns):
            if _is_by_row(value, columns[0]):
                return "JSON of pandas (index)", columns
            index = dict.fromkeys(key for column in columns for key in column)
            rows = [{key: column.get(at) for key, column in value.items()} for at in index]
            return "JSON of pandas (columns)", rows
        if all(isinstance(column, list) and len(column) == len(columns[0]) for column in columns):
            return "JSON of lists", [dict(zip(value, cells, strict=True)) for cells in zip(*columns, strict=True)]
    raise UserError(
        f"{name} holds JSON that is no table; a list of objects, an object per line and the output of pandas' "
        "to_json are read."
    )


def _is_by_row(outer: Iterable[str], inner: Iterable[str]) -> bool:
    """Whether the outer keys of nested objects are an index: only the inner ones are usual names, or no numbers."""
    if any(is_usual(key) for key in outer):
        return False
    return any(is_usual(key) for key in inner) or (
        all(key.isdigit() for key in outer) and not all(key.isdigit() for key in inner)
    )


def _objects(entries: list[Any], name: str) -> list[dict[str, Any]]:
    for number, entry in enumerate(entries, start=1):
        if not isinstance(entry, dict):
            raise UserError(f"{name}, entry {number}: not a JSON object.")
    return entries


def _row(names: list[Any], cells: Any, name: str) -> dict[str, Any]:
    if not isinstance(cells, list) or len(cells) != len(names):
        raise UserError(f"{name} has a row of data that does not have one cell for each of its columns.")
    return dict(zip(map(str, names), cells, strict=True))


def _cells(row: dict[str, Any], where: str) -> dict[str, Any]:
    """The cells by stripped key, in which half a surrogate pair is replaced. Raises UserError for keys that collide."""
    names = [re.sub(r"[\ud800-\udfff]", "\ufffd", key).strip() for key in row]
    if len(set(names)) < len(names):
        column_names(names, where)  # raises
    return {name: plain(cell) for name, cell in zip(names, row.values(), strict=True)}
