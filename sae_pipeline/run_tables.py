"""Filling a run's index from its JSON files, record by record. What the tables are for: see `run_index.py`.

Every record is checked by its schema and against the others, like `runs.read_run` does with the whole.
"""

import math
import sqlite3
from array import array
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from .json_records import RecordsError, Span, json_lines, json_records
from .run_fit import (
    Problems,
    column_problems,
    examples_problems,
    headline_problems,
    metric_problems,
    prompt_problems,
    stats_problems,
)
from .runs import (
    FEATURE_STATS,
    FEATURE_TOKENS,
    HEADLINE_FEATURES,
    METADATA,
    PROMPTS,
    damaged,
    parse_record,
    plain_file,
    read_metadata,
)
from .schema import (
    FEATURE_EFFECTS,
    INTERVENTIONS,
    NEIGHBOURS,
    FeatureEffectsFile,
    FeatureExamples,
    FeatureStatsFile,
    FeatureTokensFile,
    HeadlineEffects,
    HeadlineFeatures,
    HeadlineFeaturesFile,
    InterventionsFile,
    MetricColumn,
    MetricInfo,
    NeighboursFile,
    Prompt,
    Record,
)

SCHEMA = """
CREATE TABLE about (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE vector (name TEXT PRIMARY KEY, dtype TEXT, data BLOB);
CREATE TABLE headline (
    headline INTEGER PRIMARY KEY, headline_id TEXT, prompt_at INTEGER, prompt_bytes INTEGER,
    features_at INTEGER, features_bytes INTEGER, effects_at INTEGER, effects_bytes INTEGER
);
CREATE VIRTUAL TABLE headline_text USING fts5 (text, content = '', columnsize = 0, tokenize = 'unicode61');
CREATE TABLE posting (feature INTEGER, headlines BLOB, weights BLOB);
CREATE TABLE feature (
    feature INTEGER PRIMARY KEY, examples_at INTEGER, examples_bytes INTEGER,
    word TEXT, folded TEXT, spark TEXT, facts TEXT
);
CREATE TABLE fired (word TEXT, feature INTEGER, PRIMARY KEY (word, feature)) WITHOUT ROWID;
"""
INDICES = """
CREATE INDEX headline_by_id ON headline (headline_id);
CREATE INDEX posting_by_feature ON posting (feature);
CREATE INDEX feature_by_word ON feature (folded);
"""
SORT_KEYS = ("confidence", "margin", "loss")
SPARK_BINS = 16
_BATCH = 1000  # rows per statement
_POSTED = 1 << 18  # headlines per row of `posting`
_OPTIONAL = "delete this file or make it anew"


class Estimate(Record):
    """One metric of one feature with its uncertainty; null where the run does not say."""

    tested: float | None = None
    n: float | None = None
    low: float | None = None
    high: float | None = None
    q: float | None = None


class FeatureFacts(Record):
    """What the run says of one feature beside its metrics and examples."""

    estimates: dict[str, Estimate]
    class_headlines: list[int] | None
    class_means: list[float] | None
    by_decoder: list[tuple[int, float]]
    by_cofiring: list[tuple[int, float]]


