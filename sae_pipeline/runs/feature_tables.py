"""Features in a run's index: their metrics and facts, where their examples lie, and the words on which they fire."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import orjson

from sae_pipeline.runs.fit import column_problems, examples_problems, metric_problems, stats_problems
from sae_pipeline.runs.folders import damaged, parse_record, plain_file
from sae_pipeline.runs.index_tables import OPTIONAL, RunTables
from sae_pipeline.runs.json_records import Span
from sae_pipeline.schema.causes import FEATURE_EFFECTS, FeatureEffectsFile
from sae_pipeline.schema.common import FEATURE_STATS, FEATURE_TOKENS, METADATA, Record
from sae_pipeline.schema.family import FAMILY, FamilyFile, Verdict
from sae_pipeline.schema.run import (
    NEIGHBOURS,
    FeatureExamples,
    FeatureStatsFile,
    FeatureTokensFile,
    MetricColumn,
    MetricInfo,
    NeighboursFile,
)

SPARK_BINS = 16


class Estimate(Record):
    """The uncertainty of one metric of one feature; None where the run does not have it."""

    tested: float | None = None
    n: float | None = None
    low: float | None = None
    high: float | None = None
    q: float | None = None


class Counterpart(Record):
    """The counterpart of a feature in another SAE."""

    size: str
    sae_hash: str
    feature: int
    cosine: float
    coactivation: float
    verdict: Verdict


class FeatureFacts(Record):
    """What the run has on one feature beside its metrics and examples."""

    estimates: dict[str, Estimate]
    class_headlines: list[int]
    class_means: list[float]
    by_decoder: list[tuple[int, float]]
    by_cofiring: list[tuple[int, float]]
    family: list[Counterpart]


class FeatureTables:
    """Fills the tables of features. The methods raise `DamagedRunError`."""

    def __init__(self, run: RunTables) -> None:
        self._run = run

    def fill(self) -> None:
        """Read `feature_stats.json`, and where they exist `feature_effects.json`, `neighbours.json`, `family.json`."""
        spans = self._run.spans(FEATURE_STATS, "metrics")
        stats = parse_record(self._run.folder, FEATURE_STATS, next(spans).text, FeatureStatsFile)
        self._run.check(FEATURE_STATS, "", stats_problems(stats, self._run.n_labels))
        self.d_sae, self.n_headlines = stats.d_sae, stats.n_headlines
        if not self._run.metadata.metrics:
            raise damaged(self._run.folder, METADATA, "metrics", "names none")
        columns = {column.name: column for column in self._columns(FEATURE_STATS, "metrics", spans)}
        self._run.check(FEATURE_STATS, "", metric_problems(list(columns), self._run.metadata))
        metrics = list(self._run.metadata.metrics)
        if self._run.has(FEATURE_EFFECTS):
            metrics += self._effects(columns, {metric.name for metric in metrics})
        for metric in metrics:
            self._run.vector(f"metric {metric.name}", np.array(columns[metric.name].values, np.float64))
        self._summaries(stats, columns)
        self._facts(stats, [columns[metric.name] for metric in metrics])
        self._run.about("d_sae", stats.d_sae)
        self._run.about("metrics", orjson.dumps([metric.model_dump() for metric in metrics]).decode())
        self._run.about("class_sizes", orjson.dumps(stats.class_sizes).decode())

    def _columns(self, name: str, key: str, spans: Iterable[Span]) -> Iterator[MetricColumn]:
        for n, span in enumerate(spans):
            column = parse_record(self._run.folder, name, span.text, MetricColumn, f"{key}.{n}")
            self._run.check(name, f"{key} ", column_problems(column, self.d_sae))
            yield column

    def _effects(self, columns: dict[str, MetricColumn], taken: set[str]) -> list[MetricInfo]:
        """Add the columns of `feature_effects.json` to `columns`. Returns their metrics."""
        spans = self._run.spans(FEATURE_EFFECTS, "columns")
        head = parse_record(self._run.folder, FEATURE_EFFECTS, next(spans).text, FeatureEffectsFile)
        if (head.sae_hash, head.d_sae) != (self._run.metadata.sae_hash, self.d_sae):
            raise damaged(self._run.folder, FEATURE_EFFECTS, "sae_hash, d_sae", f"are another SAE's: {OPTIONAL}")
        found = {column.name: column for column in self._columns(FEATURE_EFFECTS, "columns", spans)}
        for metric in head.metrics:
            if metric.name not in found or metric.name in taken:
                raise damaged(self._run.folder, FEATURE_EFFECTS, f"metrics {metric.name}", f"does not fit: {OPTIONAL}")
        columns |= found
        return head.metrics

    def _summaries(self, stats: FeatureStatsFile, columns: dict[str, MetricColumn]) -> None:
        counts = np.array(stats.headline_counts, np.int64)
        density = np.array(stats.counts, np.float64) / max(stats.n_counted_tokens, 1)
        self._run.vector("headline_counts", counts)
        self._run.vector("density", density.clip(0, 1))
        names = [f"auroc_{label.lower()}" for label in self._run.metadata.labels]
        leaning = np.full(stats.d_sae, -1, np.int16)
        if names and all(name in columns for name in names):
            auroc = np.array([columns[name].values for name in names], np.float64)
            leaning = np.where((counts > 0) & (auroc.max(axis=0) > 0.5), auroc.argmax(axis=0), -1).astype(np.int16)
        self._run.vector("leaning", leaning)

    def _facts(self, stats: FeatureStatsFile, columns: list[MetricColumn]) -> None:
        fields = tuple(Estimate.model_fields)
        rows = [(c.name, f, getattr(c, f)) for c in columns for f in fields if getattr(c, f) is not None]
        table = np.array([row for _, _, row in rows], np.float64).reshape(len(rows), stats.d_sae)  # null: NaN
        neighbours, family = self._neighbours(), self._family()

        def fact(feature: int) -> bytes:
            estimates: dict[str, dict[str, float]] = {}
            for (name, field, _), value in zip(rows, table[:, feature].tolist(), strict=True):
                estimates.setdefault(name, {})[field] = value  # orjson writes NaN as null
            return orjson.dumps(
                {
                    "estimates": estimates,
                    "class_headlines": [counts[feature] for counts in stats.class_headline_counts],
                    "class_means": [means[feature] for means in stats.class_means],
                    "by_decoder": _pairs(neighbours.by_decoder, neighbours.decoder_cosine, feature)
                    if neighbours
                    else [],
                    "by_cofiring": _pairs(neighbours.by_cofiring, neighbours.cofiring, feature) if neighbours else [],
                    "family": _counterparts(family, feature) if family else [],
                }
            )

        statement = "INSERT INTO feature (feature, facts) VALUES (?, ?)"
        self._run.sql.executemany(statement, ((feature, fact(feature).decode()) for feature in range(stats.d_sae)))

    def _neighbours(self) -> NeighboursFile | None:
        if not self._run.has(NEIGHBOURS):
            return None
        text = plain_file(self._run.folder, NEIGHBOURS).read_bytes()
        self._run.advance(len(text))
        near = parse_record(self._run.folder, NEIGHBOURS, text, NeighboursFile)
        lists = (near.by_decoder, near.decoder_cosine, near.by_cofiring, near.cofiring)
        if {len(column) for column in lists} != {self.d_sae}:
            raise damaged(self._run.folder, NEIGHBOURS, "", f"does not have {self.d_sae} features: {OPTIONAL}")
        for column in (near.by_decoder, near.by_cofiring):
            if any(other >= self.d_sae for row in column for other in row):
                raise damaged(self._run.folder, NEIGHBOURS, "", f"names features beyond {self.d_sae - 1}: {OPTIONAL}")
        return near

    def _family(self) -> FamilyFile | None:
        if not self._run.has(FAMILY):
            return None
        text = plain_file(self._run.folder, FAMILY).read_bytes()
        self._run.advance(len(text))
        family = parse_record(self._run.folder, FAMILY, text, FamilyFile)
        if (family.sae_hash, family.d_sae) != (self._run.metadata.sae_hash, self.d_sae):
            raise damaged(self._run.folder, FAMILY, "sae_hash, d_sae", f"are another SAE's: {OPTIONAL}")
        lists = [getattr(match, field) for match in family.matches for field in type(match).model_fields]
        if len(family.matches) != len(family.members) or {len(column) for column in lists} - {self.d_sae}:
            raise damaged(self._run.folder, FAMILY, "matches", f"do not fit members and features: {OPTIONAL}")
        return family

    def examples(self, n_tokens: Sequence[int]) -> None:
        """Read `feature_tokens.json`; `n_tokens` has the number of tokens of every headline."""
        spans = self._run.spans(FEATURE_TOKENS, "features")
        head = parse_record(self._run.folder, FEATURE_TOKENS, next(spans).text, FeatureTokensFile)
        n_bins = len(head.histogram_edges) - 1
        self._run.about("histogram_edges", orjson.dumps(head.histogram_edges).decode())
        seen: set[int] = set()
        for n, span in enumerate(spans):
            saved = parse_record(self._run.folder, FEATURE_TOKENS, span.text, FeatureExamples, f"features.{n}")
            problems = examples_problems(saved, n_bins, self.d_sae, n_tokens)
            self._run.check(FEATURE_TOKENS, f"features.{n}.", problems)
            if saved.feature in seen:
                raise damaged(self._run.folder, FEATURE_TOKENS, f"features.{n}.feature", "is listed twice")
            seen.add(saved.feature)
            self._run.sql.execute(
                "UPDATE feature SET (examples_at, examples_bytes, word, folded, spark) = (?, ?, ?, ?, ?) "
                "WHERE feature = ?",
                (span.start, len(span.text), saved.word, saved.word.casefold(), _spark(saved.histogram), saved.feature),
            )
            words = {one.word.casefold() for one in saved.words or saved.examples} | {saved.word.casefold()}
            self._run.sql.executemany("INSERT INTO fired VALUES (?, ?)", ((word, saved.feature) for word in words))


def _spark(histogram: list[int]) -> str:
    """A histogram in at most SPARK_BINS bins, as JSON."""
    width = max(-(-len(histogram) // SPARK_BINS), 1)
    return str([sum(histogram[start : start + width]) for start in range(0, len(histogram), width)])


def _pairs(features: list[list[int]], numbers: list[list[float]], feature: int) -> list[tuple[int, float]]:
    return list(zip(features[feature], numbers[feature], strict=False))


def _counterparts(family: FamilyFile, feature: int) -> list[dict[str, Any]]:
    return [
        {
            **member.model_dump(include={"size", "sae_hash"}),
            **{field: getattr(match, field)[feature] for field in type(match).model_fields},
        }
        for member, match in zip(family.members, family.matches, strict=True)
    ]
