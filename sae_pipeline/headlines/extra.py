"""Text without labels, on which SAEs train beside the labelled headlines.

Copies of the study's headlines are left out, because SAEs are evaluated on test. Later copies within the table are left
out too. Two texts are copies if `normalise` makes them equal.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Set
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from sae_pipeline.errors import UserError
from sae_pipeline.headlines.columns import Columns, find_columns
from sae_pipeline.headlines.dataset import SAMPLE, Headlines, file_of
from sae_pipeline.headlines.labels import FoundLabels
from sae_pipeline.headlines.rows import read_rows
from sae_pipeline.headlines.sample import sample_headlines
from sae_pipeline.headlines.table_files import open_table
from sae_pipeline.headlines.text import normalise, sealed_key


class ExtraRecord(BaseModel):
    """How many rows of a table of extra text were kept, and why others were not; `read` is the sum of the counts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    texts_hash: str = Field(description="12 hex characters over the texts that were kept, in their order")
    read: int
    empty: int
    in_study: int = Field(description="copies of headlines of train, dev, test or a seal")
    duplicates: int = Field(description="later copies within the table")
    kept: int

    def line(self, name: str) -> str:
        """The counts of the table `name`, in one line."""
        return (
            f"extra text: {self.kept:,} of {self.read:,} rows of {name} are used; left out are {self.in_study:,} "
            f"copies of the study's headlines, {self.duplicates:,} later copies and {self.empty:,} empty rows"
        )


class ExtraText(NamedTuple):
    """The texts that were kept, and their record."""

    texts: list[str]
    record: ExtraRecord


def read_extra(source: str, headlines: Headlines, text_column: str | None = None) -> ExtraText:
    """Read a table, or the built-in sample, without its labels. `text_column` is used where the table has it.

    Raises UserError for a table that cannot be read, and for one that holds nothing new.
    """
    known = {normalise(text) for split in (headlines.train, headlines.dev, headlines.test) for text in split.texts}
    counts: Counter[str] = Counter()
    kept: dict[str, str] = {}
    for text in _texts(source, text_column):
        key = normalise(text)
        reason = _reason(key, text, known, kept, headlines.sealed_keys)
        counts[reason or "kept"] += 1
        if reason is None:
            kept[key] = text
    texts = list(kept.values())
    if not texts:
        raise UserError(
            f"{source} has no text that is new to the study: of {counts.total():,} rows, {counts['in_study']:,} are "
            f"copies of its headlines and {counts['empty']:,} are empty; name another table with --extra-text."
        )
    texts_hash = hashlib.sha256(json.dumps(texts).encode()).hexdigest()[:12]
    reasons = ("empty", "in_study", "duplicates", "kept")
    record = ExtraRecord(texts_hash=texts_hash, read=counts.total(), **{reason: counts[reason] for reason in reasons})
    return ExtraText(texts, record)


def _reason(key: str, text: str, known: Set[str], kept: dict[str, str], sealed: Set[str]) -> str | None:
    """Why a text stays out; None for one that is kept."""
    if not key:
        return "empty"
    if key in known or sealed_key(text) in sealed:
        return "in_study"
    return "duplicates" if key in kept else None


def _texts(source: str, text_column: str | None) -> list[str]:
    """The texts of all rows."""
    if source == SAMPLE:
        return [text for text, _ in sample_headlines()]
    path = file_of(source)
    if path is None:
        raise UserError(f'{source} is no file; --extra-text takes a table such as news.csv, or "{SAMPLE}".')
    table = open_table(path)
    given = text_column if text_column in table.columns else None
    text = find_columns(table.columns, path.name, given, label_column="", need_label=False).text
    return [row.text for row in read_rows(table.rows(), Columns(text, None, (), ()), path.name, FoundLabels()).rows]
