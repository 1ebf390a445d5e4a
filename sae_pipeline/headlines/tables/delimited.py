"""Text files with a row in each line: CSV, TSV, the `sentence@label` of the Financial PhraseBank, and plain lines."""

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice, zip_longest

from sae_pipeline.errors import UserError
from sae_pipeline.headlines.tables.encodings import encoding_name, encoding_of, lines
from sae_pipeline.headlines.tables.file_bytes import FileBytes
from sae_pipeline.headlines.tables.header import check_given, header_of
from sae_pipeline.headlines.tables.table import MAX_CHARACTERS, Row, Table, column_names

Record = tuple[str, list[str]]
"""Where a record stands, and its cells."""

_DELIMITERS = ",;\t|"
_SAMPLE_ROWS, _SAMPLE_CHARACTERS = 500, 1_000_000  # what delimiter and header are told from
_PHRASE = re.compile(r"(.*\S)\s*@\s*(\w[\w -]{0,40})")


def delimited_table(source: FileBytes, columns: Sequence[str]) -> Table:
    """A text file with a row in each line; `columns` names the columns of one without a header."""
    csv.field_size_limit(MAX_CHARACTERS + 1)
    codec = encoding_of(source)
    sample = list(_sample(lines(source, codec)))
    if source.ending == ".txt" and all(_PHRASE.fullmatch(line.strip()) for line in sample):
        return _lines_table(source, codec, _phrase, ("text", "label"), columns)
    delimiter = _delimiter(sample, source.ending)
    if delimiter is None:
        return _lines_table(source, codec, _whole_line, ("text",), columns)
    quoted = delimiter != "\t" or not _has_plain_quotes(sample)

    def records() -> Iterator[Record]:
        return _csv_records(source, codec, delimiter, quoted)

    first = [cells for _, cells in islice(records(), len(sample))]
    header = header_of(first, columns, source.name)
    names, notes = column_names(header.names, source.name)
    width = _width(first[header.first_row :], len(names))

    def stream() -> Iterator[Row]:
        empty = True
        for where, cells in islice(records(), int(header.first_row), None):
            empty = False
            if len(cells) > width or any(cell.strip() for cell in cells[len(names) :]):
                raise UserError(f"{source.name}, {where}: more fields than columns; put quotes round the headline.")
            yield where, {name: cell for name, cell in zip_longest(names, cells[: len(names)]) if name}
        if empty:
            raise UserError(f"{source.name} has no rows below its header.")

    return Table(
        path=source.path,
        format="TSV" if delimiter == "\t" else "CSV",
        columns=tuple(name for name in names if name),
        stream=stream,
        encoding=encoding_name(codec),
        delimiter=delimiter,
        notes=(*_encoding_notes(source, codec), *([] if quoted else [_as_written(source)]), *header.notes, *notes),
    )


def _width(rows: Sequence[Sequence[str]], n_columns: int) -> int:
    """The most cells a row may have: more than columns where all rows end in the same number of blank ones."""
    widths = {len(row) for row in rows}
    blank = not any(cell.strip() for row in rows for cell in row[n_columns:])
    return max(n_columns, *widths) if blank and len(widths) == 1 else n_columns


def _lines_table(
    source: FileBytes,
    codec: str,
    split: Callable[[str], tuple[str, ...] | None],
    names: tuple[str, ...],
    columns: Sequence[str],
) -> Table:
    """A .txt file without a delimiter; `split` makes the cells of a line, or None of a line that has none."""
    check_given(columns, names, source.name)

    def stream() -> Iterator[Row]:
        for number, line in enumerate(map(str.strip, lines(source, codec)), start=1):
            if not line:
                continue
            cells = split(line)
            if cells is None:
                raise UserError(f"{source.name}, line {number}: no @label at the end, as other lines have.")
            yield f"line {number}", dict(zip(names, cells, strict=True))

    return Table(
        path=source.path,
        format="sentence@label" if len(names) > 1 else "plain lines",
        columns=names,
        stream=stream,
        encoding=encoding_name(codec),
        notes=tuple(_encoding_notes(source, codec)),
    )


def _phrase(line: str) -> tuple[str, ...] | None:
    match = _PHRASE.fullmatch(line)
    return match and match.groups()


def _whole_line(line: str) -> tuple[str, ...]:
    return (line,)


def _encoding_notes(source: FileBytes, codec: str) -> list[str]:
    return [f"{source.name} is not UTF-8; it was read as Windows-1252."] if codec == "cp1252" else []


def _as_written(source: FileBytes) -> str:
    return f"{source.name} has quotes that enclose no cell, so all quotes were taken as written."


def _csv_records(source: FileBytes, codec: str, delimiter: str, quoted: bool) -> Iterator[Record]:
    """Yield the records of a CSV file that are not empty. Raises UserError at the first one that cannot be read."""
    reader = csv.reader(
        lines(source, codec),
        delimiter=delimiter,
        quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
        strict=True,
    )
    line = 0  # the last line of the previous record, as an editor counts
    try:
        for cells in reader:
            where, line = f"line {line + 1}", reader.line_num
            if len(cells) > 1 or any(map(str.strip, cells)):
                yield where, cells
    except csv.Error as error:
        raise UserError(
            f"{source.name}, line {line + 1}: not a readable row ({error}); is a closing quote missing?"
        ) from error


def _sample(text_lines: Iterable[str]) -> Iterator[str]:
    """The first lines that are not empty."""
    n_characters = 0
    for line in islice(filter(str.strip, text_lines), _SAMPLE_ROWS):
        yield line
        n_characters += len(line)
        if n_characters > _SAMPLE_CHARACTERS:
            return


def _delimiter(sample: Sequence[str], ending: str) -> str | None:
    """The delimiter of a CSV file by its first lines; None for a .txt file that is no CSV.

    Among the delimiters that the first row has, the one is taken that gives most rows the same number of fields.
    """
    if ending == ".tsv":
        return "\t"
    fits = {delimiter: _fit(sample, delimiter) for delimiter in _DELIMITERS}
    best = max(_DELIMITERS, key=fits.__getitem__)
    if ending == ".txt" and fits[best] < (1,):
        return None
    return best if fits[best] > (0,) else ","


def _has_plain_quotes(sample: Sequence[str]) -> bool:
    """Whether quotes in a TSV file are part of the text: each line is a row, and as CSV they cannot be read."""
    tabs = {line.count("\t") for line in sample}
    if len(tabs) > 1 or tabs == {0}:
        return False
    try:
        list(csv.reader(sample, delimiter="\t", strict=True))
    except csv.Error:
        return True
    return False


def _fit(sample: Sequence[str], delimiter: str) -> tuple[float, ...]:
    """How well a delimiter fits: the share of rows as long as the first, fields without a space in front, fields."""
    try:
        rows = list(csv.reader(sample, delimiter=delimiter))
    except csv.Error:
        return (0,)
    n_fields = len(rows[0])
    if n_fields == 1:
        return (0,)
    alike = sum(len(row) == n_fields for row in rows) / len(rows)
    spaced = sum(cell.startswith(" ") for row in rows for cell in row[1:]) / len(rows)
    return alike, -spaced, n_fields
