"""Headlines and their labels: from the hub, a file or the built-in sample, cleaned and split.

`load_headlines` is the only entry point. Copies of a headline are found by `normalise(text)`, which leaves links out,
folds white space and lowers the case. The rules apply in this order:

1. A file without `test_source` is split first: a hash of the text draws 20 % of its rows for test. With `split_by` the
   latest 20 % are test.
2. Rows without a label and rows with an empty headline are removed.
3. Where copies of a headline disagree on the label, all of them are removed.
4. Where copies agree, the first one is kept.
5. A train row that is also in test is removed from train.
6. A hash of the text draws 10 % of train for dev.
7. With `seal`, a hash of the text draws a third of test. It is left out until `open_sealed` reads it.

Without `split_by`, the split of a headline depends on its text alone, and more data never moves it.
"""

import hashlib
import itertools
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from sae_pipeline.config import DEFAULT_DATA, HeadlinesConfig
from sae_pipeline.errors import UserError
from sae_pipeline.headlines.cleaning import NO_LABEL, Headline, SourceCounts, clean
from sae_pipeline.headlines.columns import Columns, find_columns
from sae_pipeline.headlines.hub import hub_splits
from sae_pipeline.headlines.labels import FoundLabels, Meanings, Numbers, understand
from sae_pipeline.headlines.rows import SourceRow, SourceRows, read_rows, typed
from sae_pipeline.headlines.sample import sample_headlines
from sae_pipeline.headlines.table_files import FORMATS, open_table
from sae_pipeline.headlines.text import headline_id, normalise, sealed_key, shortened
from sae_pipeline.schema.common import Cell
from sae_pipeline.schema.run import MAX_COLUMNS

SAMPLE = "sample"
TEST_SHARE, DEV_SHARE, SEALED_SHARE = 0.2, 0.1, 1 / 3
LEAST_SEALED = 30  # headlines; an interval of fewer says nothing


@dataclass(frozen=True)
class Split:
    """The headlines of one split, as parallel lists."""

    texts: list[str]
    labels: list[int]  # indices into the classes
    ids: list[str]  # headline_id(text)
    columns: dict[str, list[Cell]]  # the table's other columns

    def __len__(self) -> int:
        return len(self.texts)

    def first(self, n: int | None) -> "Split":
        """The first n headlines; all of them for None."""
        columns = {name: cells[:n] for name, cells in self.columns.items()}
        return Split(self.texts[:n], self.labels[:n], self.ids[:n], columns)


@dataclass(frozen=True)
class CleaningReport:
    """Counts before and after cleaning. The rows of `dev` are part of `train` until they are split off."""

    train: SourceCounts  # train and dev together
    test: SourceCounts
    names: tuple[str, ...]  # of the classes; none where the table has no labels
    classes: dict[str, tuple[int, ...]]  # by split: headlines of each class, after cleaning
    sizes: dict[str, int]  # by split: headlines
    mapping: tuple[str, ...]  # what each label means, with counts and examples
    notes: tuple[str, ...] = ()  # what the user should know about how files were read

    def lines(self) -> list[str]:
        """The report as two small tables, below what the labels mean."""
        columns = ("read", "without label", "empty", "conflicting", "duplicates", "in test", "kept")
        lines = [f"{'rows':<9}" + "".join(f"{name:>15}" for name in columns)]
        for name, counts in (("train+dev", self.train), ("test", self.test)):
            cells = (getattr(counts, column.replace(" ", "_")) for column in columns)
            lines.append(f"{name:<9}" + "".join(f"{cell:>15,}" for cell in cells))
        names = self.names if len(self.names) <= _MANY_CLASSES else ()
        width = max(12, *(len(name) + 2 for name in self.names), 0)
        lines.append(f"{'split':<9}" + "".join(f"{name:>{width}}" for name in (*names, "all")))
        for split, size in self.sizes.items():
            shown = (*self.classes[split][: len(names)], size)
            lines.append(f"{split:<9}" + "".join(f"{count:>{width},}" for count in shown))
        return [*self.mapping, *lines, *self.notes]


_MANY_CLASSES = 8  # above it the table of classes would be wider than a screen


