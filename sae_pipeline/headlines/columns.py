"""The columns of a table that hold the headline and the label."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sae_pipeline.errors import UserError
from sae_pipeline.headlines.text import shortened

TEXT_NAMES = (
    "text", "sentence", "headline", "title", "tweet", "news", "news data", "news headline", "content", "body",
    "review", "comment", "message", "post", "document", "article",
)  # fmt: skip
LABEL_NAMES = ("label", "labels", "sentiment", "class", "target", "category", "stance", "polarity", "rating")
"""Usual names of columns, in order of preference; case, white space around, _ and - do not matter."""

_SHOWN = 20  # names of columns in a message


_NO_TEXT: dict[type, str] = {dict: "an object", list: "a list", bytes: "binary and not UTF-8"}


@dataclass(frozen=True)
class Columns:
    """The columns of a table by what they hold."""

    text: str
    label: str | None  # None for a table without labels
    others: tuple[str, ...]
    notes: tuple[str, ...]  # what was found, where that is not exactly `text` and `label`

    def cells(self, row: Mapping[str, Any], source: str, where: str) -> tuple[Any, Any]:
        """The headline and the label of a row of `source`; the label is None where there is none.

        Raises UserError where the row lacks the headline, and where one of the two is neither text nor a number.
        """
        if self.text not in row:
            raise UserError(f"{source}, {where}: the row has no {self.text!r}.")
        text, label = row[self.text], row.get(self.label) if self.label else None
        for column, cell in ((self.text, text), (self.label, label)):
            kind = next((kind for types, kind in _NO_TEXT.items() if isinstance(cell, types)), None)
            if kind:
                raise UserError(f"{source}: {column} is {kind} in {where}; it must be text or a number.")
        if isinstance(label, str) and re.search(r"[\ud800-\udfff]", label):
            raise UserError(f"{source}, {where}: the label holds half a surrogate pair.")
        return text, label


def find_columns(
    columns: Sequence[str],
    source: str,
    text_column: str | None = None,
    label_column: str | None = None,
    need_label: bool = True,
) -> Columns:
    """Find the headline and the label among the columns of `source`: those named by the user, or usual names.

    An empty `label_column` says that no column holds labels. Raises UserError when a column is missing. A label that is
    missing is accepted if `need_label` is false and the user has not named its column.
    """
    text = _named(columns, text_column) if text_column else _usual(columns, TEXT_NAMES)
    if text is None:
        raise _missing(source, text_column or "text", columns, "--text-column")
    rest = [column for column in columns if column != text]
    if label_column == "":
        if need_label:
            raise UserError(f"{source} needs labels for this command; name their column by --label-column.")
        label = None
    else:
        label = _named(columns, label_column) if label_column else _usual(rest, LABEL_NAMES)
    if label is None and (need_label or label_column):
        raise _missing(source, label_column or "label", columns, "--label-column")
    others = tuple(column for column in columns if column not in (text, label))
    return Columns(text, label, others, tuple(_notes(source, text, label, text_column, label_column)))


def is_usual(column: str) -> bool:
    """Whether a name is a usual one of a headline's or label's column."""
    return _folded(column) in (*TEXT_NAMES, *LABEL_NAMES)


def _folded(column: str) -> str:
    return re.sub(r"[\s_-]+", " ", column.strip().lower())


def _named(columns: Sequence[str], wanted: str) -> str | None:
    """The column with this name, or else with this name in another case."""
    if wanted in columns:
        return wanted
    return next((column for column in columns if _folded(column) == _folded(wanted)), None)


def _usual(columns: Sequence[str], names: Sequence[str]) -> str | None:
    """The column with the most preferred of the usual names."""
    return next((column for name in names if (column := _named(columns, name)) is not None), None)


def _missing(source: str, wanted: str, columns: Sequence[str], flag: str) -> UserError:
    names = ", ".join(shortened(column, 40) for column in columns[:_SHOWN]) or "none"
    more = f" and {len(columns) - _SHOWN} more" if len(columns) > _SHOWN else ""
    return UserError(f"{source} has no column {wanted!r} but {names}{more}; name it by {flag}.")


def _notes(source: str, text: str, label: str | None, text_column: str | None, label_column: str | None) -> list[str]:
    """One sentence about columns that were found by another name than the one they were looked for by."""
    found = []
    if text != (text_column or "text"):
        found.append(f"the headlines are in column {text!r}")
    if label is not None and label != (label_column or "label"):
        found.append(f"the labels are in column {label!r}")
    return [f"{source}: {' and '.join(found)}."] if found else []
