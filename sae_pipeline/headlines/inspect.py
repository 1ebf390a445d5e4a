"""Inspection of a table: its format, columns, labels, counts and lengths. No file is written."""

import hashlib
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sae_pipeline.config import HeadlinesConfig
from sae_pipeline.errors import UserError
from sae_pipeline.headlines.columns import Columns, find_columns
from sae_pipeline.headlines.labels import FoundLabels, spelling, understand
from sae_pipeline.headlines.rows import as_text, check_text
from sae_pipeline.headlines.table_files import Table, open_table
from sae_pipeline.headlines.text import normalise, shortened

MAX_KEYS = 2_000_000  # different headlines among which duplicates are looked for; their hashes take about 160 MB
MAX_LABELS = 1_000  # different labels that are counted
_FIRST_ROWS = 5
_SHOWN_LABELS = 20  # where their meaning is not known
_WIDTH = 100  # characters shown of a headline


@dataclass
class Lengths:
    """How many headlines have each length."""

    counts: Counter[int] = field(default_factory=Counter)

    def quantile(self, share: float) -> int:
        """The smallest length that at least this share of the headlines does not exceed."""
        needed, seen = share * self.counts.total(), 0
        for length in sorted(self.counts):
            seen += self.counts[length]
            if seen >= needed:
                return length
        return 0

    def line(self) -> str:
        """Median, 95 % and longest."""
        median, high, longest = (f"{self.quantile(share):,}" for share in (0.5, 0.95, 1))
        return f"median {median}, 95 % up to {high}, longest {longest}"


@dataclass
class Inspection:
    """A table as it was understood, as far as it could be read."""

    table: Table
    columns: Columns | None = None  # None where no column of headlines was found
    whole: bool = False  # whether all rows could be read; the counts are shown only then
    rows: int = 0
    empty: int = 0  # headlines without a word, or with links alone
    without_label: int = 0
    duplicates: int = 0  # later copies of a headline, of the first MAX_KEYS different ones
    labels: FoundLabels = field(default_factory=FoundLabels)
    more_labels: int = 0  # rows whose label is beyond the first MAX_LABELS different ones
    meanings: list[str] = field(default_factory=list)  # what each label means, a line for each
    characters: Lengths = field(default_factory=Lengths)
    words: Lengths = field(default_factory=Lengths)
    first: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    problem: str | None = None  # the sentence with which reading it as headlines ends

    def lines(self) -> list[str]:
        """Everything that was understood, one line for each fact."""
        table = self.table
        text_format = [f"encoding    {table.encoding}"] if table.encoding else []
        text_format += [f"delimiter   {_NAMES_OF_DELIMITERS[table.delimiter]}"] if table.delimiter else []
        lines = [
            f"table       {table.path.name}: {table.format}",
            *text_format,
            f"columns     {', '.join(map(self._column, table.columns))}",
            *(f"note        {note}" for note in (*table.notes, *(self.columns.notes if self.columns else ()))),
            *self._counts(),
            *(f"label       {line}" for line in self.meanings),
            *(f"{where:<11} {self._shown(row)}".rstrip() for where, row in self.first),
        ]
        return [re.sub(r"[\ud800-\udfff]", "\ufffd", line) for line in lines]  # half surrogates cannot be printed

    def _column(self, name: str) -> str:
        roles = {self.columns.label: " (label)", self.columns.text: " (headline)"} if self.columns else {}
        return name + roles.get(name, "")

    def _counts(self) -> list[str]:
        if self.columns is None or not self.whole:
            return []
        without = f", {self.without_label:,} without a label" if self.columns.label else ""
        different = self.characters.counts.total() - self.duplicates
        among = f" (among the first {MAX_KEYS:,} different headlines)" if different > MAX_KEYS else ""
        return [
            f"rows        {self.rows:,}, of these {self.empty:,} with an empty headline{without}",
            f"duplicates  {self.duplicates:,}{among}",
            f"characters  {self.characters.line()}",
            f"words       {self.words.line()}",
        ]

    def _shown(self, row: dict[str, Any]) -> str:
        if self.columns is None:
            return shortened(" | ".join(as_text(cell) for cell in row.values()), _WIDTH)
        label = f"[{shortened(as_text(row.get(self.columns.label)), 30)}] " if self.columns.label else ""
        return label + shortened(as_text(row.get(self.columns.text)), _WIDTH)


_NAMES_OF_DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "vertical bar"}


def inspect(config: HeadlinesConfig) -> Inspection:
    """Read the table that `config.source` names, to its end.

    Raises UserError when it cannot be opened. An error after that becomes the `problem` of the inspection.
    """
    table = open_table(Path(config.source).expanduser(), config.columns)
    found = Inspection(table)
    try:
        for row in table.rows():
            found.first.append(row)
            if len(found.first) == _FIRST_ROWS:
                break
        names = (config.text_column, config.label_column)
        found.columns = find_columns(table.columns, table.path.name, *names, need_label=False)
        _count(found, found.columns)
        if found.columns.label:
            found.meanings = _meanings(found, config)
    except UserError as error:
        found.problem = str(error)
    return found


def _count(found: Inspection, columns: Columns) -> None:
    """Count headlines, labels and lengths of all rows; memory stays bounded."""
    keys: set[bytes] = set()
    name = found.table.path.name
    for where, row in found.table.rows():
        found.rows += 1
        headline, label = columns.cells(row, name, where)
        text = as_text(headline)
        check_text(text, f"{name}, {where}")
        key = normalise(text)
        if not key:
            found.empty += 1
            continue
        found.characters.counts[len(text)] += 1
        found.words.counts[len(text.split())] += 1
        digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
        if digest in keys:
            found.duplicates += 1
        elif len(keys) < MAX_KEYS:
            keys.add(digest)
        if columns.label:
            _add_label(found, label, text)
    found.whole = True


def _add_label(found: Inspection, label: Any, text: str) -> None:
    known = spelling(label)
    if not known:
        found.without_label += 1
    elif known in found.labels.counts or len(found.labels.counts) < MAX_LABELS:
        found.labels.add(label, text)
    else:
        found.more_labels += 1


def _meanings(found: Inspection, config: HeadlinesConfig) -> list[str]:
    """The meaning of each label, as a study would read it. If it is not known, only counts, and a `problem`."""
    try:
        return understand(found.labels, config, found.table.path.name, numbers="usual").lines(found.labels)
    except UserError as error:
        found.problem = str(error)
    counts = found.labels.counts.most_common(_SHOWN_LABELS)
    lines = [f"{shortened(found.labels.written[label], 40)} ({count:,})" for label, count in counts]
    if n_more := len(found.labels.counts) - len(counts):
        lines.append(f"and {'at least ' if found.more_labels else ''}{n_more:,} more")
    return lines
