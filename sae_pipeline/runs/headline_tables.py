"""Headlines in a run's index: where their records lie, their words, their order by each key, and their features."""

import math
import sqlite3
from array import array
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from sae_pipeline.runs.column_tables import ColumnTables
from sae_pipeline.runs.fit import headline_problems, prompt_problems, prompts_problems
from sae_pipeline.runs.fit_added import (
    calibration_problems,
    contrast_problems,
    diff_problems,
    headline_effects_problems,
    interventions_problems,
    mending_problems,
)
from sae_pipeline.runs.index_tables import RunTables
from sae_pipeline.runs.json_records import Span
from sae_pipeline.runs.problems import Problems, listed_problems, made_with_problems, repeated_problems
from sae_pipeline.runs.run_files import damaged
from sae_pipeline.schema.calibration import CALIBRATION, CalibrationFile
from sae_pipeline.schema.causes import INTERVENTIONS, HeadlineEffects, InterventionsFile
from sae_pipeline.schema.common import HEADLINE_FEATURES, PROMPTS, MadeFrom, n_vectors, statistics_positions
from sae_pipeline.schema.contrast import CONTRAST, ContrastFile
from sae_pipeline.schema.diff import DIFF, DiffFile
from sae_pipeline.schema.mending import MENDING, MendingFile
from sae_pipeline.schema.run import FeatureStatsFile, HeadlineFeatures, HeadlineFeaturesFile, Prompt, RunMetadata

SORT_KEYS = ("confidence", "margin", "loss")
Added = TypeVar("Added", bound=MadeFrom)
_BATCH = 1000  # rows per statement
_HEADLINES_PER_POSTING = 1 << 18


