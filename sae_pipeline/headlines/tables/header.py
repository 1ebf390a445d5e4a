"""The header of a table: the names of its columns in the first row, or names for columns without them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sae_pipeline.errors import UserError
from sae_pipeline.headlines.columns import is_usual

_LABELS = {"positive", "negative", "neutral", "bearish", "bullish"}
_NUMBER = re.compile(r"[-+]?\d+(\.\d+)?")
_KNOWN_LABEL = re.compile(rf"-?\d(\.0)?|label_\d|{'|'.join(sorted(_LABELS))}", re.IGNORECASE)
_WORDS_OF_A_HEADLINE = 4  # fewer in the only column of a table may well be its name


@dataclass(frozen=True)
class Header:
    """The names of the columns, and whether the first row holds them."""

    names: list[str]
    first_row: bool
    notes: list[str]


def header_of(sample: Sequence[Sequence[str]], columns: Sequence[str], name: str) -> Header:
    """The header of the table `name`, whose first rows are `sample`; `columns` are the names that the user gives.

    Raises UserError when names are given for a table that has other ones, and when their number is wrong.
    """
    first = [cell.strip() for cell in sample[0]]
    if columns:
        is_header = any(is_usual(cell) for cell in first)
        check_given(columns, first if is_header else None, name)
        if len(columns) != len(first):
            raise UserError(f"--columns names {len(columns)} columns, but {name} has {len(first)}.")
        return Header(list(columns), is_header, [])
    numbered = len(sample) > 1 and _is_numbered(first)
    if not numbered and _is_header(first, sample[1:]):
        return Header(first, True, [])
    names, n_labels = _guessed_names(sample[numbered:])
    if numbered:
        names = [cell and guess for cell, guess in zip(first, names, strict=True)]  # the index stays without a name
    lack = "has numbers for names of columns" if numbered else "has no header"
    taken = ", ".join(filter(None, names))
    note = f"{name} {lack}; its columns were taken as {taken}, and --columns names them otherwise."
    unclear = " More than one of them may hold the label, so name it by --columns." if n_labels > 1 else ""
    return Header(names, numbered, [note + unclear])


def check_given(columns: Sequence[str], names: Sequence[str] | None, name: str) -> None:
    """Refuse names given by the user for a table that has other `names`; None stands for a table without names."""
    if columns and names is not None and [c.lower() for c in columns] != [n.lower() for n in names]:
        raise UserError(
            f"--columns names the columns of a file without a header, but {name} has its own: {', '.join(names)}."
        )


def _is_numbered(first: Sequence[str]) -> bool:
    """Whether the first row counts the columns from 0, as pandas writes them; its index has no name."""
    numbers = first[1:] if not first[0] else first
    return len(numbers) > 1 and list(numbers) == [str(n) for n in range(len(numbers))]


def _is_header(first: Sequence[str], below: Sequence[Sequence[str]]) -> bool:
    """Whether the first row may hold names: a number, a label, or a value that its column has again is no name."""
    if any(is_usual(cell) for cell in first):
        return True
    if len(first) == 1:
        return len(first[0].split()) < _WORDS_OF_A_HEADLINE
    for number, cell in enumerate(first):
        repeated = any(number < len(row) and row[number].strip() == cell for row in below)
        if cell and (repeated or _NUMBER.fullmatch(cell) or cell.lower() in _LABELS):
            return False
    return True


def _guessed_names(sample: Sequence[Sequence[str]]) -> tuple[list[str], int]:
    """Call the column with the longest cells `text`, and another one `label`: the names, and how many may be the label.

    It is the only one with labels that are known, or else the only one whose values come again.
    """
    width = len(sample[0])
    cells = [[row[n].strip() for row in sample if n < len(row)] for n in range(width)]
    text = max(range(width), key=lambda n: sum(map(len, cells[n])))
    different = {n: len(set(cells[n])) for n in range(width) if n != text}
    again = [n for n, count in different.items() if width == 2 or 2 <= count <= len(sample) / 2]
    known = [n for n in again if all(_KNOWN_LABEL.fullmatch(cell) for cell in cells[n] if cell)]
    labels = known or again
    names = [f"column {n}" for n in range(1, width + 1)]
    names[text] = "text"
    if len(labels) == 1:
        names[labels[0]] = "label"
    return names, len(labels)
