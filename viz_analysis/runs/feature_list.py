"""Searching, filtering and sorting the features of a run."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import orjson

from sae_pipeline.arrays import Flags, Ints
from sae_pipeline.runs.seed_stability import FOUND_IN_SEEDS
from sae_pipeline.schema.common import MIN_HEADLINES
from viz_analysis.api.feature_types import FeatureRow, FeaturesPage, NearestExample
from viz_analysis.api.queries import FeaturesQuery
from viz_analysis.runs.feature_columns import FeatureColumns
from viz_analysis.runs.meaning import Similar, nearest
from viz_analysis.runs.reader import RunReader


class Human(NamedTuple):
    """What people say of features, as far as a question needs it."""

    names: Mapping[int, str]
    """The names that they gave to features, by feature."""
    members: Sequence[int] | None
    """The features of the set that the question names; None where it names none."""


class ByMeaning(NamedTuple):
    """A search by meaning: how alike each feature is to the text, and the reason for one of them."""

    similar: Similar
    nearest: Callable[[int], NearestExample | None]


def features_page(
    columns: FeatureColumns, query: FeaturesQuery, human: Human, meant: ByMeaning | None = None
) -> FeaturesPage:
    """The features that match all filters, ordered by a metric; ties by number. Raises `UnknownMetricError`.

    Exact matches of a search come first: the feature with just that number, the features that fire on just that word.
    """
    run = columns.run
    if query.where:
        columns = columns.in_slice(tuple(query.where))
    if meant:
        columns = columns.with_similarity(meant.similar)
    metric = next(iter(columns.metrics)) if query.metric is None else query.metric
    found = columns.ordered(metric, query.order == "desc")
    found = found[_matching(columns, query, human, meant)[found]]
    exactness = (np.zeros(run.d_sae, np.int8) if meant else _exactness(run, query))[found]
    found = found[np.argsort(-exactness, kind="stable")]
    place = next(iter(np.flatnonzero(found == query.around).tolist()), None)
    offset = query.offset if place is None else max(0, place - query.limit // 2)
    return FeaturesPage.model_construct(
        run_id=run.metadata.run_id,
        metric=metric,
        metrics=list(columns.metrics.values()),
        total=len(found),
        n_exact=int(np.count_nonzero(exactness)),
        n_features=run.d_sae,
        n_slice=columns.n_slice,
        place=place,
        offset=offset,
        limit=query.limit,
        features=_rows(columns, found[offset : offset + query.limit].tolist(), meant),
    )


def _matching(columns: FeatureColumns, query: FeaturesQuery, human: Human, meant: ByMeaning | None) -> Flags:
    """Which features match all filters, [d_sae]."""
    run, counts = columns.run, columns.headline_counts
    keep = np.ones(run.d_sae, bool)
    match query.support:
        case "live":
            keep &= counts > 0
        case "dead":
            keep &= counts == 0
        case "thin":
            keep &= (counts > 0) & (counts < MIN_HEADLINES)
        case "solid":
            keep &= counts >= MIN_HEADLINES
    if query.min_density is not None:
        keep &= columns.density >= query.min_density
    if query.max_density is not None:
        keep &= columns.density <= query.max_density
    if query.leaning is not None:
        keep &= columns.leaning == query.leaning
    if query.min_seeds is not None:
        keep &= columns.values.get(FOUND_IN_SEEDS, np.zeros(run.d_sae)) >= query.min_seeds
    if query.labelled is not None:
        keep &= _mask(run, human.names) == query.labelled
    if human.members is not None:
        keep &= _mask(run, human.members)
    if query.token:
        keep &= _mask(run, _firing_on(run, query.token, or_longer=True))
    if meant:
        return nearest(meant.similar, keep)
    if query.q:
        number = _number(query.q)
        keep &= _named(run, query.q, human.names) if number is None else _begins_with(np.arange(run.d_sae), number)
    return keep


def _exactness(run: RunReader, query: FeaturesQuery) -> Ints:
    """How exactly the features match the search, [d_sae]: above 0 they are listed first, the highest before others."""
    exactness = np.zeros(run.d_sae, np.int8)
    if query.token:
        exactness += _mask(run, _firing_on(run, query.token, or_longer=False))
    number = _number(query.q or "")
    if number is not None:
        exactness += np.int8(2) * _mask(run, [number])
    return exactness


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() else None


def _begins_with(features: Ints, number: int) -> Flags:
    """Which feature numbers begin with the digits of `number`."""
    matches: Flags = features == number
    if number > 0:
        power = 10
        while number * power <= features.max(initial=0):
            matches |= features // power == number
            power *= 10
    return matches


def _named(run: RunReader, text: str, names: Mapping[int, str]) -> Flags:
    """Which features have `text` in a name, in their explanation or in the word of their strongest token."""
    wanted = text.casefold()
    by_word = run.rows(
        "SELECT feature FROM feature WHERE instr(folded, ?1) OR instr(found_folded, ?1) OR instr(explained_folded, ?1)",
        [wanted],
    )
    by_label = [feature for feature, name in names.items() if wanted in name.casefold()]
    return _mask(run, [*(feature for (feature,) in by_word), *by_label])


def _firing_on(run: RunReader, word: str, or_longer: bool) -> list[int]:
    """The features that fire on a word, or also on longer words that begin with it."""
    folded = word.casefold()
    last = folded + "\U0010ffff" if or_longer else folded
    rows = run.rows("SELECT DISTINCT feature FROM fired WHERE word BETWEEN ? AND ?", [folded, last])
    return [feature for (feature,) in rows]


def _mask(run: RunReader, features: Iterable[int]) -> Flags:
    mask = np.zeros(run.d_sae, bool)
    mask[[feature for feature in features if feature < run.d_sae]] = True
    return mask


def _rows(columns: FeatureColumns, features: list[int], meant: ByMeaning | None) -> list[FeatureRow]:
    marks = ",".join("?" * len(features))
    statement = f"SELECT feature, word, spark FROM feature WHERE spark NOT NULL AND feature IN ({marks})"
    saved = {feature: (word, orjson.loads(spark)) for feature, word, spark in columns.run.rows(statement, features)}
    found = columns.run.found_names(features)
    values = {name: column[features].tolist() for name, column in columns.values.items()}
    effects = columns.slice_effects
    return [
        FeatureRow.model_construct(
            feature=feature,
            word=saved[feature][0] if feature in saved else None,
            found_name=found.get(feature),
            has_examples=feature in saved,
            n_headlines=int(columns.headline_counts[feature]),
            density=float(columns.density[feature]),
            status=columns.support(feature),
            leaning=columns.leaning_of(feature),
            histogram=saved[feature][1] if feature in saved else [],
            values={name: column[row] for name, column in values.items()},
            slice_effects=effects.means[feature].tolist() if effects and effects.counts[feature] else None,
            n_slice_effects=int(effects.counts[feature]) if effects else None,
            nearest=meant.nearest(feature) if meant else None,
        )
        for row, feature in enumerate(features)
    ]
