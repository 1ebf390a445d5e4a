"""Tables in files: the format is recognised, and the rows are streamed."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from sae_pipeline.errors import UserError
from sae_pipeline.headlines.tables.arrow_files import PARQUET, parquet_table
from sae_pipeline.headlines.tables.delimited import delimited_table
from sae_pipeline.headlines.tables.file_bytes import FileBytes, unpacked
from sae_pipeline.headlines.tables.json_files import json_table
from sae_pipeline.headlines.tables.table import MAX_CHARACTERS, Row, Table

__all__ = ["FORMATS", "MAX_CHARACTERS", "Row", "Table", "open_table", "read_table"]

FORMATS: dict[str, Callable[[FileBytes, Sequence[str]], Table]] = {
    ".csv": delimited_table,
    ".tsv": delimited_table,
    ".txt": delimited_table,
    ".jsonl": json_table,
    ".ndjson": json_table,
    ".json": json_table,
    ".parquet": parquet_table,
}
"""The reader of each ending. A file that begins like a Parquet file is read as one under any name."""


def open_table(path: Path, columns: Sequence[str] = ()) -> Table:
    """Recognise the table in a file; `columns` names the columns of a file without a header.

    Raises UserError for a file that cannot be read, in one sentence that says what to do.
    """
    if not path.exists():
        raise UserError(f"the file {path} does not exist.")
    source = FileBytes(path) if path.is_dir() else unpacked(path)
    reader = FORMATS.get(source.ending)
    if path.is_dir() or reader is None:
        raise UserError(f"{path} is no file that can be read here: CSV, TSV, JSONL or Parquet (by its ending).")
    if not source.head(1):
        raise UserError(f"{path} is empty.")
    return (parquet_table if source.head(4) == PARQUET else reader)(source, columns)


def read_table(path: Path, notes: list[str]) -> Iterator[Row]:
    """Yield the rows of a file and add to `notes` what a user should know about how it was read."""
    table = open_table(path)
    notes += table.notes
    return table.rows()
