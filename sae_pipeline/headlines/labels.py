"""What the labels of a table mean: the classes, their names and their order.

A label is compared by its spelling: without white space around it, in lower case, and 1.0 as 1. The classes are
settled once, from all labels of a study, and in this order of precedence:

1. `label_map` says what labels mean, `label_names` what the classes are called and in which order.
2. Labels that together mean Bearish, Bullish and Neutral (positive, negative, neutral and their like) get these names.
3. The numbers 0, 1 and 2 of a file are read in this order too, as the default data set has them.
4. Other words are classes of their own, in natural order. Other numbers are asked about and never guessed.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sae_pipeline.config import HeadlinesConfig
from sae_pipeline.errors import UserError
from sae_pipeline.headlines.text import shortened

FINANCIAL = ("Bearish", "Bullish", "Neutral")
"""The classes of the default data set, in its order."""

FINANCIAL_MAP = ",".join(f"{number}={name}" for number, name in enumerate(FINANCIAL))

MAX_CLASSES = 150
MAX_NAME = 100  # code points of a class's name
_SYNONYMS = {"bearish": 0, "negative": 0, "bullish": 1, "positive": 1, "neutral": 2}
_EXAMPLES = 2  # headlines shown of each label
_NUMBER = re.compile(r"-?\d+")
_DECIMAL = re.compile(r"-?\d*\.\d+(e-?\d+)?")
_NUMBERED = re.compile(r"label_\d+")  # as transformers calls classes without names


def spelling(label: Any) -> str:
    """One spelling for 1, 1.0, "1" and "1.0", and one for "Bullish" and " bullish "; empty where there is no label."""
    if label is None or label != label:  # NaN
        return ""
    text = str(label).strip().casefold()
    return text[:-2] if re.fullmatch(r"-?\d+\.0", text) else text


def same_class(name: str) -> str:
    """What two names of a class have in common: synonyms of Bearish, Bullish and Neutral are one name."""
    known = _SYNONYMS.get(spelling(name))
    return spelling(name) if known is None else spelling(FINANCIAL[known])


@dataclass
class FoundLabels:
    """The labels of all rows: how often each spelling occurs, how it is written, and headlines that have it."""

    counts: Counter[str] = field(default_factory=Counter)
    written: dict[str, str] = field(default_factory=dict)
    examples: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def add(self, label: Any, text: str) -> str:
        """Count the label of a headline. Returns its spelling."""
        found = spelling(label)
        if found:
            self.counts[found] += 1
            self.written.setdefault(found, str(label).strip())
            if len(self.examples[found]) < _EXAMPLES:
                self.examples[found].append(text)
        return found


@dataclass(frozen=True)
class Meanings:
    """The classes of a study, and the class behind each spelling of a label."""

    names: tuple[str, ...]
    index: dict[str, int]
    note: str | None = None  # how labels that do not speak for themselves were read

    def lines(self, found: FoundLabels) -> list[str]:
        """The mapping with counts and examples, a line for each label."""
        lines = []
        for label, count in sorted(found.counts.items(), key=lambda item: (self.index[item[0]], item[0])):
            shown = ", ".join(f"“{shortened(text, 60)}”" for text in found.examples[label])
            lines.append(f"{found.written[label]} → {self.names[self.index[label]]} ({count:,}), e.g. {shown}")
        return [*lines, self.note] if self.note else lines


def understand(
    found: FoundLabels,
    config: HeadlinesConfig,
    source: str,
    carried: Sequence[str] = (),
    by_convention: bool = True,
    classes: Sequence[str] = (),
) -> Meanings:
    """Settle the classes of a study, or find the given `classes` of a classifier in the labels.

    `carried` are the names that a data set gives to its classes. With `by_convention` the numbers 0, 1 and 2 are
    FINANCIAL. Raises UserError where labels can be read in more than
    one way, and where they are no classes.
    """
    given, names = _given_map(config.label_map), given_names(config.label_names)
    _check_are_classes(found, source)
    if not names and not given and {same_class(name) for name in carried} != set(map(spelling, FINANCIAL)):
        names = tuple(carried)
    if classes:
        _check_numbering(found, given, classes, source)
        names = tuple(classes)
    if given or names:
        return _as_told(found, given, names, source)
    labels = set(found.counts)
    if {_SYNONYMS.get(label) for label in labels} == {0, 1, 2}:
        return Meanings(FINANCIAL, {label: _SYNONYMS[label] for label in labels})
    if by_convention and labels == {"0", "1", "2"}:
        note = (
            f"The numbers 0, 1 and 2 were read as {', '.join(FINANCIAL)}, the order of the default data set; "
            "say --label-names if yours differ."
        )
        return Meanings(FINANCIAL, {str(index): index for index in range(3)}, note)
    if unclear := [label for label in labels if _NUMBER.fullmatch(label) or _NUMBERED.fullmatch(label)]:
        shown = [found.written[label] for label in sorted(unclear, key=_natural)]
        raise UserError(
            f"{source} has the labels {_listed(shown)}, whose meaning is not known: say it by --label-map, e.g. "
            f"{shown[0]}=Bearish,{shown[-1]}=Bullish, or name the classes 0, 1, … in order by --label-names."
        )
    ordered = sorted(labels, key=_natural)
    return Meanings(tuple(found.written[label] for label in ordered), {label: n for n, label in enumerate(ordered)})


def _check_numbering(found: FoundLabels, given: dict[str, str], classes: Sequence[str], source: str) -> None:
    """Refuse 0, 1 and 2 for a classifier whose Bearish, Bullish and Neutral come in an order of their own."""
    kinds, usual = [same_class(name) for name in classes], [spelling(name) for name in FINANCIAL]
    if not given and kinds != usual and sorted(kinds) == sorted(usual) and set(found.counts) <= {"0", "1", "2"}:
        meant = ",".join(f"{n}={classes[kinds.index(kind)]}" for n, kind in enumerate(usual))
        raise UserError(
            f"{source} has the labels 0, 1 and 2, and the classifier's classes are {', '.join(classes)}; say what the "
            f"numbers mean by --label-map, e.g. {meant}."
        )


def _as_told(found: FoundLabels, given: dict[str, str], names: tuple[str, ...], source: str) -> Meanings:
    """Read labels by the user's map and names, or by the names that come with the data."""
    targets, must_occur = list(dict.fromkeys(given.values())), bool(names)
    if not names:
        financial = {spelling(name) for name in FINANCIAL}
        names = FINANCIAL if all(spelling(target) in financial for target in targets) else tuple(targets)
    meanings = {same_class(name): n for n, name in enumerate(names)} | {
        spelling(name): n for n, name in enumerate(names)
    }
    place = {target: meanings.get(spelling(target), meanings.get(same_class(target))) for target in targets}
    if strangers := [target for target, n in place.items() if n is None]:
        raise UserError(f"--label-map names {strangers[0]!r}, which is not one of the classes {_listed(names)}.")
    if not any(_NUMBER.fullmatch(label) for label in given):
        # A number that the map leaves out must not keep a meaning that the user's numbering does not have.
        meanings = {str(n): n for n in range(len(names))} | {f"label_{n}": n for n in range(len(names))} | meanings
    meanings |= {label: n for label, target in given.items() if (n := place[target]) is not None}
    index: dict[str, int] = {}
    for label in found.counts:
        meaning = meanings.get(label, meanings.get(same_class(label)))
        if meaning is None:
            raise UserError(
                f"{source} has the unknown label {shortened(found.written[label], 40)!r}; the classes are "
                f"{_listed(names)}, and other labels are given a meaning by --label-map, e.g. "
                f"{shortened(found.written[label], 40)}={names[0]}."
            )
        index[label] = meaning
    if must_occur or len(set(index.values())) == len(names):
        return Meanings(names, index)
    kept = sorted(set(index.values()))  # classes that occur, where nothing says that there must be others
    return Meanings(tuple(names[n] for n in kept), {label: kept.index(n) for label, n in index.items()})


