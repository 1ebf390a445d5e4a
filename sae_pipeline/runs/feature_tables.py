"""Features in a run's index: their metrics and facts, where their examples lie, and the words on which they fire."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import orjson

from sae_pipeline.runs.decoder import check_decoder
from sae_pipeline.runs.fit import column_problems, examples_problems, metric_problems, stats_problems, tokens_problems
from sae_pipeline.runs.fit_added import (
    effects_problems,
    explanations_problems,
    family_problems,
    map_problems,
    names_problems,
    neighbours_problems,
)
from sae_pipeline.runs.index_tables import RunTables
from sae_pipeline.runs.json_records import Span
from sae_pipeline.runs.multiplicity import tests_of
from sae_pipeline.runs.problems import listed_problems, repeated_problems
from sae_pipeline.runs.seed_stability import (
    FOUND_IN_SEEDS,
    found_in_seeds_metric,
    in_other_seeds,
    seed_stability,
    times_found,
)
from sae_pipeline.schema.causes import FEATURE_EFFECTS, FeatureEffectsFile
from sae_pipeline.schema.common import FEATURE_STATS, FEATURE_TOKENS, MadeWith, Record
from sae_pipeline.schema.explanations import EXPLANATIONS, Explanation, ExplanationsFile
from sae_pipeline.schema.family import FAMILY, FamilyFile, MemberMatches, Verdict
from sae_pipeline.schema.map import MAP, MapFile
from sae_pipeline.schema.names import NAMES, FeatureName, NamesFile
from sae_pipeline.schema.run import (
    DECODER,
    NEIGHBOURS,
    FeatureExamples,
    FeatureStatsFile,
    FeatureTokensFile,
    MetricColumn,
    MetricInfo,
    NeighboursFile,
)

SPARK_BINS = 16
_SIBLINGS = 8  # of a feature with the same counterpart


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
    siblings: list[tuple[int, float]]  # other features of the run with the same counterpart, and their cosines with it


class FeatureFacts(Record):
    """What the run has on one feature beside its metrics and examples."""

    estimates: dict[str, Estimate]
    class_headlines: list[int]
    class_means: list[float]
    by_decoder: list[tuple[int, float]]
    by_cofiring: list[tuple[int, float]]
    family: list[Counterpart]
    naming: FeatureName | None
    explanation: Explanation | None


class FeatureTables:
    """Fills the tables of features. The methods raise `DamagedRunError`."""

    def __init__(self, run: RunTables) -> None:
        self._run = run

    def fill(self) -> None:
        """Read `feature_stats.json` and the optional files about features."""
        run = self._run
        spans = run.spans(FEATURE_STATS, "metrics")
        self.stats = run.parse(FEATURE_STATS, next(spans).text, FeatureStatsFile)
        run.check(FEATURE_STATS, "", stats_problems(self.stats, run.metadata))
        found = list(self._columns(FEATURE_STATS, "metrics", spans))
        run.check(FEATURE_STATS, "", metric_problems([column.name for column in found], run.metadata.metrics))
        columns, metrics = {column.name: column for column in found}, list(run.metadata.metrics)
        if run.has(FEATURE_EFFECTS):
            with run.optional(FEATURE_EFFECTS):
                metrics += self._effects(columns)
        family = run.whole(FAMILY, FamilyFile, lambda one: family_problems(one, run.metadata, run.checksum))
        if family is not None:
            metrics += self._stability(columns, family)
            self._family(family)
        if run.has(DECODER):
            with run.optional(DECODER):
                check_decoder(run.folder, run.known(DECODER), run.metadata)
        for metric in metrics:
            run.vector(f"metric {metric.name}", np.array(columns[metric.name].values, np.float64))
        run.about("tests", orjson.dumps(tests_of(columns.values())).decode())
        self._summaries(columns)
        self._facts([columns[metric.name] for metric in metrics], family)
        run.about("d_sae", self.stats.d_sae)
        run.about("metrics", orjson.dumps([metric.model_dump() for metric in metrics]).decode())
        run.about("class_sizes", orjson.dumps(self.stats.class_sizes).decode())

    def _columns(self, name: str, key: str, spans: Iterable[Span]) -> Iterator[MetricColumn]:
        for n, span in enumerate(spans):
            column = self._run.parse(name, span.text, MetricColumn, f"{key}.{n}")
            self._run.check(name, f"{key} ", column_problems(column, self.stats.d_sae))
            yield column

    def _effects(self, columns: dict[str, MetricColumn]) -> list[MetricInfo]:
        """Add the columns of `feature_effects.json` to `columns`. Returns their metrics."""
        run = self._run
        spans = run.sealed_spans(FEATURE_EFFECTS, "columns")
        head = run.parse(FEATURE_EFFECTS, next(spans).text, FeatureEffectsFile)
        run.check(FEATURE_EFFECTS, "", effects_problems(head, run.metadata, run.checksum))
        found = list(self._columns(FEATURE_EFFECTS, "columns", spans))
        run.check(FEATURE_EFFECTS, "", metric_problems([column.name for column in found], head.metrics))
        columns |= {column.name: column for column in found}
        return head.metrics

    def _summaries(self, columns: dict[str, MetricColumn]) -> None:
        stats = self.stats
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

    def _facts(self, columns: list[MetricColumn], family: FamilyFile | None) -> None:
        run, stats = self._run, self.stats
        metadata, checksum = run.metadata, run.checksum
        fields = tuple(Estimate.model_fields)
        rows = [(c.name, f, getattr(c, f)) for c in columns for f in fields if getattr(c, f) is not None]
        table = np.array([row for _, _, row in rows], np.float64).reshape(len(rows), stats.d_sae)  # null: NaN
        neighbours = run.whole(NEIGHBOURS, NeighboursFile, lambda one: neighbours_problems(one, metadata))
        siblings = [_siblings(match) for match in family.matches] if family else []
        self._map()
        found_names = run.whole(NAMES, NamesFile, lambda one: names_problems(one, metadata, stats))
        if found_names is not None:
            run.about("names", found_names.model_dump_json(exclude={"features", "d_sae", *MadeWith.model_fields}))
        names = {one.feature: one for one in (found_names.features if found_names else ())}
        said = run.whole(EXPLANATIONS, ExplanationsFile, lambda one: explanations_problems(one, metadata, checksum))
        explained = {one.feature: one for one in (said.explanations if said else ())}

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
                    "family": _counterparts(family, siblings, feature) if family else [],
                    "naming": names[feature].model_dump() if feature in names else None,
                    "explanation": explained[feature].model_dump() if feature in explained else None,
                }
            )

        statement = "INSERT INTO feature (feature, facts) VALUES (?, ?)"
        run.sql.executemany(statement, ((feature, fact(feature).decode()) for feature in range(stats.d_sae)))
        run.sql.executemany(
            "UPDATE feature SET (found, found_folded, found_score, found_low, found_high) = (?, ?, ?, ?, ?) "
            "WHERE feature = ?",
            (
                (one.name, one.name.casefold(), one.score, one.low, one.high, one.feature)
                for one in names.values()
                if one.name is not None
            ),
        )
        run.sql.executemany(
            "UPDATE feature SET explained_folded = ? WHERE feature = ?",
            ((one.text.casefold(), one.feature) for one in explained.values()),
        )

    def _stability(self, columns: dict[str, MetricColumn], family: FamilyFile) -> list[MetricInfo]:
        """Add to `columns` in how many other seeds each feature is found. Returns the metric, where there are seeds."""
        run, counts = self._run, np.array(self.stats.headline_counts)
        seeds = in_other_seeds(family.members, family.matches, run.metadata.sae.size)
        summed = seed_stability(seeds, counts > 0)
        if summed is None:
            return []
        run.about("stability", summed.model_dump_json())
        found = times_found(seeds, self.stats.d_sae)
        columns[FOUND_IN_SEEDS] = MetricColumn(name=FOUND_IN_SEEDS, top=[], values=found.tolist())
        return [found_in_seeds_metric(summed.seeds)]

    def _family(self, family: FamilyFile) -> None:
        """The counterparts of all features, for questions about many of them."""
        run = self._run
        run.about("family", orjson.dumps([member.model_dump() for member in family.members]).decode())
        for n, match in enumerate(family.matches):
            found = [verdict == "match" for verdict in match.verdict]
            columns = {"feature": (match.feature, np.int32), "cosine": (match.cosine, np.float32)}
            for name, (values, kind) in {**columns, "found": (found, np.bool_)}.items():
                run.vector(f"family {n} {name}", np.array(values, kind))

    def _map(self) -> None:
        run = self._run
        found = run.whole(MAP, MapFile, lambda one: map_problems(one, run.metadata, run.checksum, self.stats))
        if found is None:
            return
        columns = {"feature": (found.features, np.int32), "x": (found.x, np.float32), "y": (found.y, np.float32)}
        for name, (values, kind) in {**columns, "region": (found.region, np.int16)}.items():
            run.vector(f"map {name}", np.array(values, kind))
        run.about("map", found.model_dump_json(include={"method", "named_by", "regions"}))

    def examples(self, n_tokens: Sequence[int]) -> None:
        """Read `feature_tokens.json`; `n_tokens` has the number of tokens of every headline."""
        run = self._run
        spans = run.spans(FEATURE_TOKENS, "features")
        head = run.parse(FEATURE_TOKENS, next(spans).text, FeatureTokensFile)
        run.check(FEATURE_TOKENS, "", tokens_problems(head, run.metadata))
        n_bins, seen = len(head.histogram_edges) - 1, list[int]()
        run.about("histogram_edges", orjson.dumps(head.histogram_edges).decode())
        for n, span in enumerate(spans):
            saved = run.parse(FEATURE_TOKENS, span.text, FeatureExamples, f"features.{n}")
            run.check(FEATURE_TOKENS, f"features.{n}.", examples_problems(saved, n_bins, self.stats, n_tokens))
            seen.append(saved.feature)
            self._insert_examples(saved, span)
        run.check(FEATURE_TOKENS, "features", repeated_problems("feature", seen))
        run.check(FEATURE_TOKENS, "features", listed_problems(len(seen), run.metadata.totals.n_features_with_examples))

    def _insert_examples(self, saved: FeatureExamples, span: Span) -> None:
        self._run.sql.execute(
            "UPDATE feature SET (examples_at, examples_bytes, word, folded, spark) = (?, ?, ?, ?, ?) WHERE feature = ?",
            (span.start, len(span.text), saved.word, saved.word.casefold(), _spark(saved.histogram), saved.feature),
        )
        words = {one.word.casefold() for one in saved.words or saved.examples} | {saved.word.casefold()}
        words.discard("")  # of a feature that fires on headlines as a whole
        self._run.sql.executemany(
            "INSERT OR IGNORE INTO fired VALUES (?, ?)", ((word, saved.feature) for word in words)
        )


def _spark(histogram: list[int]) -> str:
    """A histogram in at most SPARK_BINS bins, as JSON."""
    width = max(-(-len(histogram) // SPARK_BINS), 1)
    return str([sum(histogram[start : start + width]) for start in range(0, len(histogram), width)])


def _pairs(features: list[list[int]], numbers: list[list[float]], feature: int) -> list[tuple[int, float]]:
    return list(zip(features[feature], numbers[feature], strict=False))


Siblings = dict[int, list[tuple[int, float]]]
"""The features of a run with the same counterpart, and their cosines with it, by that counterpart."""


def _siblings(match: MemberMatches) -> Siblings:
    """The features that a member has as matches or splits; the nearest to the counterpart first."""
    found: Siblings = {}
    nearest_first = sorted(range(len(match.feature)), key=lambda feature: -match.cosine[feature])
    for feature in nearest_first:
        if match.verdict[feature] != "absent":
            found.setdefault(match.feature[feature], []).append((feature, match.cosine[feature]))
    return found


def _counterparts(family: FamilyFile, siblings: list[Siblings], feature: int) -> list[dict[str, Any]]:
    def others(of_member: Siblings, counterpart: int) -> list[tuple[int, float]]:
        return [pair for pair in of_member.get(counterpart, ())[: _SIBLINGS + 1] if pair[0] != feature][:_SIBLINGS]

    return [
        {
            **member.model_dump(include={"size", "sae_hash"}),
            **{field: getattr(match, field)[feature] for field in type(match).model_fields},
            "siblings": others(of_member, match.feature[feature]),
        }
        for member, match, of_member in zip(family.members, family.matches, siblings, strict=True)
    ]
