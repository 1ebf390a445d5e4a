"""Headlines in a run's index: where their records lie, their words, their order by each key, and their features."""

import math
import sqlite3
from array import array
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sae_pipeline.runs.fit import headline_problems, prompt_problems
from sae_pipeline.runs.folders import damaged, parse_record
from sae_pipeline.runs.index_tables import OPTIONAL, RunTables
from sae_pipeline.runs.json_records import Span
from sae_pipeline.schema.causes import INTERVENTIONS, HeadlineEffects, InterventionsFile
from sae_pipeline.schema.common import FEATURE_STATS, HEADLINE_FEATURES, PROMPTS
from sae_pipeline.schema.run import HeadlineFeatures, HeadlineFeaturesFile, Prompt

SORT_KEYS = ("confidence", "margin", "loss")
_BATCH = 1000  # rows per statement
_HEADLINES_PER_POSTING = 1 << 18


class HeadlineTables:
    """Fills the tables of headlines. The methods raise `DamagedRunError`."""

    def __init__(self, run: RunTables, d_sae: int, n_headlines: int) -> None:
        self._run, self._d_sae, self._n_headlines = run, d_sae, n_headlines
        self.n_tokens = array("I")  # of every headline

    def fill(self) -> None:
        """Read `prompts.jsonl` and `headline_features.json`, which have a record for each headline, side by side."""
        spans = self._run.spans(HEADLINE_FEATURES, "headlines")
        parse_record(self._run.folder, HEADLINE_FEATURES, next(spans).text, HeadlineFeaturesFile)
        keys = {name: array("f") for name in SORT_KEYS}
        cells, postings = array("I"), _Postings(self._run.sql)
        rows: list[tuple[Any, ...]] = []
        texts: list[tuple[int, str]] = []
        lines = self._run.spans(PROMPTS)
        for n, line in enumerate(lines):
            prompt = self._prompt(n, line)
            span = next(spans, None)
            if span is None:
                n_prompts = n + 1 + sum(1 for _ in lines)
                raise damaged(self._run.folder, HEADLINE_FEATURES, "headlines", f"has {n} of {n_prompts}")
            record = self._strongest(n, span, prompt)
            postings.add(n, record)
            cells.append(prompt.label * self._run.n_labels + prompt.prediction)
            for key, value in zip(SORT_KEYS, _sort_keys(prompt), strict=True):
                keys[key].append(value)
            rows.append((n, prompt.headline_id, line.start, len(line.text), span.start, len(span.text), None, None))
            texts.append((n, prompt.text))
            if len(rows) == _BATCH:
                self._insert_headlines(rows, texts)
        self._insert_headlines(rows, texts)
        postings.flush()
        extra = sum(1 for _ in spans)
        if extra:
            n = len(cells)
            raise damaged(self._run.folder, HEADLINE_FEATURES, "headlines", f"has {n + extra} of {n}")
        if len(cells) != self._n_headlines:
            problem = f"is {self._n_headlines}, {PROMPTS} has {len(cells)}"
            raise damaged(self._run.folder, FEATURE_STATS, "n_headlines", problem)
        self._sorted(np.frombuffer(cells, np.uint32), {name: np.frombuffer(key, "f4") for name, key in keys.items()})

    def _prompt(self, n: int, line: Span) -> Prompt:
        prompt = parse_record(self._run.folder, PROMPTS, line.text, Prompt, f"line {n + 1}")
        self._run.check(PROMPTS, f"line {n + 1} ", prompt_problems(prompt, self._run.n_labels))
        self.n_tokens.append(len(prompt.tokens))
        return prompt

    def _strongest(self, n: int, span: Span, prompt: Prompt) -> HeadlineFeatures:
        record = parse_record(self._run.folder, HEADLINE_FEATURES, span.text, HeadlineFeatures, f"headlines.{n}")
        self._run.check(HEADLINE_FEATURES, f"headlines.{n}.", headline_problems(record, n, prompt, self._d_sae))
        return record

    def _insert_headlines(self, rows: list[tuple[Any, ...]], texts: list[tuple[int, str]]) -> None:
        self._run.sql.executemany("INSERT INTO headline VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
        self._run.sql.executemany("INSERT INTO headline_text (rowid, text) VALUES (?, ?)", texts)
        rows.clear()
        texts.clear()

    def _sorted(self, cells: NDArray[np.uint32], keys: dict[str, NDArray[Any]]) -> None:
        self._run.vector("cell", cells.astype(np.uint8) if self._run.n_labels**2 <= 256 else cells)
        self._run.vector("confidence", keys["confidence"])
        for name, key in keys.items():  # ties keep the run's order in both directions
            self._run.vector(f"{name} asc", np.argsort(key, kind="stable").astype(np.uint32))
            self._run.vector(f"{name} desc", np.argsort(-key, kind="stable").astype(np.uint32))
        self._run.about("n_headlines", len(cells))
        labels, predictions = np.divmod(cells, max(self._run.n_labels, 1))
        self._run.about("n_correct", int((labels == predictions).sum()))

    def interventions(self) -> None:
        """Read `interventions.json`, if the run has it."""
        if not self._run.has(INTERVENTIONS):
            return
        spans = self._run.spans(INTERVENTIONS, "headlines")
        head = parse_record(self._run.folder, INTERVENTIONS, next(spans).text, InterventionsFile)
        if head.sae_hash != self._run.metadata.sae_hash:
            raise damaged(self._run.folder, INTERVENTIONS, "sae_hash", f"is another SAE's: {OPTIONAL}")
        self._run.about("interventions", head.model_dump_json(exclude={"headlines"}))
        for n, span in enumerate(spans):
            effects = parse_record(self._run.folder, INTERVENTIONS, span.text, HeadlineEffects, f"headlines.{n}")
            changed = self._run.sql.execute(
                "UPDATE headline SET (effects_at, effects_bytes) = (?, ?) WHERE headline = ? AND headline_id = ?",
                (span.start, len(span.text), min(effects.headline, self._n_headlines), effects.headline_id),
            )
            if changed.rowcount != 1:
                problem = f"is no headline of {PROMPTS}: {OPTIONAL}"
                raise damaged(self._run.folder, INTERVENTIONS, f"headlines.{n}.headline_id", problem)


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