class RunTables:
    """Fills the tables of `connection` from the run in `folder`; `advance` is told of bytes that were read.

    `fill` raises `DamagedRunError`.
    """

    def __init__(self, folder: Path, connection: sqlite3.Connection, advance: Callable[[int], None]) -> None:
        self._folder, self._sql, self._advance = folder, connection, advance
        self._metadata = read_metadata(folder)
        self._n_labels = len(self._metadata.labels)
        self._n_tokens = array("I")  # of every headline

    def fill(self) -> None:
        """All tables, and `about` but for version and stamp."""
        self._sql.executescript(SCHEMA)
        self._sql.execute("BEGIN")
        self._features()
        self._headlines()
        self._examples()
        self._interventions()
        self._sql.execute("COMMIT")
        self._sql.executescript(INDICES)

    # --- reading ---------------------------------------------------------------------------------------

    def _spans(self, name: str, key: str | None = None) -> Iterator[Span]:
        path = plain_file(self._folder, name)
        try:
            for span in json_lines(path) if key is None else json_records(path, key):
                self._advance(len(span.text))
                yield span
        except (RecordsError, OSError) as error:
            raise damaged(self._folder, name, "", str(error)) from error

    def _there(self, name: str) -> bool:
        return (self._folder / name).exists() or (self._folder / name).is_symlink()

    def _check(self, name: str, place: str, problems: Problems) -> None:
        for field, problem in problems:
            raise damaged(self._folder, name, f"{place}{field}", problem)

    def _about(self, name: str, value: Any) -> None:
        self._sql.execute("INSERT INTO about VALUES (?, ?)", (name, value))

    def _vector(self, name: str, values: NDArray[Any]) -> None:
        row = (name, values.dtype.str, np.ascontiguousarray(values).tobytes())
        self._sql.execute("INSERT INTO vector VALUES (?, ?, ?)", row)

    # --- headlines -------------------------------------------------------------------------------------

    def _headlines(self) -> None:
        spans = self._spans(HEADLINE_FEATURES, "headlines")
        parse_record(self._folder, HEADLINE_FEATURES, next(spans).text, HeadlineFeaturesFile)
        keys = {name: array("f") for name in SORT_KEYS}
        cells, posted = array("I"), _Postings(self._sql)
        rows: list[tuple[Any, ...]] = []
        texts: list[tuple[int, str]] = []
        lines = self._spans(PROMPTS)
        for n, line in enumerate(lines):
            prompt = self._prompt(n, line)
            span = next(spans, None)
            if span is None:
                there = n + 1 + sum(1 for _ in lines)
                raise damaged(self._folder, HEADLINE_FEATURES, "headlines", f"has {n} of {there}")
            record = self._strongest(n, span, prompt)
            posted.add(n, record)
            cells.append(prompt.label * self._n_labels + prompt.prediction)
            for key, value in zip(SORT_KEYS, _sort_keys(prompt), strict=True):
                keys[key].append(value)
            rows.append((n, prompt.headline_id, line.start, len(line.text), span.start, len(span.text), None, None))
            texts.append((n, prompt.text))
            if len(rows) == _BATCH:
                self._insert_headlines(rows, texts)
        self._insert_headlines(rows, texts)
        posted.flush()
        extra = sum(1 for _ in spans)
        if extra:
            n = len(cells)
            raise damaged(self._folder, HEADLINE_FEATURES, "headlines", f"has {n + extra} of {n}")
        if len(cells) != self._n_headlines:
            problem = f"is {self._n_headlines}, {PROMPTS} has {len(cells)}"
            raise damaged(self._folder, FEATURE_STATS, "n_headlines", problem)
        self._sorted(np.frombuffer(cells, np.uint32), {name: np.frombuffer(key, "f4") for name, key in keys.items()})

    def _prompt(self, n: int, line: Span) -> Prompt:
        prompt = parse_record(self._folder, PROMPTS, line.text, Prompt, f"line {n + 1}")
        self._check(PROMPTS, f"line {n + 1} ", prompt_problems(prompt, self._n_labels))
        self._n_tokens.append(len(prompt.tokens))
        return prompt

    def _strongest(self, n: int, span: Span, prompt: Prompt) -> HeadlineFeatures:
        record = parse_record(self._folder, HEADLINE_FEATURES, span.text, HeadlineFeatures, f"headlines.{n}")
        self._check(HEADLINE_FEATURES, f"headlines.{n}.", headline_problems(record, n, prompt, self._d_sae))
        return record

    def _insert_headlines(self, rows: list[tuple[Any, ...]], texts: list[tuple[int, str]]) -> None:
        self._sql.executemany("INSERT INTO headline VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
        self._sql.executemany("INSERT INTO headline_text (rowid, text) VALUES (?, ?)", texts)
        rows.clear()
        texts.clear()

    def _sorted(self, cells: NDArray[np.uint32], keys: dict[str, NDArray[Any]]) -> None:
        self._vector("cell", cells.astype(np.uint8) if self._n_labels**2 <= 256 else cells)
        self._vector("confidence", keys["confidence"])
        for name, key in keys.items():  # ties stay in the run's order, both ways
            self._vector(f"{name} asc", np.argsort(key, kind="stable").astype(np.uint32))
            self._vector(f"{name} desc", np.argsort(-key, kind="stable").astype(np.uint32))
        self._about("n_headlines", len(cells))
        self._about("n_correct", int((cells // max(self._n_labels, 1) == cells % max(self._n_labels, 1)).sum()))

    # --- features --------------------------------------------------------------------------------------

    def _features(self) -> None:
        spans = self._spans(FEATURE_STATS, "metrics")
        stats = parse_record(self._folder, FEATURE_STATS, next(spans).text, FeatureStatsFile)
        self._check(FEATURE_STATS, "", stats_problems(stats, self._n_labels))
        self._d_sae, self._n_headlines = stats.d_sae, stats.n_headlines
        if not self._metadata.metrics:
            raise damaged(self._folder, METADATA, "metrics", "names none")
        columns = {column.name: column for column in self._columns(FEATURE_STATS, "metrics", spans)}
        self._check(FEATURE_STATS, "", metric_problems(list(columns), self._metadata))
        metrics = list(self._metadata.metrics)
        if self._there(FEATURE_EFFECTS):
            metrics += self._effects(columns, {metric.name for metric in metrics})
        for metric in metrics:
            self._vector(f"metric {metric.name}", np.array(columns[metric.name].values, np.float64))
        self._summaries(stats, columns)
        self._facts(stats, [columns[metric.name] for metric in metrics])
        self._about("d_sae", stats.d_sae)
        self._about("metrics", orjson.dumps([metric.model_dump() for metric in metrics]).decode())
        self._about("class_sizes", orjson.dumps(stats.class_sizes).decode() if stats.class_sizes else None)

    def _columns(self, name: str, key: str, spans: Iterable[Span]) -> Iterator[MetricColumn]:
        for n, span in enumerate(spans):
            column = parse_record(self._folder, name, span.text, MetricColumn, f"{key}.{n}")
            self._check(name, f"{key} ", column_problems(column, self._d_sae))
            yield column

    def _effects(self, columns: dict[str, MetricColumn], taken: set[str]) -> list[MetricInfo]:
        """Add the columns of `feature_effects.json`; the metrics that they are."""
        spans = self._spans(FEATURE_EFFECTS, "columns")
        head = parse_record(self._folder, FEATURE_EFFECTS, next(spans).text, FeatureEffectsFile)
        if (head.sae_hash, head.d_sae) != (self._metadata.sae_hash, self._d_sae):
            raise damaged(self._folder, FEATURE_EFFECTS, "sae_hash, d_sae", f"are another SAE's: {_OPTIONAL}")
        found = {column.name: column for column in self._columns(FEATURE_EFFECTS, "columns", spans)}
        for metric in head.metrics:
            if metric.name not in found or metric.name in taken:
                raise damaged(self._folder, FEATURE_EFFECTS, f"metrics {metric.name}", f"does not fit: {_OPTIONAL}")
        columns |= found
        return head.metrics

    def _summaries(self, stats: FeatureStatsFile, columns: dict[str, MetricColumn]) -> None:
        counts = np.array(stats.headline_counts, np.int64)
        if stats.counts is not None:
            density = np.array(stats.counts, np.float64) / max(stats.n_counted_tokens, 1)
        elif "fraction_active" in columns:
            density = np.array(columns["fraction_active"].values, np.float64)
        else:
            density = counts / max(stats.n_headlines, 1)
        self._vector("headline_counts", counts)
        self._vector("density", density.clip(0, 1))
        names = [f"auroc_{label.lower()}" for label in self._metadata.labels]
        leaning = np.full(stats.d_sae, -1, np.int16)
        if names and all(name in columns for name in names):
            auroc = np.array([columns[name].values for name in names], np.float64)
            leaning = np.where((counts > 0) & (auroc.max(axis=0) > 0.5), auroc.argmax(axis=0), -1).astype(np.int16)
        self._vector("leaning", leaning)

    def _facts(self, stats: FeatureStatsFile, columns: list[MetricColumn]) -> None:
        fields = tuple(Estimate.model_fields)
        rows = [(c.name, f, getattr(c, f)) for c in columns for f in fields if getattr(c, f) is not None]
        table = np.array([row for _, _, row in rows], np.float64).reshape(len(rows), stats.d_sae)  # null: NaN
        near = self._neighbours()

        def fact(feature: int) -> bytes:
            estimates: dict[str, dict[str, float]] = {}
            for (name, field, _), value in zip(rows, table[:, feature].tolist(), strict=True):
                estimates.setdefault(name, {})[field] = value  # orjson writes NaN as null
            return orjson.dumps(
                {
                    "estimates": estimates,
                    "class_headlines": _column(stats.class_headline_counts, feature),
                    "class_means": _column(stats.class_means, feature),
                    "by_decoder": _pairs(near.by_decoder, near.decoder_cosine, feature) if near else [],
                    "by_cofiring": _pairs(near.by_cofiring, near.cofiring, feature) if near else [],
                }
            )

        statement = "INSERT INTO feature (feature, facts) VALUES (?, ?)"
        self._sql.executemany(statement, ((feature, fact(feature).decode()) for feature in range(stats.d_sae)))

    def _neighbours(self) -> NeighboursFile | None:
        if not self._there(NEIGHBOURS):
            return None
        text = plain_file(self._folder, NEIGHBOURS).read_bytes()
        self._advance(len(text))
        near = parse_record(self._folder, NEIGHBOURS, text, NeighboursFile)
        lists = (near.by_decoder, near.decoder_cosine, near.by_cofiring, near.cofiring)
        if {len(column) for column in lists} != {self._d_sae}:
            raise damaged(self._folder, NEIGHBOURS, "", f"does not have {self._d_sae} features: {_OPTIONAL}")
        for column in (near.by_decoder, near.by_cofiring):
            if any(other >= self._d_sae for row in column for other in row):
                raise damaged(self._folder, NEIGHBOURS, "", f"names features beyond {self._d_sae - 1}: {_OPTIONAL}")
        return near

    # --- examples and effects --------------------------------------------------------------------------

    def _examples(self) -> None:
        spans = self._spans(FEATURE_TOKENS, "features")
        head = parse_record(self._folder, FEATURE_TOKENS, next(spans).text, FeatureTokensFile)
        n_bins = len(head.histogram_edges) - 1
        self._about("histogram_edges", orjson.dumps(head.histogram_edges).decode())
        seen: set[int] = set()
        for n, span in enumerate(spans):
            saved = parse_record(self._folder, FEATURE_TOKENS, span.text, FeatureExamples, f"features.{n}")
            problems = examples_problems(saved, n_bins, self._d_sae, self._n_tokens)
            self._check(FEATURE_TOKENS, f"features.{n}.", problems)
            if saved.feature in seen:
                raise damaged(self._folder, FEATURE_TOKENS, f"features.{n}.feature", "is listed twice")
            seen.add(saved.feature)
            self._sql.execute(
                "UPDATE feature SET (examples_at, examples_bytes, word, folded, spark) = (?, ?, ?, ?, ?) "
                "WHERE feature = ?",
                (span.start, len(span.text), saved.word, saved.word.casefold(), _spark(saved.histogram), saved.feature),
            )
            words = {one.word.casefold() for one in saved.words or saved.examples} | {saved.word.casefold()}
            self._sql.executemany("INSERT INTO fired VALUES (?, ?)", ((word, saved.feature) for word in words))

    def _interventions(self) -> None:
        if not self._there(INTERVENTIONS):
            return
        spans = self._spans(INTERVENTIONS, "headlines")
        head = parse_record(self._folder, INTERVENTIONS, next(spans).text, InterventionsFile)
        if head.sae_hash != self._metadata.sae_hash:
            raise damaged(self._folder, INTERVENTIONS, "sae_hash", f"is another SAE's: {_OPTIONAL}")
        self._about("interventions", head.model_dump_json(exclude={"headlines"}))
        for n, span in enumerate(spans):
            effects = parse_record(self._folder, INTERVENTIONS, span.text, HeadlineEffects, f"headlines.{n}")
            changed = self._sql.execute(
                "UPDATE headline SET (effects_at, effects_bytes) = (?, ?) WHERE headline = ? AND headline_id = ?",
                (span.start, len(span.text), min(effects.headline, self._n_headlines), effects.headline_id),
            )
            if changed.rowcount != 1:
                problem = f"is no headline of {PROMPTS}: {_OPTIONAL}"
                raise damaged(self._folder, INTERVENTIONS, f"headlines.{n}.headline_id", problem)


class _Postings:
    """Collects which features are among which headlines' strongest, and writes them feature by feature."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._sql = connection
        self._headlines, self._features, self._weights = array("I"), array("I"), array("f")

    def add(self, n: int, record: HeadlineFeatures) -> None:
        length = math.hypot(*(fired.activation for fired in record.features)) or 1.0
        for fired in record.features:
            self._headlines.append(n)
            self._features.append(fired.feature)
            self._weights.append(fired.activation / length)
        if n % _POSTED == _POSTED - 1:
            self.flush()

    def flush(self) -> None:
        if not self._features:
            return
        features = np.frombuffer(self._features, np.uint32)
        order = np.argsort(features, kind="stable")
        headlines, weights = np.frombuffer(self._headlines, np.uint32)[order], np.frombuffer(self._weights, "f4")[order]
        found, starts = np.unique(features[order], return_index=True)
        ends = [*starts[1:].tolist(), len(order)]
        self._sql.executemany(
            "INSERT INTO posting VALUES (?, ?, ?)",
            (
                (feature, headlines[start:end].tobytes(), weights[start:end].tobytes())
                for feature, start, end in zip(found.tolist(), starts.tolist(), ends, strict=True)
            ),
        )
        self._headlines, self._features, self._weights = array("I"), array("I"), array("f")


def _sort_keys(prompt: Prompt) -> tuple[float, float, float]:
    """SORT_KEYS: confidence and margin of the prediction, loss −log p(true label) in nats, p at least 1e-12."""
    chosen = prompt.probabilities[prompt.prediction]
    others = max((p for n, p in enumerate(prompt.probabilities) if n != prompt.prediction), default=0.0)
    return chosen, chosen - others, -math.log(max(prompt.probabilities[prompt.label], 1e-12))


def _spark(histogram: list[int]) -> str:
    """The same counts in at most SPARK_BINS bins, as JSON."""
    width = max(-(-len(histogram) // SPARK_BINS), 1)
    return str([sum(histogram[start : start + width]) for start in range(0, len(histogram), width)])


def _column(rows: list[list[Any]] | None, feature: int) -> list[Any] | None:
    return [row[feature] for row in rows] if rows is not None else None


def _pairs(features: list[list[int]], numbers: list[list[float]], feature: int) -> list[tuple[int, float]]:
    return list(zip(features[feature], numbers[feature], strict=False))