@dataclass(frozen=True)
class Headlines:
    """The three splits, what their labels mean, how they came about, and a hash of their content.

    The texts of sealed headlines are not among them, only keys by which they are recognised.
    """

    train: Split
    dev: Split
    test: Split
    names: tuple[str, ...]  # of the classes; labels are indices into them
    labelled: bool  # whether the source has labels; all of them are NO_LABEL otherwise
    revision: str | None  # the commit of a data set on the hub
    report: CleaningReport
    data_hash: str  # 12 hex characters over texts and labels of the three splits, and the names
    sealed_keys: frozenset[str] = frozenset()  # sealed_key(text) of each sealed headline

    def with_labels(self, labels: Mapping[str, list[int]]) -> "Headlines":
        """The same headlines with these labels by split."""
        return replace(self, **{name: replace(getattr(self, name), labels=found) for name, found in labels.items()})


def load_headlines(config: HeadlinesConfig, classes: Sequence[str] = ()) -> Headlines:
    """Read, clean and split the headlines of `config.source`.

    A classifier that is taken as it is gives its own `classes`; then the source may have no labels. Raises UserError
    for every bad input, in one sentence that says what to do.
    """
    source = _Source(config, classes)
    splits, train_counts, test_counts = _cleaned(source)
    sealed = splits.pop("sealed")
    source.found.forget(row.text for row in sealed)
    meanings = source.meanings
    counts = {name: _class_counts(rows, len(meanings.names)) for name, rows in splits.items()}
    report = CleaningReport(
        train=train_counts,
        test=test_counts,
        names=meanings.names if source.labelled else (),
        classes=counts,
        sizes={name: len(rows) for name, rows in splits.items()},
        mapping=tuple(source.mapping),
        notes=(*source.notes, *([f"{len(sealed):,} more test headlines are sealed."] if sealed else [])),
    )
    _check_enough(config.source, report, to_train=not classes)
    return Headlines(
        **_splits(splits),
        names=meanings.names,
        labelled=source.labelled,
        revision=source.revision,
        report=report,
        data_hash=_data_hash(splits.values(), meanings.names),
        sealed_keys=frozenset(sealed_key(row.text) for row in sealed),
    )


def open_sealed(config: HeadlinesConfig, classes: Sequence[str] = ()) -> Split:
    """Read the sealed headlines. Only `study/unseal.py` calls this, once for each study."""
    splits, _, _ = _cleaned(_Source(config, classes))
    return _splits({"sealed": splits["sealed"]})["sealed"]


def _cleaned(source: "_Source") -> tuple[dict[str, list[Headline]], SourceCounts, SourceCounts]:
    """The rows of train, dev, test and sealed, and the counts of the cleaning of train and of test."""
    config, (train, test) = source.config, source.headlines()
    if test is None and config.split_by is None:
        train, test = _partition(train, "test", TEST_SHARE)
    elif test is None:
        train, test = latest(train, str(config.split_by), TEST_SHARE, config.source)
    without_label = [rows.without_label for rows in (*source.tables, SourceRows())]
    test, test_counts = clean(test, frozenset(), without_label[1])
    train, train_counts = clean(train, {normalise(row.text) for row in test}, without_label[0])
    train, dev = _partition(train, "dev", DEV_SHARE)
    sealed: list[Headline] = []
    if config.seal:
        test, sealed = _sealed(test, source)
    return {"train": train, "dev": dev, "test": test, "sealed": sealed}, train_counts, test_counts


def _sealed(test: list[Headline], source: "_Source") -> tuple[list[Headline], list[Headline]]:
    """The rest of test, and the third that is sealed."""
    if not source.labelled:
        raise UserError(f"--seal keeps labels for a final test, and {source.config.source} has none; leave it out.")
    rest, sealed = _partition(test, "seal", SEALED_SHARE)
    if min(len(rest), len(sealed)) < LEAST_SEALED:
        raise UserError(
            f"--seal takes a third of the {len(test):,} test headlines of {source.config.source}, and needs at least "
            f"{LEAST_SEALED} in it and as many outside; give more headlines, or leave it out."
        )
    return rest, sealed


# --- reading -------------------------------------------------------------------------------------------


