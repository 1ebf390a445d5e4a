"""The map of a run's features, with the columns that may colour it."""

import numpy as np
import orjson
from numpy.typing import NDArray

from sae_pipeline.errors import command
from sae_pipeline.runs.seed_stability import FOUND_IN_SEEDS
from sae_pipeline.schema.map import MapRegion
from viz_analysis.api.feature_types import MapAnswer, MapColumn
from viz_analysis.api.problems import NoMapError
from viz_analysis.runs.feature_columns import FeatureColumns

_DIGITS = 4  # of what colours a point


def map_answer(columns: FeatureColumns, damage: str | None) -> MapAnswer:
    """The places of the live features, and what may colour them. `damage` says why the file was left out.

    Raises `NoMapError`.
    """
    run = columns.run
    if run.map_head is None:
        run_id = run.metadata.run_id
        raise NoMapError(
            f"{run_id}: {damage}" if damage else f"{run_id} has no map yet; `{command('map')} --run {run_id}` makes it."
        )
    features = run.vector("map feature")
    head = orjson.loads(run.map_head)
    words = [word for (word,) in run.rows("SELECT word FROM feature ORDER BY feature")]
    names = run.all_found_names()
    return MapAnswer.model_construct(
        run_id=run.metadata.run_id,
        labels=run.metadata.labels,
        method=head["method"],
        named_by=head["named_by"],
        regions=[MapRegion.model_construct(**region) for region in head["regions"]],
        features=features.tolist(),
        x=_rounded(run.vector("map x"), 5),
        y=_rounded(run.vector("map y"), 5),
        region=run.vector("map region").tolist(),
        words=[words[feature] for feature in features.tolist()],
        found_names=[names.get(feature) for feature in features.tolist()],
        n_headlines=columns.headline_counts[features].tolist(),
        leaning=columns.leaning[features].tolist(),
        columns=_columns(columns, features),
    )


def _columns(columns: FeatureColumns, features: NDArray[np.int32]) -> list[MapColumn]:
    found = [
        MapColumn.model_construct(
            name="density",
            label="Density",
            description="Share of counted tokens on which the feature fires.",
            kind="density",
            values=_rounded(columns.density[features], 8),
        )
    ]
    for label in columns.run.metadata.labels:
        name = f"effect_{label.lower()}"
        if name in columns.metrics:
            metric = columns.metrics[name]
            found.append(
                MapColumn.model_construct(
                    name=name,
                    label=metric.label,
                    description=metric.description,
                    kind="effect",
                    values=_rounded(columns.values[name][features], _DIGITS),
                )
            )
    stability = columns.run.stability
    if stability is not None:
        share = columns.values[FOUND_IN_SEEDS][features] / len(stability.seeds)
        found.append(
            MapColumn.model_construct(
                name="stability",
                label="Stability",
                description="Share of the trainings with other seeds in which the feature is found again.",
                kind="stability",
                values=_rounded(share, _DIGITS),
            )
        )
    return found


def _rounded(values: NDArray[np.floating], digits: int) -> list[float]:
    return [round(value, digits) for value in values.tolist()]
