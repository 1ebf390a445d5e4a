"""The columns of d_sae numbers that a run's index holds, and what they say of one feature."""

from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sae_pipeline.arrays import Flags, Ints
from sae_pipeline.schema.common import MIN_HEADLINES
from sae_pipeline.schema.run import MetricInfo
from viz_analysis.api.feature_types import FeatureDensity, SimilarFeature, Support
from viz_analysis.api.problems import UnknownFeatureError, UnknownMetricError
from viz_analysis.runs.reader import RunReader
from viz_analysis.runs.table_columns import in_slice

_KEPT_SLICES = 4
_DENSITY_EDGES = np.linspace(-6, 0, 49)  # log10 of a share of tokens


_SLICE_METRICS = (
    MetricInfo(
        name="slice_rate",
        label="Slice rate",
        description="Share of the slice's headlines that have it among their strongest features.",
    ),
    MetricInfo(
        name="slice_difference",
        label="Slice difference",
        description="Share of the slice's headlines that have it among their strongest features, minus the same share "
        "of all other headlines.",
    ),
)


SIMILARITY = MetricInfo(
    name="similarity",
    label="Similarity",
    description="Cosine of the text searched for with the mean of the feature's strongest headlines, as vectors of the "
    "sentence encoder minus their mean over all headlines; times n/(n + 3) for n examples.",
)


class SliceEffects(NamedTuple):
    """The mean effects of features over the headlines of a slice that list them in `interventions.json`."""

    means: NDArray[np.float32]
    """Effects on the classes' centred logits, [d_sae, n_classes]; 0 where no headline lists the feature."""
    counts: NDArray[np.int64]
    """The headlines behind them, [d_sae]."""


