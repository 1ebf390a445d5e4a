"""A table: its columns, what a user should know about how it was read, and a stream of its rows."""

import datetime
import decimal
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sae_pipeline.errors import UserError

Row = tuple[str, dict[str, Any]]
"""Where a row stands ("line 3"), for messages, and its cells by column."""

MAX_CHARACTERS = 2_000_000  # of one cell; a longer one most likely lacks its closing quote
_UNNAMED = re.compile(r"(Unnamed: \d+|__index_level_\d+__)?")  # names that pandas gives to an index


@dataclass(frozen=True)
class Table:
    """A table in a file or a folder. Its rows are read again at each call of `rows`."""

    path: Path
    format: str  # "CSV", "JSON lines", "Parquet", "Excel" …
    columns: tuple[str, ...]  # as written, without white space around; columns without a name are left out
    stream: Callable[[], Iterator[Row]] = field(repr=False, compare=False)
    encoding: str | None = None  # of text files
    delimiter: str | None = None  # of CSV and TSV
    notes: tuple[str, ...] = ()  # what a user should know about how it was read
    dated_stream: Callable[[], Iterator[Row]] | None = field(default=None, repr=False, compare=False)
    arrow_stream: Callable[[], Iterator[Any]] | None = field(default=None, repr=False, compare=False)

    def rows(self) -> Iterator[Row]:
        """Yield the rows from the first one on. Raises UserError when a bad row is reached."""
        return self.stream()

    def dated_rows(self) -> Iterator[Row]:
        """Yield the rows like `rows`, with dates and times as such where the format has them."""
        return (self.dated_stream or self.stream)()

    def arrow_batches(self) -> Iterator[Any] | None:
        """Yield the rows as small `pyarrow.Table`s with the types of the file; None for formats without such types."""
        return self.arrow_stream() if self.arrow_stream else None


def column_names(header: Sequence[str], name: str) -> tuple[list[str | None], list[str]]:
    """The names of the columns of the table `name`, None for those without one, and notes about the latter.

    Raises UserError when two columns have the same name.
    """
    stripped = [cell.strip() for cell in header]
    names = [None if _UNNAMED.fullmatch(cell) else cell for cell in stripped]
    if twice := next((cell for n, cell in enumerate(names) if cell and cell in names[:n]), None):
        raise UserError(f"{name} has two columns named {twice!r}; give one of them another name.")
    unnamed = [str(number) for number, cell in enumerate(names, start=1) if cell is None]
    if unnamed == ["1"]:
        return names, [f"{name}: the first column has no name, so it was taken for an index and left out."]
    if unnamed:
        return names, [f"{name}: columns without a name were left out ({', '.join(unnamed)})."]
    return names, []


def plain(value: Any) -> Any:
    """A cell of a typed format as text, number, bool or None; lists and objects stay as they are.

    Dates become ISO text, without a time when it is midnight. NaN becomes None, as it marks a missing value. Bytes that
    are UTF-8 become text; other bytes stay, and `Columns.cells` refuses them as a headline or a label.
    """
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value
    if isinstance(value, datetime.datetime) and value.time() == datetime.time():
        return value.date().isoformat()
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return float(value)
    if isinstance(value, float) and math.isnan(value):
        return None
    return value
