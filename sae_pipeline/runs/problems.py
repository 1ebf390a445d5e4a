"""Problems of records: what is wrong with one, and in which field; checks that those of many files share."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

from sae_pipeline.schema.common import METADATA, MadeFrom, MadeWith
from sae_pipeline.schema.run import RunMetadata

Problems = Iterator[tuple[str, str]]


def made_with_problems(head: MadeWith, metadata: RunMetadata) -> Problems:
    """Check that a file was made with the classifier and the SAE of the run."""
    for field in MadeWith.model_fields:
        yield from unlike(field, getattr(head, field), getattr(metadata, field))


def made_from_problems(head: MadeFrom, metadata: RunMetadata, checksum: str) -> Problems:
    """Check that a file was added to this run; `checksum` is that of `metadata.json`."""
    yield from unlike("run_id", head.run_id, metadata.run_id)
    yield from made_with_problems(head, metadata)
    if head.run_checksum != checksum:
        yield "run_checksum", f"is that of another {METADATA}"


def listed_problems(n: int, expected: int) -> Problems:
    """Check the number of records of a list."""
    if n != expected:
        yield "", f"has {n} of {expected}"


def repeated_problems(what: str, numbers: Sequence[int]) -> Problems:
    """Check that each record of a list is about another feature or headline."""
    repeated = first_repeated(numbers)
    if repeated is not None:
        yield f".{repeated}.{what}", f"is {numbers[repeated]}, which is listed already"


def unlike(field: str, found: object, expected: object, what: str = "") -> Problems:
    """Check that a field is what `metadata.json` says of it; `what` explains the value."""
    if found != expected:
        yield field, f"is {found!r}{what}, but {METADATA} says {expected!r}"


def distinct_problems(field: str, names: Sequence[str]) -> Problems:
    """Check that there is a name, and that all are different and not empty."""
    repeated = first_repeated(names)
    if not names:
        yield field, "are missing"
    if not all(names):
        yield field, "have an empty name"
    if repeated is not None:
        yield field, f"have {names[repeated]!r} twice"


def first_repeated(names: Sequence[object]) -> int | None:
    """The index of the first name that stands earlier already."""
    first: dict[object, int] = {}
    return next((n for n, name in enumerate(names) if first.setdefault(name, n) != n), None)


def descends(values: Iterable[float]) -> bool:
    """Whether no value is larger than the one before it."""
    return all(first >= second for first, second in pairwise(values))


def lengths(prefix: str, d_sae: int, columns: Iterable[tuple[str, Sequence[object] | None]]) -> Problems:
    """Check that columns, where they are there, have a value per feature; `prefix` stands before their names."""
    for name, column in columns:
        if column is not None and len(column) != d_sae:
            yield f"{prefix}{name}", f"has {len(column)} of {d_sae} features"
