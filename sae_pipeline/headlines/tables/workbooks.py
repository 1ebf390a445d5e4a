"""Excel workbooks (.xlsx): the first sheet."""

import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

from sae_pipeline.errors import UserError
from sae_pipeline.headlines.tables.file_bytes import FileBytes
from sae_pipeline.headlines.tables.header import header_of
from sae_pipeline.headlines.tables.table import Row, Table, column_names, plain

OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"  # how .xls files and encrypted workbooks begin
MAX_UNPACKED = 1_000_000_000  # bytes; Excel's limit of 1,048,576 rows keeps honest workbooks below it
_SAMPLE_ROWS = 500  # from which the header is told
_PACKAGE = "EncryptedPackage".encode("utf-16-le")  # the stream that holds an encrypted workbook

Record = tuple[int, list[Any]]
"""The number of a row that is not empty, 1-based, and its cells up to the last one that is not empty."""


def workbook_table(source: FileBytes, columns: Sequence[str]) -> Table:
    """A workbook; `columns` names the columns of a sheet without a header."""
    _check_size(source)
    with _opened(source) as workbook:
        sheets = workbook.sheetnames
        sample = [cells for _, cells in islice(_records(workbook), _SAMPLE_ROWS)]
    if not sample:
        raise UserError(f"{source.name} is empty: its first sheet has no cells.")
    width = max(map(len, sample))
    as_text = [["" if cell is None else str(cell) for cell in cells] for cells in sample]
    as_text[0] += [""] * (width - len(as_text[0]))
    header = header_of(as_text, columns, source.name)
    names, notes = column_names(header.names, source.name)
    if len(sheets) > 1:
        notes.insert(0, f"{source.name} has {len(sheets)} sheets; the first one was read, {sheets[0]!r}.")

    def dated() -> Iterator[Row]:
        empty = True
        with _opened(source) as workbook:
            for number, cells in islice(_records(workbook), int(header.first_row), None):
                empty = False
                if len(cells) > width:
                    raise UserError(f"{source.name}, row {number}: a cell to the right of the last column.")
                cells += [None] * (width - len(cells))
                yield f"row {number}", {name: cell for name, cell in zip(names, cells, strict=True) if name}
        if empty:
            raise UserError(f"{source.name} has no rows below its header.")

    def stream() -> Iterator[Row]:
        return ((where, {name: plain(cell) for name, cell in row.items()}) for where, row in dated())

    return Table(
        path=source.path,
        format="Excel",
        columns=tuple(name for name in names if name),
        stream=stream,
        notes=(*header.notes, *notes),
        dated_stream=dated,
    )


def ole_error(source: FileBytes) -> UserError:
    """The error for a file that begins like OLE: a workbook with a password, or one of the format before 2007."""
    with source.open() as stream:
        tail = b""
        while chunk := stream.read(1 << 20):
            if _PACKAGE in tail + chunk:
                return UserError(f"{source.name} is protected by a password; save a copy without one.")
            tail = chunk[-len(_PACKAGE) :]
    return UserError(f"{source.name} is an Office file of the old format (.xls); save it as .xlsx or CSV.")


def _check_size(source: FileBytes) -> None:
    """Refuse a workbook that unpacks to more than the memory may hold; a .zip member is never longer than it says."""
    try:
        with zipfile.ZipFile(source.path) as archive:
            n_bytes = sum(info.file_size for info in archive.infolist())
    except zipfile.BadZipFile as error:
        raise _unreadable(source, error) from error
    if n_bytes > MAX_UNPACKED:
        raise UserError(f"{source.name} unpacks to {n_bytes:,} bytes (at most {MAX_UNPACKED:,}); save it as CSV.")


@contextmanager
def _opened(source: FileBytes) -> Iterator[Any]:
    """Open a workbook without loading its rows. Raises UserError, also while it is read, when it is damaged."""
    import openpyxl

    with source.open() as file:
        try:
            workbook = openpyxl.load_workbook(file, read_only=True, data_only=True)
            try:
                yield workbook
            finally:
                workbook.close()
        except UserError:
            raise
        except Exception as error:  # damaged XML ends in errors of many kinds
            raise _unreadable(source, error) from error


def _records(workbook: Any) -> Iterator[Record]:
    sheet = workbook.worksheets[0]
    sheet.reset_dimensions()  # as other programs write them, they are often wrong
    for number, row in enumerate(sheet.iter_rows(values_only=True), start=1):
        cells = list(row)
        while cells and (cells[-1] is None or cells[-1] == ""):
            cells.pop()
        if cells:
            yield number, cells


def _unreadable(source: FileBytes, error: Exception) -> UserError:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return UserError(f"{source.name} is not a readable Excel workbook ({reason}); save it again or as CSV.")
