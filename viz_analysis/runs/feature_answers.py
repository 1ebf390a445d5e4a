"""Searching and sorting the features of a run, and all that is known of one."""

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from sae_pipeline.errors import UserError
from sae_pipeline.runs.feature_tables import Estimate, FeatureFacts
from sae_pipeline.schema.run import Example, FeatureExamples, Prompt
from viz_analysis.api.types import (
    ClassSplit,
    Evidence,
    ExampleGroupAnswer,
    ExampleInHeadline,
    FamilyMatch,
    FeatureDensity,
    FeatureInfo,
    FeatureRow,
    FeaturesPage,
    FeaturesQuery,
    FeatureStat,
    Histogram,
    SimilarFeature,
)
from viz_analysis.runs.reader import RunReader

THIN = 5  # a feature that fires on fewer headlines says little
_DENSITY_EDGES = np.linspace(-6, 0, 49)
Indices = NDArray[np.int64]
Mask = NDArray[np.bool_]
HumanNames = Mapping[int, str]


class UnknownFeatureError(UserError):
    """The SAE has no such feature."""


class UnknownMetricError(UserError):
    """The run has no such metric."""


class FeatureAnswers:
    """Answers about the features of a run. Their metrics are kept in memory once asked for: d_sae numbers each."""

    def __init__(self, run: RunReader) -> None:
        self._run = run
        self._metrics = {metric.name: metric for metric in run.metrics}
        self._order: dict[str, Indices] = {}

    @cached_property
    def _values(self) -> dict[str, NDArray[np.float64]]:
        return {name: self._run.vector(f"metric {name}") for name in self._metrics}

    @cached_property
    def _counts(self) -> NDArray[np.int64]:
        return self._run.vector("headline_counts")

    @cached_property
    def _density(self) -> NDArray[np.float64]:
        return self._run.vector("density")

    @cached_property
    def _leaning(self) -> NDArray[np.int16]:
        return self._run.vector("leaning")

    def page(self, query: FeaturesQuery, names: HumanNames) -> FeaturesPage:
        """Features that match all filters, by a metric; ties by number. `names` are people's. Raises
        `UnknownMetricError`.

        What is searched for exactly comes first: the feature of that number, those that fire on that very word.
        """
        metric = self._run.metrics[0].name if query.metric is None else query.metric
        if metric not in self._metrics:
            known = ", ".join(self._metrics)
            raise UnknownMetricError(f"{self._run.metadata.run_id} has no metric {metric!r}; it has {known}.")
        found = self._ordered(metric)
        if query.order == "desc":
            found = found[self._kept(query, names)[found]]
        else:
            values = self._values[metric]
            found = np.argsort(values, kind="stable")
            found = found[self._kept(query, names)[found]]
        for first in self._exact(query):
            exact = np.isin(found, first)
            found = np.concatenate([found[exact], found[~exact]])
        place = next(iter(np.flatnonzero(found == query.around).tolist()), None)
        offset = query.offset if place is None else max(0, place - query.limit // 2)
        return FeaturesPage.model_construct(
            run_id=self._run.metadata.run_id,
            metric=metric,
            metrics=self._run.metrics,
            total=len(found),
            n_features=self._run.d_sae,
            place=place,
            offset=offset,
            limit=query.limit,
            features=self._rows(found[offset : offset + query.limit].tolist()),
        )

    def info(self, feature: int, newest_by_sae: Callable[[], Mapping[str, str]]) -> FeatureInfo:
        """All that the run knows of a feature; `newest_by_sae` names the runs that show other SAEs'.

        Raises `UnknownFeatureError`.
        """
        self.check(feature)
        run, saved, facts = self._run, self._run.examples(feature), self._run.facts(feature)
        prompts: dict[int, Prompt] = {}
        runs_of = newest_by_sae() if facts.family else {}

        def shown(example: Example) -> ExampleInHeadline:
            if example.headline not in prompts:
                prompts[example.headline] = run.prompt(example.headline)
            return ExampleInHeadline.model_construct(**dict(example), prompt=prompts[example.headline])

        groups = self._groups(saved, shown) if saved else []
        return FeatureInfo.model_construct(
            run_id=run.metadata.run_id,
            labels=run.metadata.labels,
            feature=feature,
            word=saved.word if saved else None,
            n_headlines=int(self._counts[feature]),
            n_headlines_in_run=run.n_headlines,
            density=float(self._density[feature]),
            status=self.status(feature),
            leaning=self._leaning_of(feature),
            metrics=run.metrics,
            stats=[self._stat(name, feature, facts.estimates.get(name)) for name in self._metrics],
            classes=self._classes(feature, facts),
            histogram=Histogram(edges=run.edges, counts=saved.histogram) if saved else None,
            examples_saved=saved is not None,
            message=None if saved else self._why_no_examples(feature),
            examples=groups[0].examples if groups else [],
            groups=groups,
            words=saved.words if saved else [],
            similar_decoder=self.similar(facts.by_decoder),
            similar_cofiring=self.similar(facts.by_cofiring),
            family=[FamilyMatch(**dict(one), run_id=runs_of.get(one.sae_hash)) for one in facts.family],
        )

    def density(self) -> FeatureDensity:
        """Histogram of the live features' densities."""
        live = self._density[(self._counts > 0) & (self._density > 0)]
        counts, edges = np.histogram(np.log10(live).clip(_DENSITY_EDGES[0], 0), bins=_DENSITY_EDGES)
        return FeatureDensity(
            run_id=self._run.metadata.run_id,
            edges=edges.tolist(),
            counts=counts.tolist(),
            n_dead=int((self._counts == 0).sum()),
        )

    def check(self, feature: int) -> None:
        """Raises `UnknownFeatureError` for a number that no feature has."""
        if feature >= self._run.d_sae:
            raise UnknownFeatureError(
                f"There is no feature {feature}: {self._run.metadata.run_id} has features 0 to {self._run.d_sae - 1}."
            )

    def similar(self, pairs: list[tuple[int, float]]) -> list[SimilarFeature]:
        """(feature, similarity) with the features' words."""
        words = self._run.words([feature for feature, _ in pairs])
        return [SimilarFeature(feature=one, word=words.get(one), similarity=alike) for one, alike in pairs]

    def status(self, feature: int) -> Evidence:
        """How much the run has seen of a feature."""
        count = self._counts[feature]
        return "dead" if count == 0 else "thin" if count < THIN else "ok"

    # --- searching -------------------------------------------------------------------------------------

    def _ordered(self, metric: str) -> Indices:
        """Features from highest to lowest."""
        if metric not in self._order:
            self._order[metric] = np.argsort(-self._values[metric], kind="stable")
        return self._order[metric]

    def _kept(self, query: FeaturesQuery, names: HumanNames) -> Mask:
        """Which features match all filters, [d_sae]."""
        keep = np.ones(self._run.d_sae, bool)
        if query.evidence != "all":
            keep &= {
                "live": self._counts > 0,
                "dead": self._counts == 0,
                "thin": (self._counts > 0) & (self._counts < THIN),
                "solid": self._counts >= THIN,
            }[query.evidence]
        if query.min_density is not None:
            keep &= self._density >= query.min_density
        if query.max_density is not None:
            keep &= self._density <= query.max_density
        if query.leaning is not None:
            keep &= self._leaning == query.leaning
        if query.labelled is not None:
            keep &= self._among(names) == query.labelled
        if query.token:
            keep &= self._among(self._firing_on(query.token, begun=True))
        if query.q and query.q.isascii() and query.q.isdigit():
            keep &= _begins_with(np.arange(self._run.d_sae), int(query.q))
        elif query.q:
            wanted = query.q.casefold()
            words = self._run.rows("SELECT feature FROM feature WHERE instr(folded, ?)", [wanted])
            named = [feature for feature, name in names.items() if wanted in name.casefold()]
            keep &= self._among([*(feature for (feature,) in words), *named])
        return keep

    def _among(self, features: Any) -> Mask:
        mask = np.zeros(self._run.d_sae, bool)
        mask[[feature for feature in features if feature < self._run.d_sae]] = True
        return mask

    def _firing_on(self, word: str, begun: bool) -> list[int]:
        """Features that fire on a word, or on words that begin with it."""
        folded = word.casefold()
        last = folded + "\U0010ffff" if begun else folded
        rows = self._run.rows("SELECT DISTINCT feature FROM fired WHERE word BETWEEN ? AND ?", [folded, last])
        return [feature for (feature,) in rows]

    def _exact(self, query: FeaturesQuery) -> list[list[int]]:
        """Features to be listed before others; the last list comes first of all."""
        first = []
        if query.token:
            first.append(self._firing_on(query.token, begun=False))
        if query.q and query.q.isascii() and query.q.isdigit():
            first.append([int(query.q)] if int(query.q) < self._run.d_sae else [])
        return first

    # --- parts of answers ------------------------------------------------------------------------------

    def _rows(self, features: list[int]) -> list[FeatureRow]:
        marks = ",".join("?" * len(features))
        statement = f"SELECT feature, word, spark FROM feature WHERE spark NOT NULL AND feature IN ({marks})"
        saved = {feature: (word, orjson.loads(spark)) for feature, word, spark in self._run.rows(statement, features)}
        values = {name: column[features].tolist() for name, column in self._values.items()}
        return [
            FeatureRow.model_construct(
                feature=feature,
                word=saved[feature][0] if feature in saved else None,
                has_examples=feature in saved,
                n_headlines=int(self._counts[feature]),
                density=float(self._density[feature]),
                status=self.status(feature),
                leaning=self._leaning_of(feature),
                histogram=saved[feature][1] if feature in saved else [],
                values={name: column[row] for name, column in values.items()},
            )
            for row, feature in enumerate(features)
        ]

    def _leaning_of(self, feature: int) -> int | None:
        return int(self._leaning[feature]) if self._leaning[feature] >= 0 else None

    def _stat(self, name: str, feature: int, found: Estimate | None) -> FeatureStat:
        values, estimate = self._values[name], found or Estimate()
        value = values[feature]
        rank = 1 + int((values > value).sum()) + int((values[:feature] == value).sum())
        return FeatureStat.model_construct(
            name=name,
            value=float(value),
            rank=rank,
            tested=estimate.tested,
            n=int(estimate.n) if estimate.n is not None else None,
            low=estimate.low,
            high=estimate.high,
            q=estimate.q,
        )

    def _classes(self, feature: int, facts: FeatureFacts) -> list[ClassSplit]:
        """The feature within each class, in the order of the labels."""
        splits = []
        for n, label in enumerate(self._run.metadata.labels):
            auroc_name, effect_name = f"auroc_{label.lower()}", f"effect_{label.lower()}"
            auroc, effect = (facts.estimates.get(name) or Estimate() for name in (auroc_name, effect_name))
            splits.append(
                ClassSplit(
                    n_headlines=self._run.class_sizes[n] if self._run.class_sizes else None,
                    n_fired=facts.class_headlines[n] if facts.class_headlines else None,
                    mean_max=facts.class_means[n] if facts.class_means else None,
                    auroc=auroc.tested if auroc.tested is not None else self._value(auroc_name, feature),
                    auroc_low=auroc.low,
                    auroc_high=auroc.high,
                    auroc_q=auroc.q,
                    effect=self._value(effect_name, feature),
                    effect_low=effect.low,
                    effect_high=effect.high,
                    effect_n=int(effect.n) if effect.n is not None else None,
                )
            )
        return splits

    def _value(self, name: str, feature: int) -> float | None:
        return float(self._values[name][feature]) if name in self._values else None

    def _groups(self, saved: FeatureExamples, shown: Any) -> list[ExampleGroupAnswer]:
        top = [shown(example) for example in saved.examples]
        activations = [example.activation for example in top]
        first = ExampleGroupAnswer.model_construct(
            kind="top",
            low=min(activations, default=0.0),
            high=max(activations, default=0.0),
            n_headlines=len(top),
            examples=top,
        )
        return [
            first,
            *(
                ExampleGroupAnswer.model_construct(
                    kind=group.kind,
                    low=group.low,
                    high=group.high,
                    n_headlines=group.n_headlines,
                    examples=[shown(example) for example in group.examples],
                )
                for group in saved.groups
            ),
        ]

    def _why_no_examples(self, feature: int) -> str:
        count, in_all = int(self._counts[feature]), self._run.n_headlines
        if count == 0:
            return f"Feature {feature} fires on none of this run's {in_all:,} headlines."
        return (
            f"Feature {feature} fires on {count:,} of {in_all:,} headlines, but its examples were not saved: only the "
            "top features of each metric have some. Raise TOP_FEATURES and analyse again."
        )


def _begins_with(features: Indices, digits: int) -> Mask:
    """Which feature numbers begin with the digits of the number `digits`."""
    matches: Mask = features == digits
    if digits > 0:
        power = 10
        while digits * power <= features.max(initial=0):
            matches |= features // power == digits
            power *= 10
    return matches
