"""Rows of a table in a file: CSV, TSV, JSONL or Parquet, in any encoding that can be recognised."""

import csv
import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sae_pipeline.errors import UserError

Row = tuple[str, dict[str, Any]]
"""Where a row stands ("line 3"), for messages, and its cells by column."""

MAX_CHARACTERS = 2_000_000  # of one cell; a longer one most likely lacks its closing quote
_DELIMITERS = ",;\t|"
_HIGH_RUN = re.compile(rb"[\x80-\xff]{4,}")
_UTF8_SEQUENCE = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
_BOMS = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\0\0", "utf-32"),
    (b"\0\0\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)


def read_table(path: Path, notes: list[str]) -> Iterator[Row]:
    """Yield the rows of a file, whose ending names its format.

    What the user should know about how it was read is added to `notes`. Raises UserError for a file that cannot be
    read, at the latest when the bad row is reached.
    """
    reader = FORMATS.get(path.suffix.lower())
    if not path.exists():
        raise UserError(f"the file {path} does not exist.")
    if path.is_dir() or reader is None:
        raise UserError(f"{path} is no file that can be read here: CSV, TSV, JSONL or Parquet (by its ending).")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}.") from error
    if not data.strip():
        raise UserError(f"{path} is empty.")
    return reader(data, path.name, notes)


def _csv_rows(data: bytes, name: str, notes: list[str]) -> Iterator[Row]:
    text = _decode(data, name, notes)
    header = text.lstrip().split("\n", 1)[0]
    delimiter = "\t" if name.lower().endswith(".tsv") else max(_DELIMITERS, key=header.count)
    csv.field_size_limit(MAX_CHARACTERS + 1)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line = 0  # the last line of the previous row, as an editor counts
    try:
        reader.fieldnames  # noqa: B018 - reads the header
        line = reader.line_num
        for row in reader:
            where, line = f"line {line + 1}", reader.line_num
            surplus = row.pop(None, None)
            if surplus and any(cell.strip() for cell in surplus):
                raise UserError(f"{name}, {where}: more fields than columns; put quotes round the headline.")
            yield where, row
    except csv.Error as error:
        raise UserError(
            f"{name}, line {line + 1}: not a readable row ({error}); is a closing quote missing?"
        ) from error
    if reader.line_num == 1:
        raise UserError(f"{name} has no rows below its header.")


def _jsonl_rows(data: bytes, name: str, notes: list[str]) -> Iterator[Row]:
    # str.splitlines would also split at U+2028, which a headline may hold and which ends no line in JSON.
    for number, line in enumerate(_decode(data, name, notes).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{name}, line {number}: not valid JSON ({error}).") from error
        if not isinstance(row, dict):
            raise UserError(f"{name}, line {number}: not a JSON object (JSONL has one object per line).")
        yield f"line {number}", row


def _parquet_rows(data: bytes, name: str, notes: list[str]) -> Iterator[Row]:
    import pyarrow
    from pyarrow import parquet

    try:
        table = parquet.read_table(pyarrow.BufferReader(data))
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"{name} is not a readable Parquet file ({str(error).splitlines()[0]}).") from error
    if not table.num_rows:
        raise UserError(f"{name} is empty.")
    for number, row in enumerate(table.to_pylist()):
        yield f"row {number}", row


FORMATS: dict[str, Callable[[bytes, str, list[str]], Iterator[Row]]] = {
    ".csv": _csv_rows,
    ".tsv": _csv_rows,
    ".jsonl": _jsonl_rows,
    ".json": _jsonl_rows,
    ".parquet": _parquet_rows,
}


def _decode(data: bytes, name: str, notes: list[str]) -> str:
    """The text of a file in UTF-8, in UTF-16 or UTF-32 with a byte order mark, or plausibly in Windows-1252."""
    encoding = next((codec for mark, codec in _BOMS if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding != "utf-8" or not _plausible_cp1252(data):
            raise UserError(
                f"{name} is neither UTF-8 nor another encoding that can be told (byte {error.start:,} does not "
                f"fit {encoding.removesuffix('-sig')}); save it as UTF-8."
            ) from error
        notes.append(f"{name} is not UTF-8; it was read as Windows-1252.")
        return data.decode("cp1252")
    if "\0" in text:
        where = f"line {text[: text.index(chr(0))].count(chr(10)) + 1}"
        raise UserError(f"{name}, {where}: a null byte, so it is no text or UTF-16 without a mark; save it as UTF-8.")
    return text


def _plausible_cp1252(data: bytes) -> bool:
    """Whether bytes that are not UTF-8 look like Western text, whose accented letters stand alone.

    Long runs of high bytes are another alphabet. Bytes that mostly form UTF-8 sequences are damaged UTF-8.
    """
    high = sum(byte >= 0x80 for byte in data)
    in_utf8 = sum(map(len, _UTF8_SEQUENCE.findall(data)))
    try:
        data.decode("cp1252")
    except UnicodeDecodeError:
        return False
    return not _HIGH_RUN.search(data) and 2 * in_utf8 < high and b"\0" not in data
