"""Headlines and their labels: from the hub, a file or the built-in sample, cleaned and split.

`load_headlines` is the only entry point. Copies of a headline are found by `normalise(text)`, which leaves links out,
folds white space and lowers the case. The rules apply in this order:

1. Empty rows leave.
2. Where copies of a headline disagree on the label, all of them leave.
3. Where copies agree, the first one stays.
4. A train row that also stands in test leaves train.
5. A hash of the text draws 10 % of train for dev. Before all this, a file without `test_source` gives test 20 % of its
   rows, drawn the same way. So the split of a headline depends on its text alone, and more data never moves it.
"""

import hashlib
import itertools
import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sae_pipeline.config import LABELS, HeadlinesConfig
from sae_pipeline.errors import UserError
from sae_pipeline.headlines.cleaning import SourceCounts, clean
from sae_pipeline.headlines.hub import hub_splits
from sae_pipeline.headlines.labels import Labelled, known_labels, labelled_rows
from sae_pipeline.headlines.sample import sample_headlines
from sae_pipeline.headlines.table_files import FORMATS, Row, read_table
from sae_pipeline.headlines.text import headline_id, normalise

SAMPLE = "sample"
TEST_SHARE, DEV_SHARE = 0.2, 0.1


@dataclass(frozen=True)
class Split:
    """The headlines of one split, as parallel lists."""

    texts: list[str]
    labels: list[int]  # 0 Bearish, 1 Bullish, 2 Neutral
    ids: list[str]  # headline_id(text)

    def __len__(self) -> int:
        return len(self.texts)

    def first(self, n: int | None) -> "Split":
        """The first n headlines; all of them for None."""
        return Split(self.texts[:n], self.labels[:n], self.ids[:n])


@dataclass(frozen=True)
class CleaningReport:
    """Counts before and after cleaning. The rows of `dev` are part of `train` until they are split off."""

    train: SourceCounts  # train and dev together
    test: SourceCounts
    classes: dict[str, tuple[int, ...]]  # by split: headlines of each class, after cleaning
    notes: tuple[str, ...] = ()  # what the user should know about how files were read

    def lines(self) -> list[str]:
        """The report as a small table."""
        columns = ("read", "empty", "conflicting", "duplicates", "in test", "kept")
        lines = [f"{'rows':<9}" + "".join(f"{name:>12}" for name in columns)]
        for name, counts in (("train+dev", self.train), ("test", self.test)):
            cells = (getattr(counts, column.replace(" ", "_")) for column in columns)
            lines.append(f"{name:<9}" + "".join(f"{cell:>12,}" for cell in cells))
        lines.append(f"{'split':<9}" + "".join(f"{name:>12}" for name in (*LABELS, "all")))
        for name, classes in self.classes.items():
            lines.append(f"{name:<9}" + "".join(f"{count:>12,}" for count in (*classes, sum(classes))))
        return [*lines, *self.notes]


@dataclass(frozen=True)
class Headlines:
    """The three splits, how they came about, and a hash of their content."""

    train: Split
    dev: Split
    test: Split
    report: CleaningReport
    data_hash: str  # 12 hex characters over texts and labels of the three splits


def load_headlines(config: HeadlinesConfig) -> Headlines:
    """Read, clean and split the headlines of `config.source`.

    Raises UserError for every bad input, in one sentence that says what to do.
    """
    notes: list[str] = []
    train, test = _read(config, notes)
    if test is None:
        train, test = _partition(train, "test", TEST_SHARE)
    test, test_counts = clean(test, frozenset())
    train, train_counts = clean(train, {normalise(text) for text, _ in test})
    train, dev = _partition(train, "dev", DEV_SHARE)

    splits = {"train": train, "dev": dev, "test": test}
    classes = {name: _class_counts(rows) for name, rows in splits.items()}
    report = CleaningReport(train_counts, test_counts, classes, tuple(notes))
    _check_enough(config.source, report)
    return Headlines(
        **{name: _split(rows) for name, rows in splits.items()}, report=report, data_hash=_data_hash(splits.values())
    )


# --- reading -------------------------------------------------------------------------------------------


def _read(config: HeadlinesConfig, notes: list[str]) -> tuple[list[Labelled], list[Labelled] | None]:
    """The rows of train and of test; None for test where it is still part of train."""
    known = known_labels(config.label_map)

    def labelled(rows: Iterable[Row], source: str) -> list[Labelled]:
        return list(labelled_rows(rows, config, known, source))

    def read_file(path: Path) -> list[Labelled]:
        return labelled(read_table(path, notes), path.name)

    if config.source == SAMPLE:
        splits = [list(sample_headlines())]
    elif path := file_of(config.source):
        splits = [read_file(path)]
    else:
        rows_of = hub_splits(config.source, config.label_column, need_test=config.test_source is None)
        splits = [labelled(rows, config.source) for rows in rows_of]
    if config.test_source is not None:
        splits.append(read_file(Path(config.test_source).expanduser()))
    return splits[0], splits[1] if len(splits) > 1 else None


def file_of(source: str | None) -> Path | None:
    """The file that a source names; None without a source, for the sample, and for a data set on the hub."""
    if source is None or source == SAMPLE:
        return None
    path = Path(source).expanduser()
    is_file = path.suffix.lower() in FORMATS or path.exists() or not re.fullmatch(r"\w[\w.-]*(/[\w.-]+)?", source)
    return path if is_file else None


# --- splitting -----------------------------------------------------------------------------------------


def _partition(rows: list[Labelled], purpose: str, share: float) -> tuple[list[Labelled], list[Labelled]]:
    """The rest, and the share of rows that the hash draws; each in the order of `rows`."""
    drawn = [_draw(text, purpose, share) for text, _ in rows]
    rest = itertools.compress(rows, (not hit for hit in drawn))
    return list(rest), list(itertools.compress(rows, drawn))


def _draw(text: str, purpose: str, share: float) -> bool:
    """Whether the hash of a text falls into a share; draws for different purposes are independent."""
    digest = hashlib.sha256(f"{purpose}\n{normalise(text)}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def _split(rows: list[Labelled]) -> Split:
    return Split([t for t, _ in rows], [label for _, label in rows], [headline_id(t) for t, _ in rows])


def _class_counts(rows: list[Labelled]) -> tuple[int, ...]:
    counts = Counter(label for _, label in rows)
    return tuple(counts[label] for label in range(len(LABELS)))


def _check_enough(source: str, report: CleaningReport) -> None:
    """Refuse headlines that leave a split empty, or train without one of the classes."""
    counts = report.train
    account = (
        f"{counts.read:,} rows for training were read, of which {counts.empty:,} empty, {counts.conflicting:,} "
        f"with conflicting labels, {counts.duplicates:,} duplicates and {counts.in_test:,} also in test left"
    )
    missing = [name for name, n in zip(LABELS, report.classes["train"], strict=True) if not n]
    if missing:
        raise UserError(f"{source} leaves no {' and no '.join(missing)} headline to train on: {account}.")
    for name in ("dev", "test"):
        if not sum(report.classes[name]):
            raise UserError(f"{source} leaves no headline for the {name} split, so give more headlines: {account}.")


def _data_hash(splits: Iterable[list[Labelled]]) -> str:
    return hashlib.sha256(json.dumps(list(splits)).encode()).hexdigest()[:12]
