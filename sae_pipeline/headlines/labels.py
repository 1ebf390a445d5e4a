"""The meaning of a table's labels: the classes, their names and their order.

A label is compared by its spelling: without white space around it, in lower case, and 1.0 as 1. The classes are
settled once, from all labels of a study. The first rule that fits is used:

1. `label_map` says what labels mean, and `label_names` gives the names of the classes in their order. A classifier that
   is taken as it is has its own names.
2. Names that a data set on the hub gives to its classes are kept, unless they mean Bearish, Bullish and Neutral.
3. Labels that together mean Bearish, Bullish and Neutral (see `_SYNONYMS`) get these names.
4. The numbers 0, 1 and 2 of a file, if all three occur, are Bearish, Bullish and Neutral, as in the default data set.
5. Other words are classes of their own, in natural order. Other numbers are never guessed: the user is asked.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from sae_pipeline.config import HeadlinesConfig
from sae_pipeline.errors import UserError
from sae_pipeline.headlines.text import shortened

FINANCIAL = ("Bearish", "Bullish", "Neutral")
"""The classes of the default data set, in its order."""


MAX_CLASSES = 150
MAX_NAME = 100  # code points of a class's name
_SYNONYMS = {"bearish": 0, "negative": 0, "bullish": 1, "positive": 1, "neutral": 2}
_EXAMPLES, _SHOWN = 2, 60  # headlines shown of each label, and code points of each
_MISSING = {"nan", "null", "n/a", "#n/a"}  # what programs write for a cell without a value
_NUMBER = re.compile(r"-?\d+")
_DECIMAL = re.compile(r"[-+]?(?=[.,]?\d)\d*([.,]\d*(e[-+]?\d+)?|e[-+]?\d+)")
_NUMBERED = re.compile(r"label_\d+")  # as transformers calls classes without names


def spelling(label: Any) -> str:
    """One spelling for 1, 1.0, "1" and "1.0", and one for "Bullish" and " bullish "; empty where there is no label."""
    if label is None or label != label:  # NaN
        return ""
    text = str(label).strip().casefold()
    if text in _MISSING:
        return ""
    return text[:-2] if re.fullmatch(r"-?\d+\.0", text) else text


def same_class(name: str) -> str:
    """The spelling that all names of a class share: synonyms of Bearish, Bullish and Neutral count as one name."""
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
        found = spelling(label)[: MAX_NAME + 1]  # a longer label is no class
        if found:
            self.counts[found] += 1
            self.written.setdefault(found, shortened(str(label), MAX_NAME + 1))
            if len(self.examples[found]) < _EXAMPLES:
                self.examples[found].append(shortened(text, _SHOWN))
        return found

    def forget(self, texts: Iterable[str]) -> None:
        """Leave headlines out of the examples."""
        hidden = {shortened(text, _SHOWN) for text in texts}
        for label, examples in self.examples.items():
            self.examples[label] = [example for example in examples if example not in hidden]


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
            shown = ", ".join(f"“{text}”" for text in found.examples[label])
            example = f", e.g. {shown}" if shown else ""
            lines.append(f"{found.written[label]} → {self.names[self.index[label]]} ({count:,}){example}")
        return [*lines, self.note] if self.note else lines


Numbers = Literal["known", "usual", "unknown"]
"""The meaning of 0, 1 and 2 in a source: FINANCIAL for certain, FINANCIAL by convention, or unknown."""


def understand(
    found: FoundLabels,
    config: HeadlinesConfig,
    source: str,
    carried: Sequence[str] = (),
    numbers: Numbers = "unknown",
    classes: Sequence[str] = (),
) -> Meanings:
    """Settle the classes of a study, or find the given `classes` of a classifier in the labels.

    `carried` are the names that a data set gives to its classes. Raises UserError where labels can be read in more than
    one way, and where they are not classes.
    """
    _check_are_classes(found, source)
    given, told = _given_map(config.label_map), given_names(config.label_names)
    names = told or tuple(classes) or _names_of(found, given, carried)
    known = {key(name): n for key in (same_class, spelling) for n, name in enumerate(names)}
    if told or classes:
        known |= {f"label_{n}": n for n in range(len(names))}  # as transformers numbers classes
    note = None
    if told and not any(_NUMBER.fullmatch(label) for label in given):
        known |= {str(n): n for n in range(len(names))}
    elif not given and not told:
        meant = _usual_numbers(found, names, numbers, has_order=bool(classes))
        known |= meant
        if meant and numbers == "usual":
            note = (
                f"The numbers 0, 1 and 2 were read as {', '.join(FINANCIAL)}, the order of the default data set; "
                "say --label-names if yours differ."
            )
    known |= _mapped(given, known, names, found, source)
    index = {label: known.get(label, known.get(same_class(label), -1)) for label in found.counts}
    _check_known(found, index, names if told or classes or given else (), source)
    if told or classes or len(set(index.values())) == len(names):
        return Meanings(names, index, note)
    kept = sorted(set(index.values()))  # classes that occur, where nothing says that there must be others
    return Meanings(tuple(names[n] for n in kept), {label: kept.index(n) for label, n in index.items()}, note)


def _names_of(found: FoundLabels, given: dict[str, str], carried: Sequence[str]) -> tuple[str, ...]:
    """The names of the classes where neither the user nor a classifier gives them."""
    usual = {spelling(name) for name in FINANCIAL}
    if given:
        targets = dict.fromkeys(given.values())
        return FINANCIAL if {spelling(target) for target in targets} <= usual else tuple(targets)
    if carried and {same_class(name) for name in carried} != usual:
        return tuple(carried)
    if {same_class(label) for label in found.counts} == usual or set(found.counts) == {"0", "1", "2"}:
        return FINANCIAL
    words = [label for label in found.counts if not _is_unclear(label)]
    return tuple(found.written[label] for label in sorted(words, key=_natural))


def _usual_numbers(found: FoundLabels, names: Sequence[str], numbers: Numbers, has_order: bool) -> dict[str, int]:
    """The class of 0, 1 and 2 where they mean FINANCIAL; none where they could also be a classifier's own order."""
    kinds, usual = [same_class(name) for name in names], [spelling(name) for name in FINANCIAL]
    is_clear = numbers == "known" or (numbers == "usual" and (kinds == usual or not has_order))
    if not is_clear or sorted(kinds) != sorted(usual) or not set(found.counts) <= {"0", "1", "2"}:
        return {}
    if numbers == "usual" and len(found.counts) < len(usual):
        return {}
    return {str(n): kinds.index(kind) for n, kind in enumerate(usual)}


