"""The rows of a source as a study reads them: text, label as it is spelled, and the cells of other columns."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, NamedTuple

from sae_pipeline.errors import UserError
from sae_pipeline.headlines.columns import Columns
from sae_pipeline.headlines.labels import FoundLabels
from sae_pipeline.headlines.table_files import MAX_CHARACTERS, Row
from sae_pipeline.headlines.text import normalise
from sae_pipeline.schema.common import Cell
from sae_pipeline.schema.run import MAX_COLUMNS

MAX_CELL = 1_000  # code points kept of a cell beside text and label
_WHOLE, _DECIMAL = re.compile(r"-?(0|[1-9]\d{0,14})"), re.compile(r"-?(0|[1-9]\d{0,14})(\.\d{1,15})?")


class SourceRow(NamedTuple):
    """A row of a source."""

    text: str
    label: str  # its spelling, see `labels.spelling`; empty where there is none
    cells: dict[str, Cell]  # of the other columns


@dataclass
class SourceRows:
    """The rows of one source, and how many have no label."""

    rows: list[SourceRow] = field(default_factory=list)
    without_label: int = 0


def read_rows(table: Iterable[Row], columns: Columns, source: str, found: FoundLabels) -> SourceRows:
    """Read the rows of `source` and count their labels in `found`.

    An empty headline is kept, and its label is not read. A row without a label is left out, unless the table has no
    labels.
    Raises UserError for a text that cannot be stored and for a column that is missing in a row.
    """
    result = SourceRows()
    kept = columns.others[:MAX_COLUMNS]
    for where, row in table:
        headline, given = columns.cells(row, source, where)
        text = as_text(headline)
        check_text(text, f"{source}, {where}")
        label = ""
        if columns.label and normalise(text):
            label = found.add(given, text)
            if not label:
                result.without_label += 1
                continue
        result.rows.append(SourceRow(text, label, {name: _cell(row.get(name)) for name in kept}))
    return result


def as_text(value: Any) -> str:
    """The text of a cell, which is empty for an empty cell."""
    return "" if value is None or value != value else str(value)


def check_text(text: str, where: str) -> None:
    """Refuse a headline that is too long or cannot be written as UTF-8."""
    if len(text) > MAX_CHARACTERS:
        raise UserError(
            f"{where}: a headline of {len(text):,} characters (at most {MAX_CHARACTERS:,} are read); "
            "is a closing quote missing?"
        )
    if re.search(r"[\0\ud800-\udfff]", text):
        raise UserError(f"{where}: the headline holds a null byte or half a surrogate pair.")


def typed(cells: Sequence[Cell]) -> list[Cell]:
    """The cells of one column, as numbers where all of them are written as numbers."""
    texts = [cell for cell in cells if isinstance(cell, str)]
    for pattern, number in ((_WHOLE, int), (_DECIMAL, float)):
        if texts and all(pattern.fullmatch(text) for text in texts):
            return [number(cell) if isinstance(cell, str) else cell for cell in cells]
    return list(cells)


def _cell(value: Any) -> Cell:
    """The stored form of a cell: a number as it is, a date in ISO 8601, anything else as text."""
    if value is None or value != value or value == "":
        return None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value if abs(value) < 1e15 else str(value)
    text = value.isoformat() if isinstance(value, date) else str(value)
    text = re.sub(r"[\0\ud800-\udfff]", "\ufffd", text)
    return text if len(text) <= MAX_CELL else text[: MAX_CELL - 1] + "…"
