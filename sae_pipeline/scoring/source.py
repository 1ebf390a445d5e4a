"""The table to be scored: its columns, and its rows as Arrow tables whose columns keep their types.

The first pass reads the whole table: it counts the rows, finds the type of each column, and refuses a bad row before
hours of work. Memory does not grow with the number of rows.
"""

import datetime
import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from sae_pipeline.artefacts.content_names import content_name
from sae_pipeline.config import ScoreConfig
from sae_pipeline.errors import UserError, command
from sae_pipeline.headlines.columns import Columns, find_columns
from sae_pipeline.headlines.rows import as_text, check_text
from sae_pipeline.headlines.table_files import Table, open_table
from sae_pipeline.headlines.tables.table import Row, plain
from sae_pipeline.headlines.text import sealed_key

_SURROGATE = re.compile(r"[\ud800-\udfff]")  # a half of a pair, which UTF-8 cannot hold
_DELIMITED = {"CSV", "TSV", "sentence@label", "plain lines"}  # formats whose cells are all text


@dataclass(frozen=True)
class Survey:
    """The result of the first pass over a table."""

    n_rows: int
    schema: pa.Schema  # of the table's own columns


class RowReader(Protocol):
    """Reads a table from its first row on."""

    def take(self, n: int) -> pa.Table:
        """The next n rows, or as many as are left."""

    def skip(self, n: int) -> None:
        """Leave out the next n rows."""


@dataclass(frozen=True)
class Source:
    """A table and the column of it that holds the headlines."""

    table: Table
    columns: Columns
    sealed: frozenset[str] = frozenset()  # keys of headlines that may not be read yet

    @classmethod
    def open(cls, config: ScoreConfig, sealed: frozenset[str] = frozenset()) -> "Source":
        """Recognise the table. Raises UserError where it cannot be read and where no column holds headlines."""
        table = open_table(Path(config.table).expanduser(), config.columns)
        found = find_columns(table.columns, table.path.name, config.text_column, need_label=False)
        return cls(table, replace(found, label=None), sealed)  # a label is a column like any other here

    @property
    def notes(self) -> list[str]:
        """What a user should know about how the table was read."""
        found = self.columns.text
        return [*self.table.notes, *([f"The headlines are in column {found!r}."] if found != "text" else [])]

    @property
    def name(self) -> str:
        """`name@hash`, with a hash of the content. Raises UserError for a file that cannot be read."""
        return content_name(self.table.path)

    def survey(self) -> Survey:
        """Read the whole table. Raises UserError at the first row that cannot be scored."""
        batches = self.table.arrow_batches()
        if batches is not None:
            return self._survey_batches(batches)
        kinds: defaultdict[str, set[str]] = defaultdict(set, {name: set() for name in self.table.columns})
        is_text = self.table.format in _DELIMITED
        n_rows = 0
        for where, row in self.table.dated_rows():
            n_rows += 1
            self._check(row, where)
            for name, cell in () if is_text else row.items():
                found = kinds[name]  # a row of JSON may bring a new column
                if cell is not None:
                    found.add(_kind(cell))
        return Survey(n_rows, pa.schema([(name, _type(found)) for name, found in kinds.items()]))

    def _survey_batches(self, batches: Iterator[pa.Table]) -> Survey:
        n_rows, schema = 0, None
        for batch in batches:
            for number, cell in enumerate(batch[self.columns.text].to_pylist(), start=n_rows):
                self._check({self.columns.text: plain(cell)}, f"row {number}")
            n_rows += len(batch)
            schema = batch.schema
        assert schema is not None  # a table without rows is refused when it is opened
        return Survey(n_rows, schema)

    def _check(self, row: Mapping[str, Any], where: str) -> None:
        name = self.table.path.name
        headline, _ = self.columns.cells(row, name, where)
        check_text(as_text(headline), f"{name}, {where}")
        if self.sealed and sealed_key(as_text(headline)) in self.sealed:
            raise UserError(
                f"{name}, {where}: this headline is sealed in the study; leave such rows out, or open the seal for the "
                f"final claims with `{command('unseal')}`."
            )

    def reader(self, schema: pa.Schema) -> RowReader:
        """Begin to read the rows, in Arrow tables of the schema that the survey found."""
        batches = self.table.arrow_batches()
        return _CellReader(self.table.dated_rows(), schema) if batches is None else _BatchReader(batches, schema)

    def texts(self, rows: pa.Table) -> list[str]:
        """The headlines of rows that the reader gave; an empty cell gives an empty headline."""
        return [as_text(plain(cell)) for cell in rows[self.columns.text].to_pylist()]


