"""Headlines in a run's index: where their records lie, their words, their order by each key, and their features."""

import math
import sqlite3
from array import array
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sae_pipeline.runs.column_tables import ColumnTables
from sae_pipeline.runs.fit import RunShape, headline_problems, prompt_problems, prompts_problems
from sae_pipeline.runs.index_tables import RunTables, Tables
from sae_pipeline.runs.json_records import Span
from sae_pipeline.runs.problems import listed_problems, made_with_problems
from sae_pipeline.schema.common import HEADLINE_FEATURES, PROMPTS, n_vectors, statistics_positions
from sae_pipeline.schema.run import FeatureStatsFile, HeadlineFeatures, HeadlineFeaturesFile, Prompt, RunMetadata

SORT_KEYS = ("confidence", "margin", "loss")
_BATCH = 1000  # rows per statement
_HEADLINES_PER_POSTING = 1 << 18


class HeadlineTables:
    """Fills the tables of headlines, as they are read or written. The methods raise `DamagedRunError`."""

    def __init__(self, tables: Tables, run: RunShape) -> None:
        self._tables, self._run = tables, run
        self.n_tokens = array("I")  # of every headline
        self.n_words = array("I")
        self.ids = array("Q")  # headline_id as a number
        self._n_counted = 0
        self._cells = array("I")
        self._keys = {name: array("f") for name in SORT_KEYS}
        self._postings = _Postings(tables.sql)
        self._columns = ColumnTables(tables, run.columns)
        self._rows: list[tuple[Any, ...]] = []
        self._prompts: list[Prompt] = []

    def add(self, line: Span, span: Span) -> None:
        """Add the next headline, given its records in `prompts.jsonl` and `headline_features.json`."""
        n = len(self.ids)
        prompt = self._prompt(n, line)
        self._postings.add(n, self._strongest(n, span, prompt))
        self._cells.append(prompt.label * len(self._run.labels) + prompt.prediction)
        for key, value in zip(SORT_KEYS, _sort_keys(prompt), strict=True):
            self._keys[key].append(value)
        self._rows.append((n, prompt.headline_id, line.start, len(line.text), span.start, len(span.text), None, None))
        self._prompts.append(prompt)
        if len(self._rows) == _BATCH:
            self._insert_headlines()

    def fill(self) -> None:
        """Write what concerns all headlines, when the last one has been added."""
        self._insert_headlines()
        self._columns.fill()
        self._postings.flush()
        self._sorted(np.frombuffer(self._cells, np.uint32))

    def check(self, metadata: RunMetadata, stats: FeatureStatsFile) -> None:
        """Check all headlines together."""
        cells, n_labels = np.frombuffer(self._cells, np.uint32), len(self._run.labels)
        class_sizes = np.bincount(cells // n_labels, minlength=n_labels).tolist()
        counts = class_sizes, self._n_counted, sum(self.n_tokens)
        problems = prompts_problems(np.frombuffer(self.ids, np.uint64), *counts, metadata, stats)
        self._tables.check(PROMPTS, "", problems)

    def _prompt(self, n: int, line: Span) -> Prompt:
        prompt = self._tables.parse(PROMPTS, line.text, Prompt, f"line {n + 1}")
        self._tables.check(PROMPTS, f"line {n + 1} ", prompt_problems(prompt, self._run))
        self.n_tokens.append(len(prompt.tokens))
        self.n_words.append(max(prompt.words, default=-1) + 1)
        self._n_counted += n_vectors(prompt.words, statistics_positions(self._run.sae.positions))
        self.ids.append(int(prompt.headline_id, 16))
        return prompt

    def _strongest(self, n: int, span: Span, prompt: Prompt) -> HeadlineFeatures:
        record = self._tables.parse(HEADLINE_FEATURES, span.text, HeadlineFeatures, f"headlines.{n}")
        problems = headline_problems(record, n, prompt, self._run.sae.d_sae)
        self._tables.check(HEADLINE_FEATURES, f"headlines.{n}.", problems)
        return record

    def _insert_headlines(self) -> None:
        sql, rows, prompts = self._tables.sql, self._rows, self._prompts
        sql.executemany("INSERT INTO headline VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
        texts = ((row[0], prompt.text) for row, prompt in zip(rows, prompts, strict=True))
        sql.executemany("INSERT INTO headline_text (rowid, text) VALUES (?, ?)", texts)
        if rows:
            self._columns.add(rows[0][0], prompts)
        rows.clear()
        prompts.clear()

    def _sorted(self, cells: NDArray[np.uint32]) -> None:
        tables, n_labels = self._tables, len(self._run.labels)
        keys = {name: np.frombuffer(key, "f4") for name, key in self._keys.items()}
        tables.vector("cell", cells.astype(np.uint8) if n_labels**2 <= 256 else cells)
        tables.vector("confidence", keys["confidence"])
        for name, key in keys.items():  # ties keep the run's order in both directions
            tables.vector(f"{name} asc", np.argsort(key, kind="stable").astype(np.uint32))
            tables.vector(f"{name} desc", np.argsort(-key, kind="stable").astype(np.uint32))
        tables.about("n_headlines", len(cells))
        labels, predictions = np.divmod(cells, n_labels)
        tables.about("n_correct", int((labels == predictions).sum()))


def read_headlines(run: RunTables) -> HeadlineTables:
    """Read `prompts.jsonl` and `headline_features.json`, which have a record for each headline, side by side."""
    spans = run.spans(HEADLINE_FEATURES, "headlines")
    head = run.parse(HEADLINE_FEATURES, next(spans).text, HeadlineFeaturesFile)
    run.check(HEADLINE_FEATURES, "", made_with_problems(head, run.metadata))
    tables = HeadlineTables(run, RunShape.of(run.metadata))
    lines = run.spans(PROMPTS)
    for n, line in enumerate(lines):
        span = next(spans, None)
        if span is None:
            run.check(HEADLINE_FEATURES, "headlines", listed_problems(n, n + 1 + sum(1 for _ in lines)))
            break
        tables.add(line, span)
    n = len(tables.ids)
    run.check(HEADLINE_FEATURES, "headlines", listed_problems(n + sum(1 for _ in spans), n))
    tables.fill()
    return tables


class _Postings:
    """Collects the strongest features of headlines, and writes for each feature the headlines that have it."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._sql = connection
        self._headlines, self._features, self._weights = array("I"), array("I"), array("f")

    def add(self, n: int, record: HeadlineFeatures) -> None:
        length = math.hypot(*(fired.activation for fired in record.features)) or 1.0
        for fired in record.features:
            self._headlines.append(n)
            self._features.append(fired.feature)
            self._weights.append(fired.activation / length)
        if n % _HEADLINES_PER_POSTING == _HEADLINES_PER_POSTING - 1:
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
    """The values of SORT_KEYS: confidence and margin of the prediction, and the loss −log p(true label) in nats."""
    chosen = prompt.probabilities[prompt.prediction]
    others = max((p for n, p in enumerate(prompt.probabilities) if n != prompt.prediction), default=0.0)
    return chosen, chosen - others, -math.log(max(prompt.probabilities[prompt.label], 1e-12))
