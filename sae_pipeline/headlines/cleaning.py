"""Rows that may not stay: empty headlines, copies, contradictions, and what leaks from train into test."""

from collections import Counter, defaultdict
from collections.abc import Set
from dataclasses import dataclass

from sae_pipeline.headlines.labels import Labelled
from sae_pipeline.headlines.text import normalise


@dataclass(frozen=True)
class SourceCounts:
    """What cleaning did to the rows of one source: `read` is the sum of the others."""

    read: int
    empty: int
    conflicting: int  # all copies of headlines whose labels disagree
    duplicates: int  # later copies
    in_test: int  # train rows that also stand in test
    kept: int


def clean(rows: list[Labelled], test_keys: Set[str]) -> tuple[list[Labelled], SourceCounts]:
    """The rows that stay, in their order, and the counts of those that leave.

    Two rows are copies when `normalise` gives them the same key. Rows whose key is in `test_keys` leave.
    """
    keys = [normalise(text) for text, _ in rows]
    labels: defaultdict[str, set[int]] = defaultdict(set)
    for key, (_, label) in zip(keys, rows, strict=True):
        labels[key].add(label)
    kept: list[Labelled] = []
    seen: set[str] = set()
    dropped: Counter[str] = Counter()
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
    reasons = ("empty", "conflicting", "duplicates", "in_test")
    return kept, SourceCounts(read=len(rows), **{reason: dropped[reason] for reason in reasons}, kept=len(kept))