def _check_are_classes(found: FoundLabels, source: str) -> None:
    """Refuse labels that are scores, free text, or all the same."""
    labels = found.counts
    decimals = next((found.written[label] for label in labels if _DECIMAL.fullmatch(label)), None)
    if decimals is not None:
        raise UserError(
            f"{source} has the label {decimals}, a number with decimals; labels are classes, so turn scores into "
            "classes first."
        )
    long = next((found.written[label] for label in labels if len(label) > MAX_NAME), None)
    if long is not None:
        raise UserError(
            f"{source} has the label “{shortened(long, 60)}”, which is too long for the name of a class; is it the "
            "right column (--label-column)?"
        )
    if len(labels) > MAX_CLASSES:
        raise UserError(
            f"{source} has {len(labels):,} different labels, and at most {MAX_CLASSES} classes are read; is it the "
            "right column (--label-column)?"
        )


def _given_map(label_map: str | None) -> dict[str, str]:
    """The name that the user's map gives to each spelling."""
    given: dict[str, str] = {}
    for pair in label_map.split(",") if label_map else ():
        label, _, name = (part.strip() for part in pair.rpartition("="))
        if not label or not name:
            raise UserError(f"the label map {label_map!r} has {pair!r}, which is not LABEL=NAME.")
        name = next((known for known in given.values() if spelling(known) == spelling(name)), name)
        if given.setdefault(spelling(label), name) != name:
            raise UserError(f"the label map {label_map!r} gives {label!r} two meanings.")
    return given


def given_names(label_names: Sequence[str]) -> tuple[str, ...]:
    """The names of the classes; a single one that is a file names a class in each of its lines."""
    names = [name.strip() for name in label_names]
    if len(names) == 1 and Path(names[0]).is_file():
        names = [name.strip() for name in Path(names[0]).read_text(encoding="utf-8").splitlines() if name.strip()]
    if not names:
        return ()
    if not 2 <= len(names) <= MAX_CLASSES:
        raise UserError(f"--label-names has {len(names):,} names; a classifier has 2 to {MAX_CLASSES} classes.")
    if repeated := [name for name, n in Counter(map(spelling, names)).items() if n > 1 or not name]:
        raise UserError(f"--label-names has {repeated[0]!r} twice or an empty name; every class needs its own.")
    return tuple(names)


def _natural(label: str) -> list[tuple[int, str]]:
    """A key that sorts "2 stars" before "10 stars"."""
    parts = re.split(r"(-?\d+)", label)
    return [(int(part), "") if _NUMBER.fullmatch(part) else (0, part) for part in parts if part]


def _listed(names: Iterable[str], most: int = 10) -> str:
    shown = [shortened(name, 40) for name in names]
    return ", ".join(shown[:most]) + (f" and {len(shown) - most} more" if len(shown) > most else "")
