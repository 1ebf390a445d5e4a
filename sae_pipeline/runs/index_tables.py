"""The tables of a run's index, and reading the run's JSON files record by record to fill them.

Each record is checked by its schema and against the others, as `read_run` checks the whole run. `index.py` says what
the tables are for.
"""

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sae_pipeline.runs.fit import Problems
from sae_pipeline.runs.folders import damaged, plain_file, read_metadata
from sae_pipeline.runs.json_records import RecordsError, Span, json_lines, json_records

SCHEMA = """
CREATE TABLE about (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE vector (name TEXT PRIMARY KEY, dtype TEXT, data BLOB);
CREATE TABLE headline (
    headline INTEGER PRIMARY KEY, headline_id TEXT, prompt_at INTEGER, prompt_bytes INTEGER,
    features_at INTEGER, features_bytes INTEGER, effects_at INTEGER, effects_bytes INTEGER
);
CREATE VIRTUAL TABLE headline_text USING fts5 (text, content = '', columnsize = 0, tokenize = 'unicode61');
CREATE TABLE posting (feature INTEGER, headlines BLOB, weights BLOB);
CREATE TABLE feature (
    feature INTEGER PRIMARY KEY, examples_at INTEGER, examples_bytes INTEGER,
    word TEXT, folded TEXT, spark TEXT, facts TEXT
);
CREATE TABLE fired (word TEXT, feature INTEGER, PRIMARY KEY (word, feature)) WITHOUT ROWID;
"""
INDICES = """
CREATE INDEX headline_by_id ON headline (headline_id);
CREATE INDEX posting_by_feature ON posting (feature);
CREATE INDEX feature_by_word ON feature (folded);
"""
OPTIONAL = "delete this file or make it anew"  # the cure for a damaged file that a run can do without


class RunTables:
    """The run in `folder`, and `sql`, the index that is filled from it.

    `advance` is told the number of bytes of each record that is read. The methods raise `DamagedRunError`.
    """

    def __init__(self, folder: Path, sql: sqlite3.Connection, advance: Callable[[int], None]) -> None:
        self.folder, self.sql, self.advance = folder, sql, advance
        self.metadata = read_metadata(folder)
        self.n_labels = len(self.metadata.labels)

    def spans(self, name: str, key: str | None = None) -> Iterator[Span]:
        """The records of a file: its lines, or the rest of its object and then the records of the array `key`."""
        path = plain_file(self.folder, name)
        try:
            for span in json_lines(path) if key is None else json_records(path, key):
                self.advance(len(span.text))
                yield span
        except (RecordsError, OSError) as error:
            raise damaged(self.folder, name, "", str(error)) from error

    def has(self, name: str) -> bool:
        """Whether the run has an optional file, even one that cannot be read."""
        return (self.folder / name).exists() or (self.folder / name).is_symlink()

    def check(self, name: str, place: str, problems: Problems) -> None:
        """Raise the first problem of the record at `place`."""
        for field, problem in problems:
            raise damaged(self.folder, name, f"{place}{field}", problem)

    def about(self, name: str, value: Any) -> None:
        """Insert a row of `about`."""
        self.sql.execute("INSERT INTO about VALUES (?, ?)", (name, value))

    def vector(self, name: str, values: NDArray[Any]) -> None:
        """Insert a row of `vector`."""
        row = (name, values.dtype.str, np.ascontiguousarray(values).tobytes())
        self.sql.execute("INSERT INTO vector VALUES (?, ?, ?)", row)
