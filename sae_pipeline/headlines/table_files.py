"""Tables in files: the format is recognised, and the rows are streamed."""

from collections.abc import Callable, Sequence
from pathlib import Path

from sae_pipeline.errors import UserError
from sae_pipeline.headlines.tables.arrow_files import PARQUET, is_saved, parquet_table, saved_table
from sae_pipeline.headlines.tables.delimited import delimited_table
from sae_pipeline.headlines.tables.file_bytes import ZIP, FileBytes, unpacked
from sae_pipeline.headlines.tables.json_files import json_lines_table, json_table
from sae_pipeline.headlines.tables.table import MAX_CHARACTERS, Row, Table
from sae_pipeline.headlines.tables.workbooks import OLE, ole_error, workbook_table

__all__ = ["FORMATS", "MAX_CHARACTERS", "Row", "Table", "open_table"]

_Reader = Callable[[FileBytes, Sequence[str]], Table]
_BY_ENDING: dict[str, _Reader] = {
    ".csv": delimited_table,
    ".tsv": delimited_table,
    ".txt": delimited_table,
    ".jsonl": json_lines_table,
    ".ndjson": json_lines_table,
    ".json": json_table,
    ".parquet": parquet_table,
    ".xlsx": workbook_table,
}
_BY_BEGINNING: dict[bytes, _Reader] = {PARQUET: parquet_table, ZIP: workbook_table}  # under any name
FORMATS = frozenset({*_BY_ENDING, ".xls", ".gz", ".zip"})
"""The endings by which a file that does not exist is told from a data set on the hub."""


def open_table(path: Path, columns: Sequence[str] = ()) -> Table:
    """Recognise the table in a file or a folder; `columns` names the columns of a file without a header.

    Raises UserError for a file that cannot be read, in one sentence that says what to do.
    """
    if not path.exists():
        raise UserError(f"the file {path} does not exist.")
    if path.is_dir() and is_saved(path):
        return saved_table(path, columns)
    source = unpacked(path) if path.is_file() else FileBytes(path)
    reader = _BY_ENDING.get(source.ending)
    if path.is_file() and (head := source.head(len(OLE))) == OLE:
        raise ole_error(source)
    if not path.is_file() or reader is None:
        raise UserError(
            f"{path} is no file that can be read here: CSV, TSV, TXT, JSON, Parquet or .xlsx (by its ending), also "
            "as .gz or .zip, or a folder saved by datasets."
        )
    if not head:
        raise UserError(f"{path} is empty.")
    reader = _BY_BEGINNING.get(head[:4], reader)
    if source.packed and reader in (parquet_table, workbook_table):
        raise UserError(f"{path.name} holds no text; unpack it, as Parquet and Excel are not read from .gz and .zip.")
    return reader(source, columns)
