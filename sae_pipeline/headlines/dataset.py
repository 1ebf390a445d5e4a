"""Headlines and their labels: from the hub, a file of the user's, or the built-in sample, cleaned and split.

`load_headlines` is the only entry point. Duplicates are compared on `normalise(text)`: without links, white
space folded, lower case. In this order:

1. empty rows leave;
2. where copies of a headline disagree on the label, all of them leave;
3. of copies that agree, the first stays;
4. a train row that also stands in test leaves train;
5. dev is the 10 % of train whose hash says so. A file without `test_source` gives 20 % to test the same way,
   before that. So a headline's split depends on its text alone: more data never moves it.
"""

import hashlib
import itertools
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sae_pipeline.config import LABELS, HeadlinesConfig
from sae_pipeline.errors import UserError
from sae_pipeline.headlines.sample import sample_headlines
from sae_pipeline.headlines.table_files import FORMATS, MAX_CHARACTERS, Row, read_table
from sae_pipeline.headlines.text import headline_id, normalise

SAMPLE = "sample"
TEST_SHARE, DEV_SHARE = 0.2, 0.1
Labelled = tuple[str, int]  # (text as written, label)


# --- what comes out ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Split:
    """Headlines of one split, as parallel lists."""

    texts: list[str]
    labels: list[int]  # 0 Bearish, 1 Bullish, 2 Neutral
    ids: list[str]  # headline_id(text)

    def __len__(self) -> int:
        return len(self.texts)

    def first(self, n: int | None) -> "Split":
        """The first n headlines; all of them for None."""
        return Split(self.texts[:n], self.labels[:n], self.ids[:n])


@dataclass(frozen=True)
class SourceCounts:
    """What cleaning did to the rows of one source: `read` is the sum of the others."""

    read: int
    empty: int
    conflicting: int  # all copies of headlines whose labels disagree
    duplicates: int  # later copies
    in_test: int  # train rows that also stand in test
    kept: int


@dataclass(frozen=True)
class CleaningReport:
    """Counts before and after cleaning. The rows of `dev` are part of `train` until they are split off."""

    train: SourceCounts  # train and dev together
    test: SourceCounts
    classes: dict[str, tuple[int, ...]]  # split → headlines of each class, after cleaning
    notes: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """The report as a small table."""
        columns = ("read", "empty", "conflicting", "duplicates", "in test", "kept")
        found = [f"{'rows':<9}" + "".join(f"{name:>12}" for name in columns)]
        for name, counts in (("train+dev", self.train), ("test", self.test)):
            cells = (getattr(counts, column.replace(" ", "_")) for column in columns)
            found.append(f"{name:<9}" + "".join(f"{cell:>12,}" for cell in cells))
        found.append(f"{'split':<9}" + "".join(f"{name:>12}" for name in (*LABELS, "all")))
        for name, classes in self.classes.items():
            found.append(f"{name:<9}" + "".join(f"{count:>12,}" for count in (*classes, sum(classes))))
        return [*found, *self.notes]


@dataclass(frozen=True)
class Headlines:
    """The three splits, how they came about, and a hash of their content."""

    train: Split
    dev: Split
    test: Split
    report: CleaningReport
    data_hash: str  # 12 hex characters over texts and labels of the three splits


# --- text ----------------------------------------------------------------------------------------------