class HeadlineTables:
    """Fills the tables of headlines. The methods raise `DamagedRunError`."""

    def __init__(self, run: RunTables, stats: FeatureStatsFile) -> None:
        self._run, self._stats = run, stats
        self.n_tokens = array("I")  # of every headline
        self._n_words = array("I")
        self._n_counted = 0
        self._ids = array("Q")
        self._columns = ColumnTables(run)

    def fill(self) -> None:
        """Read `prompts.jsonl` and `headline_features.json`, which have a record for each headline, side by side."""
        run = self._run
        spans = run.spans(HEADLINE_FEATURES, "headlines")
        head = run.parse(HEADLINE_FEATURES, next(spans).text, HeadlineFeaturesFile)
        run.check(HEADLINE_FEATURES, "", made_with_problems(head, run.metadata))
        keys = {name: array("f") for name in SORT_KEYS}
        cells, postings = array("I"), _Postings(run.sql)
        rows: list[tuple[Any, ...]] = []
        prompts: list[Prompt] = []
        lines = run.spans(PROMPTS)
        for n, line in enumerate(lines):
            prompt = self._prompt(n, line)
            span = next(spans, None)
            if span is None:
                run.check(HEADLINE_FEATURES, "headlines", listed_problems(n, n + 1 + sum(1 for _ in lines)))
                break
            record = self._strongest(n, span, prompt)
            postings.add(n, record)
            cells.append(prompt.label * run.n_labels + prompt.prediction)
            for key, value in zip(SORT_KEYS, _sort_keys(prompt), strict=True):
                keys[key].append(value)
            rows.append((n, prompt.headline_id, line.start, len(line.text), span.start, len(span.text), None, None))
            prompts.append(prompt)
            if len(rows) == _BATCH:
                self._insert_headlines(rows, prompts)
        self._insert_headlines(rows, prompts)
        self._columns.fill()
        postings.flush()
        n = len(cells)
        run.check(HEADLINE_FEATURES, "headlines", listed_problems(n + sum(1 for _ in spans), n))
        cell = np.frombuffer(cells, np.uint32)
        self._check_all(cell)
        self._sorted(cell, {name: np.frombuffer(key, "f4") for name, key in keys.items()})

    def _prompt(self, n: int, line: Span) -> Prompt:
        prompt = self._run.parse(PROMPTS, line.text, Prompt, f"line {n + 1}")
        self._run.check(PROMPTS, f"line {n + 1} ", prompt_problems(prompt, self._run.metadata))
        self.n_tokens.append(len(prompt.tokens))
        self._n_words.append(max(prompt.words, default=-1) + 1)
        self._n_counted += n_vectors(prompt.words, statistics_positions(self._run.metadata.sae.positions))
        self._ids.append(int(prompt.headline_id, 16))
        return prompt

    def _strongest(self, n: int, span: Span, prompt: Prompt) -> HeadlineFeatures:
        record = self._run.parse(HEADLINE_FEATURES, span.text, HeadlineFeatures, f"headlines.{n}")
        problems = headline_problems(record, n, prompt, self._stats.d_sae)
        self._run.check(HEADLINE_FEATURES, f"headlines.{n}.", problems)
        return record

    def _check_all(self, cells: NDArray[np.uint32]) -> None:
        """Check the headlines together, when all have been read."""
        run, ids = self._run, np.frombuffer(self._ids, np.uint64)
        class_sizes = np.bincount(cells // run.n_labels, minlength=run.n_labels).tolist()
        counts = class_sizes, self._n_counted, sum(self.n_tokens)
        run.check(PROMPTS, "", prompts_problems(ids, *counts, run.metadata, self._stats))

    def _insert_headlines(self, rows: list[tuple[Any, ...]], prompts: list[Prompt]) -> None:
        self._run.sql.executemany("INSERT INTO headline VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
        texts = ((row[0], prompt.text) for row, prompt in zip(rows, prompts, strict=True))
        self._run.sql.executemany("INSERT INTO headline_text (rowid, text) VALUES (?, ?)", texts)
        if rows:
            self._columns.add(rows[0][0], prompts)
        rows.clear()
        prompts.clear()

    def _sorted(self, cells: NDArray[np.uint32], keys: dict[str, NDArray[Any]]) -> None:
        self._run.vector("cell", cells.astype(np.uint8) if self._run.n_labels**2 <= 256 else cells)
        self._run.vector("confidence", keys["confidence"])
        for name, key in keys.items():  # ties keep the run's order in both directions
            self._run.vector(f"{name} asc", np.argsort(key, kind="stable").astype(np.uint32))
            self._run.vector(f"{name} desc", np.argsort(-key, kind="stable").astype(np.uint32))
        self._run.about("n_headlines", len(cells))
        labels, predictions = np.divmod(cells, self._run.n_labels)
        self._run.about("n_correct", int((labels == predictions).sum()))

    def interventions(self) -> None:
        """Read `interventions.json`, if the run has it."""
        run = self._run
        if not run.has(INTERVENTIONS):
            return
        with run.optional(INTERVENTIONS):
            spans = run.sealed_spans(INTERVENTIONS, "headlines")
            head = run.parse(INTERVENTIONS, next(spans).text, InterventionsFile)
            run.check(INTERVENTIONS, "", interventions_problems(head, run.metadata, run.checksum))
            headlines, starts, sizes = array("I"), array("Q"), array("I")
            for n, span in enumerate(spans):
                headlines.append(self._with_effects(n, span))
                starts.append(span.start)
                sizes.append(len(span.text))
            run.check(INTERVENTIONS, "headlines", repeated_problems("headline", headlines))
            run.about("interventions", head.model_dump_json(exclude={"headlines"}))
            statement = "UPDATE headline SET (effects_at, effects_bytes) = (?, ?) WHERE headline = ?"
            run.sql.executemany(statement, zip(starts, sizes, headlines, strict=True))

    def findings(self) -> None:
        """Read the files about the run as a whole that it has."""
        self._kept(CONTRAST, ContrastFile, contrast_problems)
        self._kept(MENDING, MendingFile, mending_problems)
        self._kept(CALIBRATION, CalibrationFile, calibration_problems)
        self._kept(DIFF, DiffFile, partial(diff_problems, n_tokens=self.n_tokens))

    def _kept(self, name: str, model: type[Added], problems: Callable[[Added, RunMetadata, str], Problems]) -> None:
        """Check an added file and keep it as it is, under its name."""
        run = self._run
        found = run.whole(name, model, lambda one: problems(one, run.metadata, run.checksum))
        if found is not None:
            run.about(name, found.model_dump_json())

    def _with_effects(self, n: int, span: Span) -> int:
        """The headline of record `n` of `interventions.json`."""
        run = self._run
        effects = run.parse(INTERVENTIONS, span.text, HeadlineEffects, f"headlines.{n}")
        headline = effects.headline
        if headline >= len(self._ids) or f"{self._ids[headline]:012x}" != effects.headline_id:
            raise damaged(run.folder, INTERVENTIONS, f"headlines.{n}.headline_id", f"is no headline of {PROMPTS}")
        sizes = self.n_tokens[headline], self._n_words[headline]
        problems = headline_effects_problems(effects, run.metadata, *sizes)
        run.check(INTERVENTIONS, f"headlines.{n}.", problems)
        return headline


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
