"""The table's other columns in a run's index: the values of each in their order, and the value of every headline.

Cells wait in a temporary table on disk until all headlines have been read. Then SQLite sorts one column after another,
numbers before texts, and texts by code point. Memory holds 4 bytes per headline.
"""

from array import array
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import orjson

from sae_pipeline.runs.index_tables import Tables
from sae_pipeline.schema.common import Cell, Record
from sae_pipeline.schema.run import Prompt

ColumnKind = Literal["number", "date", "text"]
_DATE = "[0-9][0-9][0-9][0-9]-[0-9][0-9]*"  # ISO 8601, as a pattern of SQLite


class ColumnFacts(Record):
    """What the index knows of a column, besides its values."""

    name: str
    kind: ColumnKind  # date: every value begins with year and month; text: also where a column is empty
    n_values: int  # distinct ones
    n_empty: int  # headlines without a value
    low: Cell  # the first value in order; null where all are empty
    high: Cell


class ColumnTables:
    """Fills `column_value` and the vectors `column 0`, `column 1`, …, which number the values from 1; 0 is no value."""

    def __init__(self, tables: Tables, names: Sequence[str]) -> None:
        self._tables, self._names = tables, names
        if self._names:
            fields = "".join(f", c{n}" for n in range(len(self._names)))
            tables.sql.execute(f"CREATE TEMP TABLE cell (headline INTEGER PRIMARY KEY{fields})")

    def add(self, start: int, prompts: Sequence[Prompt]) -> None:
        """Keep the cells of consecutive headlines, of which the first has the index `start`."""
        if self._names:
            marks = ", ".join("?" * (1 + len(self._names)))
            rows = ((start + n, *(prompt.columns[name] for name in self._names)) for n, prompt in enumerate(prompts))
            self._tables.sql.executemany(f"INSERT INTO cell VALUES ({marks})", rows)

    def fill(self) -> None:
        """Sort the columns, when all headlines have been added."""
        facts = [self._column(n, name) for n, name in enumerate(self._names)]
        self._tables.about("columns", orjson.dumps([one.model_dump() for one in facts]).decode())
        if self._names:
            self._tables.sql.execute("DROP TABLE cell")

    def _column(self, n: int, name: str) -> ColumnFacts:
        sql = self._tables.sql
        sql.execute(
            f"INSERT INTO column_value SELECT {n}, row_number() OVER (ORDER BY c{n}), c{n}, count(*) "
            f"FROM cell WHERE c{n} NOT NULL GROUP BY c{n} ORDER BY c{n}"
        )
        places = sql.execute(
            f"SELECT coalesce(place, 0) FROM cell LEFT JOIN column_value ON of_column = {n} AND value = c{n} "
            "ORDER BY headline"
        )
        vector = np.frombuffer(array("I", (place for (place,) in places)), np.uint32)
        self._tables.vector(f"column {n}", vector)
        query = "SELECT count(*), sum(typeof(value) = 'text'), sum(value GLOB ?), min(value), max(value)"
        found: tuple[Any, ...] = sql.execute(f"{query} FROM column_value WHERE of_column = {n}", [_DATE]).fetchone()
        n_values, n_texts, n_dates, low, high = found
        kind: ColumnKind = "text"
        if n_values:
            kind = "number" if n_texts == 0 else "date" if n_texts == n_dates == n_values else "text"
        n_empty = int((vector == 0).sum())
        return ColumnFacts(name=name, kind=kind, n_values=n_values, n_empty=n_empty, low=low, high=high)
