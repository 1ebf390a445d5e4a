"""Rows of a source, with their columns chosen and their labels understood."""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from sae_pipeline.config import LABELS, HeadlinesConfig
from sae_pipeline.errors import UserError
from sae_pipeline.headlines.table_files import MAX_CHARACTERS, Row
from sae_pipeline.headlines.text import normalise

Labelled = tuple[str, int]
"""A headline's text as written, and its label: an index into LABELS."""


def known_labels(label_map: str | None) -> dict[str, int]:
    """The label behind each known spelling: the names of LABELS, their numbers, and what the user's map adds.

    A map that names numbers replaces our numbering. Raises UserError for a map that cannot be read.
    """
    names = {name.lower(): index for index, name in enumerate(LABELS)}
    given: dict[str, int] = {}
    for pair in label_map.split(",") if label_map else ():
        name, _, target = (part.strip() for part in pair.rpartition("="))
        if not name or target.lower() not in names:
            raise UserError(
                f"the label map {label_map!r} has {pair!r}, which is not NAME=LABEL with LABEL one of "
                f"{', '.join(LABELS)}."
            )
        label = names[target.lower()]
        if given.setdefault(_spelling(name), label) != label:
            raise UserError(f"the label map {label_map!r} gives {name!r} two meanings.")
    if any(re.fullmatch(r"-?\d+", name) for name in given):
        # A number that the map leaves out must not keep a meaning that the user's numbering does not have.
        return names | given
    return names | {str(index): index for index in range(len(LABELS))} | given


def labelled_rows(
    rows: Iterable[Row], config: HeadlinesConfig, known: dict[str, int], source: str
) -> Iterator[Labelled]:
    """Yield text and label of every row of `source`; an empty headline has label 0, as its own is not read.

    Raises UserError for a row without the columns, with text that cannot be stored, or with a label not in `known`.
    """
    for where, row in rows:
        for column, flag in ((config.text_column, "--text-column"), (config.label_column, "--label-column")):
            if column not in row:
                found = ", ".join(str(key) for key in row if key)
                raise UserError(
                    f"{source} has no column {column!r} but {found or 'none'} ({where}); name it by {flag}."
                )
        value = row[config.text_column]
        text = "" if value is None else str(value)
        _check_text(text, f"{source}, {where}")
        if not normalise(text):
            yield text, 0
            continue
        label = known.get(_spelling(row[config.label_column]))
        if label is None:
            raise UserError(
                f"{source}, {where}: unknown label {str(row[config.label_column])[:40]!r}; known are "
                f"{', '.join(known)}, others are named by --label-map, e.g. negative=Bearish."
            )
        yield text, label


def _spelling(label: Any) -> str:
    """One spelling for 1, 1.0, "1" and "1.0", and one for "Bullish" and " bullish "."""
    text = str(label).strip().lower()
    return text[:-2] if re.fullmatch(r"-?\d+\.0", text) else text


def _check_text(text: str, where: str) -> None:
    """Refuse a headline that is too long or cannot be written as UTF-8."""
    if len(text) > MAX_CHARACTERS:
        raise UserError(
            f"{where}: a headline of {len(text):,} characters (at most {MAX_CHARACTERS:,} are read); "
            "is a closing quote missing?"
        )
    if re.search(r"[\0\ud800-\udfff]", text):
        raise UserError(f"{where}: the headline holds a null byte or half a surrogate pair.")
