"""The tables of a run's index, and reading the run's JSON files record by record to fill them.

Each record is checked by its schema and against the others, as `read_run` checks the whole run. `index.py` says what
the tables are for.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sae_pipeline.artefacts.checksums import check_sealed, without_seal
from sae_pipeline.errors import DamageError, command
from sae_pipeline.runs import run_files
from sae_pipeline.runs.json_records import RecordsError, Span, json_lines, json_records
from sae_pipeline.runs.problems import Problems
from sae_pipeline.runs.run_files import (
    ADDED_BY,
    DamagedRunError,
    Model,
    added_limit,
    damaged,
    parse_record,
    plain_file,
    read_added,
    read_listed,
)
from sae_pipeline.schema.common import METADATA, FileSum
from sae_pipeline.schema.run import RunMetadata

SCHEMA = """
CREATE TABLE about (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE vector (name TEXT PRIMARY KEY, dtype TEXT, data BLOB);
CREATE TABLE headline (
    headline INTEGER PRIMARY KEY, headline_id TEXT, prompt_at INTEGER, prompt_bytes INTEGER,
    features_at INTEGER, features_bytes INTEGER, effects_at INTEGER, effects_bytes INTEGER
);
CREATE VIRTUAL TABLE headline_text USING fts5 (text, content = '', columnsize = 0, tokenize = 'unicode61');
CREATE TABLE column_value (
    of_column INTEGER, place INTEGER, value, headlines INTEGER, PRIMARY KEY (of_column, place)
) WITHOUT ROWID;
CREATE UNIQUE INDEX place_of_value ON column_value (of_column, value);
CREATE TABLE posting (feature INTEGER, headlines BLOB, weights BLOB);
CREATE TABLE feature (
    feature INTEGER PRIMARY KEY, examples_at INTEGER, examples_bytes INTEGER,
    word TEXT, folded TEXT, spark TEXT,
    found TEXT, found_folded TEXT, found_score REAL, found_low REAL, found_high REAL,
    explained_folded TEXT, facts TEXT
);
CREATE TABLE fired (word TEXT, feature INTEGER, PRIMARY KEY (word, feature)) WITHOUT ROWID;
"""
INDICES = """
CREATE INDEX headline_by_id ON headline (headline_id);
CREATE INDEX posting_by_feature ON posting (feature);
CREATE INDEX feature_by_word ON feature (folded);
"""


class Tables:
    """`sql`, the index of the run in `folder`. The methods that read raise `DamagedRunError`."""

    def __init__(self, folder: Path, sql: sqlite3.Connection) -> None:
        self.folder, self.sql = folder, sql

    def parse(self, name: str, text: bytes, model: type[Model], place: str = "") -> Model:
        """Validate the record at `place`."""
        return parse_record(self.folder, name, text, model, place)

    def check(self, name: str, place: str, problems: Problems) -> None:
        """Raise the first problem of the record at `place`."""
        run_files.check(self.folder, name, place, problems)

    def about(self, name: str, value: Any) -> None:
        """Insert a row of `about`."""
        self.sql.execute("INSERT INTO about VALUES (?, ?)", (name, value))

    def vector(self, name: str, values: NDArray[Any]) -> None:
        """Insert a row of `vector`."""
        row = (name, values.dtype.str, np.ascontiguousarray(values).tobytes())
        self.sql.execute("INSERT INTO vector VALUES (?, ?, ?)", row)


class RunTables(Tables):
    """The index of a finished run, whose files are read to fill it.

    `advance` is told the number of bytes of each record that is read.
    """

    def __init__(
        self, folder: Path, metadata: RunMetadata, sql: sqlite3.Connection, advance: Callable[[int], None]
    ) -> None:
        super().__init__(folder, sql)
        self.metadata, self.advance = metadata, advance
        self.checksum = run_files.run_checksum(folder)
        self.left_out: dict[str, str] = {}  # what is wrong with a file that the run can do without, by its name

    def spans(self, name: str, key: str | None = None) -> Iterator[Span]:
        """The records of a file: its lines, or the rest of its object and then the records of the array `key`."""
        path = plain_file(self.folder, name)
        try:
            for span in json_lines(path) if key is None else json_records(path, key):
                self.advance(len(span.text))
                yield span
        except (RecordsError, OSError) as error:
            raise damaged(self.folder, name, "", str(error)) from error

    def sealed_spans(self, name: str, key: str) -> Iterator[Span]:
        """The records of a sealed file, which was added to the run: its object, then those of the array `key`."""
        try:
            check_sealed(self.folder / name, added_limit(self.metadata))
        except DamageError as error:
            raise damaged(self.folder, name, "", str(error)) from error
        spans = self.spans(name, key)
        yield Span(0, without_seal(next(spans).text))
        yield from spans

    def whole(self, name: str, model: type[Model], problems: Callable[[Model], Problems]) -> Model | None:
        """An optional file as a whole; None where the run has none, or a damaged one, which is left out."""
        if not self.has(name):
            return None
        with self.optional(name):
            if name in ADDED_BY:
                found = read_added(self.folder, name, model)
            else:
                found = read_listed(self.folder, name, self.known(name), model)
            if found is not None:
                self.check(name, "", problems(found))
            with suppress(OSError):  # deleted meanwhile
                self.advance((self.folder / name).lstat().st_size)
            return found
        return None

    def has(self, name: str) -> bool:
        """Whether the run has an optional file, or should have it."""
        return name in self.metadata.files or (self.folder / name).exists() or (self.folder / name).is_symlink()

    def known(self, name: str) -> FileSum:
        """What the metadata say of an optional file that the analysis wrote."""
        if name not in self.metadata.files:
            raise damaged(self.folder, name, "", f"is not among the files of {METADATA}")
        return self.metadata.files[name]

    @contextmanager
    def optional(self, name: str) -> Iterator[None]:
        """Go on without an optional file that is damaged. What is wrong is kept, with the verb that makes it anew."""
        try:
            yield
        except DamagedRunError as error:
            if name in ADDED_BY:
                cure = f"`{command(ADDED_BY[name])} --run {self.metadata.run_id}` makes it again"
            else:
                cure = f"`{command('analyze')}` makes a new run with it"
            self.left_out[name] = f"{error.what}; {cure}."