class _Source:
    """The tables behind a config: train, and test where it is a table of its own."""

    def __init__(self, config: HeadlinesConfig, classes: Sequence[str]) -> None:
        self.config, self.classes = config, classes
        self.notes: list[str] = []
        self.found = FoundLabels()
        self.carried: tuple[str, ...] = ()
        self.revision: str | None = None
        self.has_labels: list[bool] = []  # of each table
        if config.split_by is not None and config.test_source is not None:
            raise UserError("--split-by draws the test split, and --test-source names it; give one of them.")
        self.tables = list(self._read())
        if len(set(self.has_labels)) > 1:
            raise UserError(f"Of {config.source} and {config.test_source} only one has labels; give both or none.")
        if self.labelled and not self.found.counts:
            way_out = "; leave that column out by --label-column ''" if classes else ""
            raise UserError(f"{config.source} has a column of labels without any label{way_out}.")

    @property
    def labelled(self) -> bool:
        """Whether the tables have labels."""
        return all(self.has_labels)

    @cached_property
    def meanings(self) -> Meanings:
        """What the labels mean."""
        if self.classes and not self.labelled:
            return Meanings(tuple(self.classes), {})
        numbers: Numbers = "unknown" if file_of(self.config.source) is None else "usual"
        if self.config.source in (SAMPLE, DEFAULT_DATA):
            numbers = "known"
        return understand(self.found, self.config, self.config.source, self.carried, numbers, self.classes)

    @property
    def mapping(self) -> list[str]:
        """The lines that say what the labels mean."""
        return self.meanings.lines(self.found) if self.labelled else ["The table has no labels."]

    def headlines(self) -> tuple[list[Headline], list[Headline] | None]:
        """The headlines of train and of test; None for test where it is still part of train."""
        index = self.meanings.index
        tables = [
            [Headline(row.text, index.get(row.label, NO_LABEL), row.cells) for row in table.rows]
            for table in self.tables
        ]
        return tables[0], tables[1] if len(tables) > 1 else None

    def _read(self) -> Iterable[SourceRows]:
        config = self.config
        if config.source == SAMPLE:
            rows = [SourceRow(text, str(label), {}) for text, label in sample_headlines()]
            for row in rows:
                self.found.add(row.label, row.text)
            self.has_labels.append(True)
            yield SourceRows(rows)
        elif path := file_of(config.source):
            yield self._file(path)
        else:
            for split in hub_splits(config.source, need_test=config.test_source is None and config.split_by is None):
                columns = self._columns(split.columns, config.source)
                self.carried, self.revision = split.class_names(columns.label), split.revision
                yield read_rows(split.rows(columns.label), columns, config.source, self.found)
        if config.test_source is not None:
            yield self._file(Path(config.test_source).expanduser())

    def _file(self, path: Path) -> SourceRows:
        table = open_table(path, self.config.columns)
        self.notes += [note for note in table.notes if note not in self.notes]
        return read_rows(table.rows(), self._columns(table.columns, path.name), path.name, self.found)

    def _columns(self, names: Sequence[str], source: str) -> Columns:
        config = self.config
        columns = find_columns(names, source, config.text_column, config.label_column, need_label=not self.classes)
        self.has_labels.append(columns.label is not None)
        self.notes += [note for note in columns.notes if note not in self.notes]
        if len(columns.others) > MAX_COLUMNS:
            self.notes.append(f"{source} has {len(columns.others)} other columns; {MAX_COLUMNS} of them are kept.")
        return replace(columns, others=tuple(sorted(columns.others, key=lambda name: name != config.split_by)))


def file_of(source: str | None) -> Path | None:
    """The file or folder that a source names; None without a source, for the sample, and for a data set on the hub."""
    if source is None or source == SAMPLE:
        return None
    path = Path(source).expanduser()
    is_file = path.suffix.lower() in FORMATS or path.exists() or not re.fullmatch(r"\w[\w.-]*(/[\w.-]+)?", source)
    return path if is_file else None


# --- splitting -----------------------------------------------------------------------------------------


def latest(rows: list[Headline], column: str, share: float, source: str) -> tuple[list[Headline], list[Headline]]:
    """The earlier rows, and the latest `share` by date or number in `column`; equal dates stay together.

    Raises UserError where the column is missing, where a cell is neither a date nor a number, and where all are equal.
    """
    names = list(dict.fromkeys(name for row in rows for name in row.cells))
    column = next((name for name in names if name.casefold() == column.strip().casefold()), column)
    if column not in names:
        raise UserError(f"{source} has no column {column!r} to split by but {', '.join(names[:20]) or 'none'}.")
    moments = _moments([row.cells.get(column) for row in rows], column, source)
    ordered = sorted(moments)
    cut = ordered[min(len(ordered) - 1, int(len(ordered) * (1 - share)))] if ordered else 0.0
    late = [moment >= cut for moment in moments]
    if all(late):
        cut = min((moment for moment in moments if moment > cut), default=cut)
        late = [moment >= cut for moment in moments]
    if all(late):
        raise UserError(f"{source} cannot be split by {column!r}: all its dates are equal.")
    return list(itertools.compress(rows, (not is_late for is_late in late))), list(itertools.compress(rows, late))


