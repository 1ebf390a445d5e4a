"""The pairs of texts that are compared: from a run's headlines, from templates, and from a table of the user's own."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from sae_pipeline.contrast.kinds import KINDS, Kind
from sae_pipeline.contrast.words import COMPANIES, TEMPLATES
from sae_pipeline.errors import UserError
from sae_pipeline.headlines.labels import FINANCIAL, same_class, spelling
from sae_pipeline.headlines.rows import as_text, check_text
from sae_pipeline.headlines.table_files import open_table
from sae_pipeline.headlines.text import shortened
from sae_pipeline.schema.contrast import Expectation, PairSource

MAX_ROWS = 10_000  # of a table of pairs
MAX_KINDS = 50  # of a table; each has sums for every feature, and ablations of its own
_PER_TEMPLATE = 4
_COLUMNS = {
    "before": ("before", "original", "text_a", "a"),
    "after": ("after", "changed", "text_b", "b"),
    "expected": ("expected", "expectation", "label"),
}
"""Names of the columns of a table of pairs, the usual one first."""
_SAME = {"same", "unchanged"}
_AWAY = "not "


@dataclass(frozen=True)
class Pair:
    """A text before and after a change, and what is expected of the prediction."""

    kind: str
    source: PairSource
    before: str
    after: str
    expectation: Expectation
    target: int | None  # the class of the expectation; None: the prediction stays
    headline: int | None = None  # 0-based index in the run


def chosen_kinds(names: Sequence[str], labels: Sequence[str]) -> tuple[list[Kind], list[str]]:
    """The kinds of change by their names (none: all), without those that need other classes, and why these are missing.

    Raises UserError for an unknown name.
    """
    known = {kind.name: kind for kind in KINDS}
    for name in names:
        if name not in known:
            raise UserError(f"There is no kind of change {name!r}; choose from {', '.join(known)}.")
    kinds = [known[name] for name in dict.fromkeys(names)] or list(KINDS)
    if {same_class(label) for label in labels} == {spelling(name) for name in FINANCIAL}:
        return kinds, []
    missing = [kind.label for kind in kinds if kind.financial]
    sentence = (
        f"{', '.join(missing)}: left out, because the classes are not {', '.join(FINANCIAL)}; give pairs of your own "
        "by --pairs."
    )
    return [kind for kind in kinds if not kind.financial], [sentence] if missing else []


def changed_texts(
    texts: Sequence[str], numbers: Sequence[int | None], kinds: Sequence[Kind], labels: Sequence[str], seed: int
) -> Iterator[Pair]:
    """Each text by each kind that applies to it, text by text. `numbers` are those of the run's headlines."""
    class_of = {same_class(label): n for n, label in enumerate(labels)}
    for text, number in zip(texts, numbers, strict=True):
        for kind in kinds:
            changed = kind.change(text, Random(f"{seed} {kind.name} {text}"))
            if changed is None or not changed.text.strip() or changed.text == text:
                continue
            target = None if changed.target is None else class_of[same_class(changed.target)]
            source: PairSource = "templates" if number is None else "headlines"
            yield Pair(kind.name, source, text, changed.text, kind.expectation, target, number)


def template_texts(seed: int) -> list[str]:
    """Headlines from the templates, each with several companies and numbers."""
    random = Random(f"templates {seed}")
    return [
        template.format(
            company=name, ticker=COMPANIES[name], n=random.randint(2, 19), m=random.randint(21, 98), d=3 + i
        )
        for template in TEMPLATES
        for i, name in enumerate(random.sample(sorted(COMPANIES), _PER_TEMPLATE))
    ]


# --- a table of pairs ----------------------------------------------------------------------------------


def table_pairs(path: Path, labels: Sequence[str]) -> list[Pair]:
    """The pairs of a table with the columns before, after and expected, and perhaps kind.

    `expected` is "same", the name of a class, or "not" and the name of a class. Raises UserError for a table that
    cannot be read, with the row that is wrong.
    """
    table = open_table(path)
    columns = {name: _column(table.columns, name, path.name) for name in _COLUMNS}
    kind = next((column for column in table.columns if spelling(column) == "kind"), None)
    classes = {same_class(label): n for n, label in enumerate(labels)}
    pairs: list[Pair] = []
    kinds: set[str] = set()
    for where, row in table.dated_rows():
        place = f"{path.name}, {where}"
        if len(pairs) == MAX_ROWS:
            raise UserError(f"{path.name} has more than {MAX_ROWS:,} pairs; give fewer.")
        before, after = (_text(row, columns[name], place) for name in ("before", "after"))
        if before == after:
            raise UserError(f"{place}: the two texts are equal; a pair has two different ones.")
        expectation, target = _expected(as_text(row.get(columns["expected"])), classes, labels, place)
        name = (shortened(as_text(row.get(kind)), 60) if kind else "") or "your pairs"
        kinds.add(name)
        if len(kinds) > MAX_KINDS:
            raise UserError(f"{place}: the table has more than {MAX_KINDS} kinds; give fewer, or no column {kind!r}.")
        pairs.append(Pair(name, "table", before, after, expectation, target))
    if not pairs:
        raise UserError(f"{path.name} has no pairs; give rows with two texts and what is expected.")
    return pairs


def _column(columns: Sequence[str], name: str, source: str) -> str:
    found = next((c for usual in _COLUMNS[name] for c in columns if spelling(c) == usual), None)
    if found is None:
        have = ", ".join(shortened(column, 40) for column in columns[:20])
        raise UserError(f"{source} has no column {name!r} but {have}; a table of pairs has before, after and expected.")
    return found


def _text(row: Any, column: str, place: str) -> str:
    text = as_text(row.get(column))
    if not text.strip():
        raise UserError(f"{place}: {column} is empty; a pair has two texts.")
    check_text(text, place)
    return text


def _expected(text: str, classes: dict[str, int], labels: Sequence[str], place: str) -> tuple[Expectation, int | None]:
    """What is expected, by its name in a table."""
    wanted = " ".join(text.split()).casefold()
    if wanted in _SAME and same_class(wanted) not in classes:  # stocks may go up, down, or be unchanged
        return "same", None
    away = wanted.startswith(_AWAY) and same_class(wanted) not in classes
    found = classes.get(same_class(wanted.removeprefix(_AWAY) if away else wanted))
    if found is None:
        raise UserError(
            f"{place}: expected is {shortened(text, 40)!r}; it must be same, one of {', '.join(labels)}, or not and "
            "one of these."
        )
    return ("away" if away else "toward"), found