def _draw(text: str, purpose: str, share: float) -> bool:
    """Whether the hash of a text falls into a share; draws for different purposes are independent."""
    digest = hashlib.sha256(f"{purpose}\n{normalise(text)}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


# --- the entry point -----------------------------------------------------------------------------------


def load_headlines(config: HeadlinesConfig) -> Headlines:
    """Read, clean and split the headlines of `config.source`.

    Raises UserError for every bad input, in one sentence that says what to do.
    """
    notes: list[str] = []
    known = _known_labels(config.label_map)

    def read_file(name: str) -> list[Labelled]:
        path = Path(name).expanduser()
        return list(_labelled(read_table(path, notes), config, known, path.name))

    test: list[Labelled] | None
    if config.source == SAMPLE:
        train, test = list(sample_headlines()), None
    elif _is_file(config.source):
        train, test = read_file(config.source), None
    else:
        splits = _hub_splits(config, need_test=config.test_source is None)
        found = [list(_labelled(rows, config, known, config.source)) for rows in splits]
        train, test = found[0], found[1] if len(found) > 1 else None
    if config.test_source is not None:
        test = read_file(config.test_source)
    if test is None:
        train, test = _partition(train, "test", TEST_SHARE)

    test_kept, test_counts = _clean(test, frozenset())
    train_kept, train_counts = _clean(train, frozenset(normalise(text) for text, _ in test_kept))
    train_kept, dev_kept = _partition(train_kept, "dev", DEV_SHARE)
    splits_kept = {"train": train_kept, "dev": dev_kept, "test": test_kept}
    classes = {name: _class_counts(rows) for name, rows in splits_kept.items()}
    report = CleaningReport(train_counts, test_counts, classes, tuple(notes))
    _check_enough(config.source, report)
    return Headlines(
        **{name: _split(rows) for name, rows in splits_kept.items()},
        report=report,
        data_hash=_data_hash(splits_kept.values()),
    )


def _is_file(source: str) -> bool:
    """Whether a source means a file rather than a hub id."""
    path = Path(source).expanduser()
    return path.suffix.lower() in FORMATS or path.exists() or not re.fullmatch(r"\w[\w.-]*(/[\w.-]+)?", source)


# --- cleaning and splitting ----------------------------------------------------------------------------


def _clean(rows: list[Labelled], test_keys: frozenset[str]) -> tuple[list[Labelled], SourceCounts]:
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
    return kept, SourceCounts(
        read=len(rows),
        empty=dropped["empty"],
        conflicting=dropped["conflicting"],
        duplicates=dropped["duplicates"],
        in_test=dropped["in_test"],
        kept=len(kept),
    )


def _partition(rows: list[Labelled], purpose: str, share: float) -> tuple[list[Labelled], list[Labelled]]:
    """(the rest, the share that the hash draws), each in the order of `rows`."""
    drawn = [_draw(text, purpose, share) for text, _ in rows]
    rest = itertools.compress(rows, (not hit for hit in drawn))
    return list(rest), list(itertools.compress(rows, drawn))


def _split(rows: list[Labelled]) -> Split:
    return Split([t for t, _ in rows], [label for _, label in rows], [headline_id(t) for t, _ in rows])


def _class_counts(rows: list[Labelled]) -> tuple[int, ...]:
    counts = Counter(label for _, label in rows)
    return tuple(counts[label] for label in range(len(LABELS)))


def _check_enough(source: str, report: CleaningReport) -> None:
    counts = report.train
    why = (
        f"{counts.read:,} rows for training were read, of which {counts.empty:,} empty, {counts.conflicting:,} "
        f"with conflicting labels, {counts.duplicates:,} duplicates and {counts.in_test:,} also in test left"
    )
    missing = [name for name, n in zip(LABELS, report.classes["train"], strict=True) if not n]
    if missing:
        raise UserError(f"{source} leaves no {' and no '.join(missing)} headline to train on: {why}.")
    for name in ("dev", "test"):
        if not sum(report.classes[name]):
            raise UserError(f"{source} leaves no headline for the {name} split, so give more headlines: {why}.")


def _data_hash(splits: Iterable[list[Labelled]]) -> str:
    return hashlib.sha256(json.dumps(list(splits)).encode()).hexdigest()[:12]


# --- labels --------------------------------------------------------------------------------------------


def _known_labels(label_map: str | None) -> dict[str, int]:
    """Labels by every spelling that is known, as `_label_key` writes it."""
    targets = {name.lower(): index for index, name in enumerate(LABELS)}
    given: dict[str, int] = {}
    for pair in label_map.split(",") if label_map else ():
        name, _, target = (part.strip() for part in pair.rpartition("="))
        if not name or target.lower() not in targets:
            raise UserError(
                f"the label map {label_map!r} has {pair!r}, which is not NAME=LABEL with LABEL one of "
                f"{', '.join(LABELS)}."
            )
        if given.setdefault(_label_key(name), targets[target.lower()]) != targets[target.lower()]:
            raise UserError(f"the label map {label_map!r} gives {name!r} two meanings.")
    if any(re.fullmatch(r"-?\d+", name) for name in given):
        # Numbers that the map leaves out must not keep a meaning that the user's numbering does not have.
        return targets | given
    return targets | {str(index): index for index in range(len(LABELS))} | given


def _label_key(value: Any) -> str:
    """One spelling for 1, 1.0, "1", "1.0" and one for "Bullish", " bullish "."""
    text = str(value).strip().lower()
    return text[:-2] if re.fullmatch(r"-?\d+\.0", text) else text


def _labelled(rows: Iterable[Row], config: HeadlinesConfig, known: dict[str, int], name: str) -> Iterator[Labelled]:
    """(text, label) of every row, empty headlines included (their label is not read)."""
    for where, row in rows:
        for column, flag in ((config.text_column, "--text-column"), (config.label_column, "--label-column")):
            if column not in row:
                found = ", ".join(str(key) for key in row if key)
                raise UserError(f"{name} has no column {column!r} but {found or 'none'} ({where}); name it by {flag}.")
        value = row[config.text_column]
        text = "" if value is None else str(value)
        if len(text) > MAX_CHARACTERS:
            raise UserError(
                f"{name}, {where}: a headline of {len(text):,} characters (at most {MAX_CHARACTERS:,} are read); "
                "is a closing quote missing?"
            )
        if "\0" in text or not _encodable(text):
            raise UserError(f"{name}, {where}: the headline holds a null byte or half a surrogate pair.")
        if not normalise(text):
            yield text, 0
            continue
        label = known.get(_label_key(row[config.label_column]))
        if label is None:
            raise UserError(
                f"{name}, {where}: unknown label {str(row[config.label_column])[:40]!r}; known are "
                f"{', '.join(known)}, others are named by --label-map, e.g. negative=Bearish."
            )
        yield text, label


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


# --- the hub -------------------------------------------------------------------------------------------


def _hub_splits(config: HeadlinesConfig, need_test: bool) -> list[Iterator[Row]]:
    """Rows of a hub data set's train split and, where it is needed, its validation split."""
    advice = "use the offline preset (--preset demo) or a file of your own (--source FILE)"
    import datasets
    from huggingface_hub import constants, get_session

    was_offline = datasets.config.HF_HUB_OFFLINE
    try:
        if not was_offline:
            # Asked once with a short timeout: the hub's own client retries a missing network for half a minute.
            # Without it, a copy that was downloaded before still serves.
            try:
                get_session().head(constants.ENDPOINT, timeout=5)
            except Exception:
                datasets.config.HF_HUB_OFFLINE = True
        splits = datasets.load_dataset(config.source)
    except Exception as error:
        if datasets.config.HF_HUB_OFFLINE:
            reason = "the hub cannot be reached and no copy was downloaded before"
        else:
            reason = str(error).strip().split("\n")[0].rstrip(".") or type(error).__name__
        raise UserError(f"the data set {config.source} cannot be loaded ({reason}): {advice}.") from error
    finally:
        datasets.config.HF_HUB_OFFLINE = was_offline
    names = ["train", "validation"] if need_test else ["train"]
    if missing := [name for name in names if name not in splits]:
        raise UserError(
            f"the data set {config.source} has no split {missing[0]!r} but {', '.join(splits)}; "
            "download it and name files by --source and --test-source."
        )
    return [_hub_rows(splits[name], config.label_column) for name in names]


def _hub_rows(split: Any, label_column: str) -> Iterator[Row]:
    """Rows of one split; numbers of a data set that names its classes are replaced by the names."""
    names = getattr(split.features.get(label_column), "names", None)
    for number, row in enumerate(split):
        if names and isinstance(row[label_column], int) and 0 <= row[label_column] < len(names):
            row = row | {label_column: names[row[label_column]]}
        yield f"row {number}", row
