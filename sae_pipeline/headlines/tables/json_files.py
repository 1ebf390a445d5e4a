"""JSON lines."""

import json
from collections.abc import Iterator, Sequence
from itertools import islice

from sae_pipeline.errors import UserError
from sae_pipeline.headlines.tables.encodings import encoding_name, encoding_of, lines
from sae_pipeline.headlines.tables.file_bytes import FileBytes
from sae_pipeline.headlines.tables.header import check_given
from sae_pipeline.headlines.tables.table import Row, Table, plain

_SAMPLE_ROWS = 1000  # whose keys are the columns


def json_table(source: FileBytes, columns: Sequence[str]) -> Table:
    """A file of JSON lines."""
    codec = encoding_of(source)

    def stream() -> Iterator[Row]:
        return _json_lines(source, codec)

    keys = tuple(dict.fromkeys(key for _, row in islice(stream(), _SAMPLE_ROWS) for key in row))
    check_given(columns, keys, source.name)
    return Table(path=source.path, format="JSON lines", columns=keys, stream=stream, encoding=encoding_name(codec))


def _json_lines(source: FileBytes, codec: str) -> Iterator[Row]:
    for number, line in enumerate(lines(source, codec), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{source.name}, line {number}: not valid JSON ({error}).") from error
        if not isinstance(row, dict):
            raise UserError(f"{source.name}, line {number}: not a JSON object (JSONL has one object per line).")
        yield f"line {number}", {key.strip(): plain(value) for key, value in row.items()}