def _mapped(
    given: dict[str, str], known: dict[str, int], names: Sequence[str], found: FoundLabels, source: str
) -> dict[str, int]:
    """The class of each label of the user's map."""
    meant: dict[str, int] = {}
    for label, target in given.items():
        place = known.get(spelling(target), known.get(same_class(target)))
        if place is None:
            raise UserError(f"--label-map names {target!r}, which is not one of the classes {_listed(names)}.")
        if label not in found.counts:
            raise UserError(
                f"--label-map gives a meaning to {label!r}, which is not a label of {source}; its labels are "
                f"{_listed(found.written.values())}."
            )
        meant[label] = place
    return meant


def _check_known(found: FoundLabels, index: dict[str, int], names: Sequence[str], source: str) -> None:
    """Ask about labels without a meaning. `names` are the classes, if they are settled."""
    unknown = [label for label in sorted(index, key=_natural) if index[label] < 0]
    if not unknown:
        return
    shown = [found.written[label] for label in unknown]
    template = ",".join(f"{shortened(label, 40)}=NAME" for label in shown[:5]) + (",…" if len(shown) > 5 else "")
    if names:
        raise UserError(
            f"{source} has the unknown label {shortened(shown[0], 40)!r}; the classes are {_listed(names)}, so say "
            f"which is meant by --label-map={template}."
        )
    counted = {str(n) for n in range(len(unknown))} | {f"label_{n}" for n in range(len(unknown))}
    by_names = ", or name the classes 0, 1, … in order by --label-names" if set(unknown) <= counted else ""
    raise UserError(
        f"{source} has the labels {_listed(shown)}, whose meaning is not known: say it by "
        f"--label-map={template}{by_names}."
    )


def _is_unclear(label: str) -> bool:
    return bool(_NUMBER.fullmatch(label) or _NUMBERED.fullmatch(label))


def _check_are_classes(found: FoundLabels, source: str) -> None:
    """Refuse labels that are scores or free text."""
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
    if len(names) == 1:
        names = _lines_of(names[0]) or names
    if not names:
        return ()
    check_names(names, "--label-names")
    return tuple(names)


def _lines_of(path: str) -> list[str]:
    """The lines of a file that are not empty; none where there is no such file."""
    try:
        file = Path(path).expanduser()
        lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    except (OSError, RuntimeError, UnicodeDecodeError) as error:
        raise UserError(f"--label-names: {shortened(path, 60)} cannot be read as UTF-8; save it so.") from error
    return [line.strip() for line in lines if line.strip()]


def check_names(names: Sequence[str], giver: str) -> None:
    """Raise UserError for names that `giver` gives and that cannot be those of classes."""
    if not 2 <= len(names) <= MAX_CLASSES:
        raise UserError(
            f"{giver} has {len(names):,} names of classes and is no file; a classifier has 2 to {MAX_CLASSES}."
        )
    if repeated := [name for name, n in Counter(map(spelling, names)).items() if n > 1 or not name]:
        raise UserError(f"{giver} has {repeated[0]!r} twice or an empty name; every class needs its own.")


def _natural(label: str) -> list[tuple[int, str]]:
    """A key that sorts "2 stars" before "10 stars"."""
    parts = re.split(r"(-?\d+)", label)
    return [(int(part), "") if _NUMBER.fullmatch(part) else (0, part) for part in parts if part]


def _listed(names: Iterable[str], most: int = 10) -> str:
    shown = [shortened(name, 40) for name in names]
    return ", ".join(shown[:most]) + (f" and {len(shown) - most} more" if len(shown) > most else "")
