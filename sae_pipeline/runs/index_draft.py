"""The index of a run that is being written: headlines are added while their records are written.

These records are not read again. When the run is whole, `build_index` adds what concerns features, from files whose
size does not depend on the number of headlines.
"""

import sqlite3
from collections import deque
from pathlib import Path

from sae_pipeline.errors import UserError
from sae_pipeline.runs.fit import RunShape
from sae_pipeline.runs.headline_tables import HeadlineTables
from sae_pipeline.runs.index_tables import SCHEMA, Tables
from sae_pipeline.runs.json_records import Span
from sae_pipeline.schema.common import PROMPTS

PARTIAL = ".index.partial"


def open_partial(path: Path) -> sqlite3.Connection:
    """A connection to an index that is being made."""
    connection = sqlite3.connect(path, isolation_level=None)
    # The file is used only when it is whole, so a journal would protect nothing.
    connection.executescript(
        "PRAGMA page_size = 8192; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -32768;"
    )
    return connection


def new_partial(path: Path) -> sqlite3.Connection:
    """A connection to a new index with empty tables."""
    path.unlink(missing_ok=True)
    connection = open_partial(path)
    connection.executescript(SCHEMA)
    return connection


class IndexDraft:
    """Fills the tables of headlines while a run is written into `folder`.

    It only saves time. Where it fails, the run goes on without it, and `build_index` makes the index from the run's
    files and says what is wrong.
    """

    def __init__(self, folder: Path, run: RunShape) -> None:
        self._path = folder / PARTIAL
        self._sql: sqlite3.Connection | None = None
        self._lines = deque[Span]()  # of prompts.jsonl whose headlines have no features yet
        self.headlines: HeadlineTables | None = None  # None where it has failed
        try:
            self._sql = new_partial(self._path)
            self._sql.execute("BEGIN")
            self.headlines = HeadlineTables(Tables(folder, self._sql), run)
        except (sqlite3.Error, OSError):
            self._give_up()

    def add(self, name: str, span: Span) -> None:
        """Add a record of `prompts.jsonl`, or the record of the same headline in `headline_features.json`."""
        if self.headlines is None:
            return
        if name == PROMPTS:
            self._lines.append(span)
            return
        try:
            self.headlines.add(self._lines.popleft(), span)
        except (sqlite3.Error, OSError, UserError, IndexError):
            self._give_up()

    def finish(self) -> None:
        """Write what concerns all headlines, when the last one has been added."""
        if self.headlines is None or self._sql is None:
            return
        try:
            self.headlines.fill()
            self._sql.execute("COMMIT")
            self._sql.close()
        except (sqlite3.Error, OSError):
            self._give_up()

    def close(self) -> None:
        """Close the connection. The file stays; it is removed with the run's draft if the run is not finished."""
        if self._sql is not None:
            self._sql.close()

    def _give_up(self) -> None:
        self.headlines = None
        self._lines.clear()
        self.close()
        self._path.unlink(missing_ok=True)
