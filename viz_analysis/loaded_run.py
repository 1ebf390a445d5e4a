"""One run in memory, and the answers the API gives from it.

Statistics are numpy columns, the rest are the validated records of the run's files; what every request needs
(ranks, search texts) is computed once. An index on disk can take this class's place behind the same methods.
"""

import numpy as np
import numpy.typing as npt

from sae_pipeline.errors import UserError
from sae_pipeline.runs import Run
from viz_analysis.api_types import (
    Evidence,
    ExampleInHeadline,
    FeatureDensity,
    FeatureInfo,
    FeatureRow,
    FeaturesPage,
    FeaturesQuery,
    FeatureStat,
    Headline,
    HeadlinesPage,
    HeadlinesQuery,
    Histogram,
    SimilarHeadlines,
    SimilarHeadlinesQuery,
)

Indices = npt.NDArray[np.int64]
Column = npt.NDArray[np.float64]


class UnknownFeatureError(UserError):
    """The SAE has no such feature."""


class UnknownHeadlineError(UserError):
    """The run has no such headline."""


class NoInterventionsError(UserError):
    """Nobody has gathered causal evidence for the run."""


class UnknownMetricError(UserError):
    """The run has no such metric."""


class LoadedRun:
    """A run ready to answer."""

    def __init__(self, run: Run) -> None:
        self.metadata = run.metadata
        self._prompts = run.prompts
        self._d_sae = run.feature_stats.d_sae

        saved = {column.name: column.values for column in run.feature_stats.metrics}
        self._values: dict[str, Column] = {m.name: np.array(saved[m.name]) for m in run.metadata.metrics}
        # Features from highest to lowest, ties by feature; and its inverse, 0-based.
        self._order: dict[str, Indices] = {
            name: np.argsort(-values, kind="stable") for name, values in self._values.items()
        }
        self._rank = {name: np.argsort(order) for name, order in self._order.items()}
        self._headline_counts = np.array(run.feature_stats.headline_counts, np.int64)

        self._edges = run.feature_tokens.histogram_edges
        self._examples = {feature.feature: feature for feature in run.feature_tokens.features}
        self._words = {feature: saved.word.casefold() for feature, saved in self._examples.items()}

        records = run.headline_features.headlines
        self._headlines = [
            Headline.model_construct(**dict(prompt), headline=n, features=record.features, effects=None)
            for n, (prompt, record) in enumerate(zip(run.prompts, records, strict=True))
        ]
        self._texts = [prompt.text.casefold() for prompt in run.prompts]
        self._label = np.array([prompt.label for prompt in run.prompts], np.int64)
        self._prediction = np.array([prompt.prediction for prompt in run.prompts], np.int64)
        # Parallel: headline `fired[0, i]` has feature `fired[1, i]` among its strongest.
        fired = [(record.headline, feature.feature) for record in records for feature in record.features]
        self._fired = np.array(fired, np.int64).reshape(-1, 2).T
        self._sort_keys = _headline_sort_keys(
            np.array([prompt.probabilities for prompt in run.prompts], np.float64),
            self._label,
            self._prediction,
        )

    @property
    def n_headlines(self) -> int:
        return len(self._prompts)

    def headlines(self, query: HeadlinesQuery) -> HeadlinesPage:
        """The headlines that match all filters, sorted; ties stay in the run's order."""
        right = self._label == self._prediction
        keep = np.ones(self.n_headlines, bool)
        if query.label is not None:
            keep &= self._label == query.label
        if query.prediction is not None:
            keep &= self._prediction == query.prediction
        if query.correct is not None:
            keep &= right == query.correct
        if query.feature is not None:
            headlines, features = self._fired
            with_feature = np.zeros_like(keep)
            with_feature[headlines[features == query.feature]] = True
            keep &= with_feature
        confidence = self._sort_keys["confidence"]
        if query.min_confidence is not None:
            keep &= confidence >= query.min_confidence
        if query.max_confidence is not None:
            keep &= confidence <= query.max_confidence
        found = np.flatnonzero(keep)
        if query.q:
            wanted = query.q.casefold()
            found = np.array([n for n in found if wanted in self._texts[n]], np.int64)
        if query.sort != "position":
            key = self._sort_keys[query.sort][found]
            found = found[np.argsort(-key if query.order == "desc" else key, kind="stable")]
        elif query.order == "desc":
            found = found[::-1]
        page = found[query.offset : query.offset + query.limit]
        return HeadlinesPage(
            run_id=self.metadata.run_id,
            labels=self.metadata.labels,
            total=len(found),
            n_headlines=self.n_headlines,
            n_correct=int(right.sum()),
            offset=query.offset,
            limit=query.limit,
            headlines=[self._headlines[n] for n in page],
        )

    def features(self, query: FeaturesQuery) -> FeaturesPage:
        """Features by descending metric. Raises `UnknownMetricError`.

        `q` of digits finds ids that begin so, the exact one first; other text finds strongest words.
        """
        metric = self.metadata.metrics[0].name if query.metric is None else query.metric
        if metric not in self._order:
            raise UnknownMetricError(
                f"{self.metadata.run_id} has no metric {metric!r}; it has {', '.join(self._order)}."
            )
        found = self._order[metric] if query.order == "desc" else self._order[metric][::-1]
        density, counts = self._density()[found], self._headline_counts[found]
        keep = np.ones(len(found), bool)
        if query.evidence != "all":
            keep &= {
                "live": counts > 0,
                "dead": counts == 0,
                "thin": (counts > 0) & (counts < 5),
                "solid": counts >= 5,
            }[query.evidence]
        if query.min_density is not None:
            keep &= density >= query.min_density
        if query.max_density is not None:
            keep &= density <= query.max_density
        if query.token:
            wanted = query.token.casefold()
            keep &= np.isin(found, [f for f, word in self._words.items() if word.startswith(wanted)])
        if query.leaning is not None or query.labelled:
            keep[:] = False
        found = found[keep]
        if query.q and query.q.isascii() and query.q.isdigit():
            found = found[_begins_with(found, int(query.q))]
            exact = found == int(query.q)
            found = np.concatenate([found[exact], found[~exact]])
        elif query.q:
            wanted = query.q.casefold()
            found = found[np.isin(found, [f for f, word in self._words.items() if wanted in word])]
        place = next(iter(np.flatnonzero(found == query.around).tolist()), None)
        offset = query.offset if place is None else max(0, place - query.limit // 2)
        page = found[offset : offset + query.limit].tolist()
        return FeaturesPage(
            run_id=self.metadata.run_id,
            metric=metric,
            metrics=self.metadata.metrics,
            total=len(found),
            n_features=self._d_sae,
            place=place,
            offset=offset,
            limit=query.limit,
            features=[self._row(feature) for feature in page],
        )

    def feature_info(self, feature: int) -> FeatureInfo:
        """All that the run knows of a feature. Raises `UnknownFeatureError`."""
        if feature >= self._d_sae:
            raise UnknownFeatureError(
                f"There is no feature {feature}: {self.metadata.run_id} has features 0 to {self._d_sae - 1}."
            )
        saved = self._examples.get(feature)
        examples = [
            ExampleInHeadline(**dict(example), prompt=self._prompts[example.headline])
            for example in (saved.examples if saved else ())
        ]
        return FeatureInfo(
            run_id=self.metadata.run_id,
            labels=self.metadata.labels,
            feature=feature,
            word=saved.word if saved else None,
            n_headlines=int(self._headline_counts[feature]),
            n_headlines_in_run=self.n_headlines,
            metrics=self.metadata.metrics,
            stats=[
                FeatureStat(
                    name=name,
                    value=values[feature],
                    rank=int(self._rank[name][feature]) + 1,
                    n=None,
                    low=None,
                    high=None,
                    q=None,
                )
                for name, values in self._values.items()
            ],
            histogram=Histogram(edges=self._edges, counts=saved.histogram) if saved else None,
            examples_saved=saved is not None,
            message=None if saved else self._why_no_examples(feature),
            examples=examples,
            density=float(self._density()[feature]),
            status=self._status(feature),
            leaning=None,
            classes=[],
            groups=[],
            words=[],
            similar_decoder=[],
            similar_cofiring=[],
            family=[],
        )

    def density(self) -> FeatureDensity:
        """Histogram of the live features' log10 density."""
        density = self._density()
        counts, edges = np.histogram(np.log10(density[density > 0]), bins=40, range=(-6, 0))
        return FeatureDensity(
            run_id=self.metadata.run_id,
            edges=edges.tolist(),
            counts=counts.tolist(),
            n_dead=int((self._headline_counts == 0).sum()),
        )

    def similar_headlines(self, query: SimilarHeadlinesQuery) -> SimilarHeadlines:
        """Headlines nearest in feature space. Raises `UnknownHeadlineError`."""
        if query.headline >= self.n_headlines:
            raise UnknownHeadlineError(
                f"There is no headline {query.headline}: {self.metadata.run_id} has {self.n_headlines:,}."
            )
        return SimilarHeadlines(run_id=self.metadata.run_id, headline=query.headline, similar=[])

    def headline_of(self, headline_id: str | None) -> Headline | None:
        """The headline of that id."""
        return next((one for one in self._headlines if one.headline_id == headline_id), None)

    def _density(self) -> Column:
        return self._values.get("fraction_active", self._headline_counts / max(self.n_headlines, 1)).clip(0, 1)

    def _status(self, feature: int) -> Evidence:
        count = self._headline_counts[feature]
        return "dead" if count == 0 else "thin" if count < 5 else "ok"

    def _row(self, feature: int) -> FeatureRow:
        saved = self._examples.get(feature)
        return FeatureRow(
            feature=feature,
            word=saved.word if saved else None,
            has_examples=saved is not None,
            n_headlines=int(self._headline_counts[feature]),
            density=float(self._density()[feature]),
            status=self._status(feature),
            leaning=None,
            histogram=_coarse(saved.histogram) if saved else [],
            values={name: values[feature] for name, values in self._values.items()},
        )

    def _why_no_examples(self, feature: int) -> str:
        count = int(self._headline_counts[feature])
        if count == 0:
            return f"Feature {feature} fires on none of this run's {self.n_headlines:,} headlines."
        return (
            f"Feature {feature} fires on {count:,} of {self.n_headlines:,} headlines, but its examples were "
            "not saved: only the top features of each metric have some. Raise TOP_FEATURES and analyse again."
        )


def _coarse(histogram: list[int]) -> list[int]:
    """The same counts in at most 16 bins."""
    width = -(-len(histogram) // 16)
    return [sum(histogram[start : start + width]) for start in range(0, len(histogram), width)]


def _headline_sort_keys(probabilities: Column, label: Indices, prediction: Indices) -> dict[str, Column]:
    """probabilities [n_headlines, n_labels] → per headline: confidence and margin of the prediction, and loss
    −log p(true label) in nats, p at least 1e-12."""
    probabilities = probabilities.reshape(len(label), -1)
    rows = np.arange(len(label))
    others = probabilities.copy()
    others[rows, prediction] = 0
    confidence = probabilities[rows, prediction]
    return {
        "confidence": confidence,
        "margin": confidence - others.max(axis=1, initial=0),
        "loss": -np.log(np.maximum(probabilities[rows, label], 1e-12)),
    }


def _begins_with(features: Indices, digits: int) -> npt.NDArray[np.bool_]:
    """Which feature numbers begin with the digits of the number `digits`."""
    matches: npt.NDArray[np.bool_] = features == digits
    if digits > 0:
        power = 10
        while digits * power <= features.max(initial=0):
            matches |= features // power == digits
            power *= 10
    return matches