def _moments(cells: Sequence[Cell], column: str, source: str) -> list[float]:
    """Dates or numbers as numbers that ascend with time."""
    import pandas  # type: ignore[import-untyped]

    if missing := sum(cell is None for cell in cells):
        raise UserError(f"{source} cannot be split by {column!r}: {missing:,} of {len(cells):,} rows lack that cell.")
    numbers = typed(cells)
    if all(isinstance(number, (int, float)) for number in numbers):
        return [float(number) for number in numbers if number is not None and not isinstance(number, str)]
    try:
        dates = pandas.to_datetime([str(cell) for cell in cells], utc=True, format="ISO8601")
    except (ValueError, OverflowError) as error:
        reason = shortened(str(error), 100).split(", at position")[0]
        raise UserError(f"{source} cannot be split by {column!r}: {reason}; dates are read as 2024-01-31.") from error
    if dates.isna().any():
        raise UserError(f"{source} cannot be split by {column!r}: not every cell is a date like 2024-01-31.")
    return [float(moment) for moment in dates.astype("int64")]


def _partition(rows: list[Headline], purpose: str, share: float) -> tuple[list[Headline], list[Headline]]:
    """The rest, and the share of rows that the hash draws; each in the order of `rows`."""
    drawn = [_draw(row.text, purpose, share) for row in rows]
    rest = itertools.compress(rows, (not hit for hit in drawn))
    return list(rest), list(itertools.compress(rows, drawn))


def _draw(text: str, purpose: str, share: float) -> bool:
    """Whether the hash of a text falls into a share; draws for different purposes are independent."""
    digest = hashlib.sha256(f"{purpose}\n{normalise(text)}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def _splits(splits: dict[str, list[Headline]]) -> dict[str, Split]:
    """The splits as parallel lists; a column is of numbers where it is in all splits."""
    everything = list(itertools.chain(*splits.values()))
    names = list(dict.fromkeys(name for row in everything for name in row.cells))[:MAX_COLUMNS]
    columns = {name: typed([row.cells.get(name) for row in everything]) for name in names}
    made, start = {}, 0
    for split, rows in splits.items():
        end = start + len(rows)
        texts, labels = [row.text for row in rows], [row.label for row in rows]
        cells = {name: cells[start:end] for name, cells in columns.items()}
        made[split] = Split(texts, labels, [headline_id(text) for text in texts], cells)
        start = end
    return made


def _class_counts(rows: list[Headline], n_classes: int) -> tuple[int, ...]:
    counts = Counter(row.label for row in rows)
    return tuple(counts[label] for label in range(n_classes))


def _check_enough(source: str, report: CleaningReport, to_train: bool) -> None:
    """Refuse headlines that leave a split empty, and with `to_train` those that leave train without a class."""
    counts = report.train
    account = (
        f"{counts.read:,} rows for training were read, of which {counts.without_label:,} without a label, "
        f"{counts.empty:,} empty, {counts.conflicting:,} with conflicting labels, {counts.duplicates:,} duplicates and "
        f"{counts.in_test:,} also in test left"
    )
    if to_train and len(report.names) < 2:
        raise UserError(f"{source} has the class {report.names[0]} alone, and a classifier needs at least two classes.")
    missing = [name for name, n in zip(report.names, report.classes["train"], strict=False) if not n]
    if to_train and missing:
        shown = " and no ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        raise UserError(f"{source} leaves no {shown} headline to train on: {account}.")
    totals = [sum(counts) for counts in zip(*report.classes.values(), strict=True)]
    if to_train and (single := [name for name, n in zip(report.names, totals, strict=True) if n == 1]):
        raise UserError(
            f"{source} has a single headline of the class {single[0]}, too few to learn and to test it; give more, "
            "or merge it with another class by --label-map."
        )
    for name in ("train", "dev", "test") if to_train else ("train", "test"):
        if not report.sizes[name]:
            raise UserError(f"{source} leaves no headline for the {name} split, so give more headlines: {account}.")


def _data_hash(splits: Iterable[list[Headline]], names: Sequence[str]) -> str:
    content = [[(row.text, row.label) for row in rows] for rows in splits]
    return hashlib.sha256(json.dumps([*content, names]).encode()).hexdigest()[:12]