class FeatureColumns:
    """The columns of a run, each [d_sae]. A column is read when it is asked for and then kept in memory."""

    n_slice: int | None = None
    """Headlines in the slice that the rates belong to."""
    slice_effects: SliceEffects | None = None
    """Effects in the slice, where the run has causal findings."""

    def __init__(self, run: RunReader) -> None:
        self.run = run
        self._slices: dict[tuple[str, ...], FeatureColumns] = {}  # the last ones asked for
        self.metrics = {metric.name: metric for metric in run.metrics}
        self._descending: dict[str, Ints] = {}

    @cached_property
    def values(self) -> dict[str, NDArray[np.float64]]:
        """Every metric, by name."""
        return {name: self.run.vector(f"metric {name}") for name in self.metrics}

    @cached_property
    def headline_counts(self) -> NDArray[np.int64]:
        """The number of headlines on which a feature fires."""
        return self.run.vector("headline_counts")

    @cached_property
    def density(self) -> NDArray[np.float64]:
        """The share of counted tokens on which a feature fires."""
        return self.run.vector("density")

    @cached_property
    def leaning(self) -> NDArray[np.int16]:
        """The class with a feature's highest AUROC; -1 where that is not known."""
        return self.run.vector("leaning")

    def ordered(self, metric: str, descending: bool) -> Ints:
        """All features in the order of a metric; ties by number. Raises `UnknownMetricError`."""
        if metric not in self.metrics:
            known = ", ".join(self.metrics)
            raise UnknownMetricError(f"{self.run.metadata.run_id} has no metric {metric!r}; it has {known}.")
        if not descending:
            return np.argsort(self.values[metric], kind="stable")
        if metric not in self._descending:
            self._descending[metric] = np.argsort(-self.values[metric], kind="stable")
        return self._descending[metric]

    def in_slice(self, conditions: tuple[str, ...]) -> "FeatureColumns":
        """These columns, and the features' rates and effects in a slice. Raises like `table_columns.in_slice`.

        A rate counts headlines that have the feature among their strongest, because the run knows no others by name.
        """
        known = self._slices.get(conditions)
        if known is not None:
            return known
        inside = in_slice(self.run, conditions)
        both, own = np.zeros(self.run.d_sae, np.int64), np.zeros(self.run.d_sae, np.int64)
        for feature, stored in self.run.rows("SELECT feature, headlines FROM posting"):
            headlines = np.frombuffer(stored, np.uint32)
            both[feature] += len(headlines)
            own[feature] += np.count_nonzero(inside[headlines])
        sliced = FeatureColumns(self.run)
        sliced.n_slice = int(inside.sum())
        sliced.slice_effects = None if self.run.interventions is None else _effects(self.run, inside)
        rate = own / max(sliced.n_slice, 1)
        elsewhere = (both - own) / max(self.run.n_headlines - sliced.n_slice, 1)
        rates = {metric.name: column for metric, column in zip(_SLICE_METRICS, (rate, rate - elsewhere), strict=True)}
        sliced.metrics = self.metrics | {metric.name: metric for metric in _SLICE_METRICS}
        sliced.values = self.values | rates
        for oldest in list(self._slices)[: 1 - _KEPT_SLICES]:
            self._slices.pop(oldest, None)  # another thread may have done so
        self._slices[conditions] = sliced
        return sliced

    def with_similarity(self, similar: NDArray[np.float32]) -> "FeatureColumns":
        """These columns, and how alike each feature is to a text, as the metric `similarity`."""
        columns = FeatureColumns(self.run)
        columns.n_slice, columns.slice_effects = self.n_slice, self.slice_effects
        columns.metrics = {SIMILARITY.name: SIMILARITY, **self.metrics}
        rounded: NDArray[np.float64] = similar.astype(np.float64).round(4)
        columns.values = {SIMILARITY.name: rounded, **self.values}
        return columns

    # --- one feature -----------------------------------------------------------------------------------

    def check(self, feature: int) -> None:
        """Raises `UnknownFeatureError` for a number that no feature has."""
        if feature >= self.run.d_sae:
            raise UnknownFeatureError(
                f"There is no feature {feature}: {self.run.metadata.run_id} has features 0 to {self.run.d_sae - 1}."
            )

    def support(self, feature: int) -> Support:
        """Whether a feature fires on enough headlines to say something about it."""
        count = self.headline_counts[feature]
        return "dead" if count == 0 else "thin" if count < MIN_HEADLINES else "ok"

    def leaning_of(self, feature: int) -> int | None:
        """The class with a feature's highest AUROC, where it is known."""
        return int(self.leaning[feature]) if self.leaning[feature] >= 0 else None

    def value(self, metric: str, feature: int) -> float | None:
        """A metric of a feature; None where the run does not have the metric."""
        return float(self.values[metric][feature]) if metric in self.values else None

    def rank(self, metric: str, feature: int) -> int:
        """A feature's rank by a metric: 1 is the highest value, and ties are ranked by number."""
        values = self.values[metric]
        value = values[feature]
        return 1 + int((values > value).sum()) + int((values[:feature] == value).sum())


def _effects(run: RunReader, inside: Flags) -> SliceEffects:
    """The effects over the headlines of a mask [n_headlines]."""
    sums = np.zeros((run.d_sae, len(run.metadata.labels)))
    counts = np.zeros(run.d_sae, np.int64)
    for record in run.effects(inside):
        features = [listed.feature for listed in record.features]  # each of them once
        if features:
            sums[features] += [listed.effects for listed in record.features]
            counts[features] += 1
    return SliceEffects((sums / np.maximum(counts, 1)[:, None]).astype(np.float32), counts)


def similar_features(run: RunReader, pairs: list[tuple[int, float]]) -> list[SimilarFeature]:
    """Pairs (feature, similarity) with the features' words and found names."""
    features = [feature for feature, _ in pairs]
    words, found = run.words(features), run.found_names(features)
    return [
        SimilarFeature(feature=one, word=words.get(one), found_name=found.get(one), similarity=alike)
        for one, alike in pairs
    ]


def density_histogram(columns: FeatureColumns) -> FeatureDensity:
    """The histogram of the live features' densities, in bins of log10."""
    live = columns.density[(columns.headline_counts > 0) & (columns.density > 0)]
    counts, edges = np.histogram(np.log10(live).clip(_DENSITY_EDGES[0], 0), bins=_DENSITY_EDGES)
    return FeatureDensity(
        run_id=columns.run.metadata.run_id,
        edges=edges.tolist(),
        counts=counts.tolist(),
        n_dead=int((columns.headline_counts == 0).sum()),
    )
