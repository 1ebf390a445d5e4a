"""Rows that may not stay: empty headlines, copies, contradictions, and what leaks from train into test."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import NamedTuple

from sae_pipeline.headlines.text import normalise
from sae_pipeline.schema.common import Cell


class Headline(NamedTuple):
    """A headline as written, its class, and the cells of other columns."""

    text: str
    label: int  # index into the classes; NO_LABEL in a table without labels
    cells: Mapping[str, Cell]


NO_LABEL = -1


@dataclass(frozen=True)
class SourceCounts:
    """What cleaning did to the rows of one source: `read` is the sum of the others."""

    read: int
    without_label: int
    empty: int
    conflicting: int  # all copies of headlines whose labels disagree
    duplicates: int  # later copies
    in_test: int  # train rows that also stand in test
    kept: int


def clean(rows: list[Headline], test_keys: Set[str], without_label: int) -> tuple[list[Headline], SourceCounts]:
    """The rows that stay, in their order, and the counts of those that leave.

    Two rows are copies when `normalise` gives them the same key. Rows whose key is in `test_keys` leave. `rows` are
    given without the rows that have no label, which are counted only.
    """
    keys = [normalise(row.text) for row in rows]
    labels: defaultdict[str, set[int]] = defaultdict(set)
    for key, row in zip(keys, rows, strict=True):
        labels[key].add(row.label)
    kept: list[Headline] = []
    seen: set[str] = set()
    dropped: Counter[str] = Counter(without_label=without_label)
    for key, row in zip(keys, rows, strict=True):
        if not key:
            dropped["empty"] += 1
        elif len(labels[key]) > 1:
            dropped["conflicting"] += 1
        elif key in seen:
            dropped["duplicates"] += 1
        elif key in test_keys:
            dropped["in_test"] += 1
            seen.add(key)
        else:
            kept.append(row)
            seen.add(key)
    reasons = ("without_label", "empty", "conflicting", "duplicates", "in_test")
    read = len(rows) + without_label
    return kept, SourceCounts(read=read, **{reason: dropped[reason] for reason in reasons}, kept=len(kept))