class _BatchReader:
    """Reads a table whose format gives Arrow batches."""

    def __init__(self, batches: Iterator[pa.Table], schema: pa.Schema) -> None:
        self._batches, self._schema = batches, schema
        self._rest: pa.Table = schema.empty_table()

    def take(self, n: int) -> pa.Table:
        taken = [self._schema.empty_table()]
        while n:
            if not len(self._rest) and (batch := next(self._batches, None)) is not None:
                self._rest = batch
            if not len(self._rest):
                break
            taken.append(self._rest.slice(0, n))
            self._rest = self._rest.slice(n)
            n -= len(taken[-1])
        return pa.concat_tables(taken).combine_chunks()

    def skip(self, n: int) -> None:
        while n and len(skipped := self.take(min(n, 1000))):
            n -= len(skipped)


class _CellReader:
    """Reads a table whose format gives one row at a time."""

    def __init__(self, rows: Iterator[Row], schema: pa.Schema) -> None:
        self._rows, self._schema = rows, schema

    def take(self, n: int) -> pa.Table:
        rows = [row for _, row in islice(self._rows, n)]
        columns = [_column([row.get(field.name) for row in rows], field.type) for field in self._schema]
        return pa.table(columns, schema=self._schema)

    def skip(self, n: int) -> None:
        next(islice(self._rows, n, n), None)


# --- types of cells ------------------------------------------------------------------------------------

_TYPES = {  # the kinds of cells in a column, and the type that holds them all
    frozenset({"whole number"}): pa.int64(),
    frozenset({"large whole number"}): pa.int64(),
    frozenset({"whole number", "large whole number"}): pa.int64(),
    frozenset({"number"}): pa.float64(),
    frozenset({"whole number", "number"}): pa.float64(),
    frozenset({"truth value"}): pa.bool_(),
    frozenset({"moment"}): pa.timestamp("us"),
    frozenset({"date"}): pa.date32(),
    frozenset({"date", "moment"}): pa.timestamp("us"),
    frozenset({"time"}): pa.time64("us"),
}


def _kind(cell: Any) -> str:
    """The kind of a cell of JSON or Excel."""
    match cell:
        case bool():
            return "truth value"
        case int() if abs(cell) <= 2**53:
            return "whole number"
        case int() if -(2**63) <= cell < 2**63:
            return "large whole number"  # which a float64 cannot hold
        case float():
            return "number"
        case datetime.datetime() if cell.tzinfo is None:
            return "moment"
        case datetime.date() if not isinstance(cell, datetime.datetime):
            return "date"
        case datetime.time() if cell.tzinfo is None:
            return "time"
    return "text"


def _type(kinds: set[str]) -> pa.DataType:
    return _TYPES.get(frozenset(kinds), pa.string())


def _column(cells: list[Any], kind: pa.DataType) -> pa.Array:
    if kind == pa.string():
        cells = [None if cell is None else _as_utf8(cell) for cell in cells]
    elif pa.types.is_timestamp(kind):
        midnight = datetime.time()
        cells = [datetime.datetime.combine(cell, midnight) if type(cell) is datetime.date else cell for cell in cells]
    elif pa.types.is_floating(kind):
        cells = [None if cell is None else float(cell) for cell in cells]
    return pa.array(cells, kind)


def _as_utf8(cell: Any) -> str:
    """A cell as text; lists and objects become JSON."""
    text = json.dumps(cell, ensure_ascii=False, default=str) if isinstance(cell, dict | list) else str(cell)
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)
