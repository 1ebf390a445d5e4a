"""A run as three Parquet tables with typed columns: features, their examples, and headlines.

Each table has the run's id and the hashes of its models in its schema's metadata.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from sae_pipeline.runs.folders import Run
from sae_pipeline.runs.seed_stability import FOUND_IN_SEEDS, in_other_seeds, times_found
from sae_pipeline.schema.causes import FeatureEffectsFile, WordEffects
from sae_pipeline.schema.common import Cell
from sae_pipeline.schema.family import FamilyFile
from sae_pipeline.schema.run import Example, MetricColumn, Prompt

_PARTS = {"tested": pa.float64(), "low": pa.float64(), "high": pa.float64(), "q": pa.float64(), "n": pa.int32()}
_EXAMPLE = pa.schema(
    [
        ("feature", pa.int32()),
        ("kind", pa.string()),  # strongest; quantile and random are fair draws
        ("rank", pa.int32()),  # 0-based, strongest first, within the feature's kind and range
        ("low", pa.float32()),  # the range of activations it was drawn from; null for the strongest
        ("high", pa.float32()),
        ("headline", pa.int32()),
        ("headline_id", pa.string()),
        ("text", pa.string()),
        ("label", pa.string()),
        ("prediction", pa.string()),
        ("activation", pa.float32()),
        ("position", pa.int32()),
        ("token", pa.string()),
        ("word", pa.string()),
        ("tokens", pa.list_(pa.string())),
        ("positions", pa.list_(pa.int32())),
        ("values", pa.list_(pa.float32())),
    ]
)


def parquet_files(
    run: Run, effects: FeatureEffectsFile | None, family: FamilyFile | None, words: Mapping[int, WordEffects]
) -> Iterator[tuple[str, bytes]]:
    """The names and contents of the three files.

    `effects` adds the columns that `intervene` measured, `family` the one that counts other seeds; `words` are the
    word effects, by headline.
    """
    yield "features.parquet", _content(run, _features(run, effects, family))
    yield "examples.parquet", _content(run, _examples(run))
    yield "headlines.parquet", _content(run, _headlines(run, words))


def _content(run: Run, table: pa.Table) -> bytes:
    """A table as the bytes of a Parquet file."""
    about = run.metadata
    made_with = {"run_id": about.run_id, "classifier_hash": about.classifier_hash, "sae_hash": about.sae_hash}
    sink = pa.BufferOutputStream()
    parquet.write_table(table.replace_schema_metadata(made_with), sink, compression="zstd")
    return bytes(sink.getvalue())


def _features(run: Run, effects: FeatureEffectsFile | None, family: FamilyFile | None) -> pa.Table:
    """A row per feature: counts, counts and means by class, and every metric with its interval and test."""
    stats, saved = run.feature_stats, {one.feature: one for one in run.feature_tokens.features}
    words = [saved[n].word if n in saved else None for n in range(stats.d_sae)]
    characteristic = [[fired.word for fired in saved[n].words] if n in saved else None for n in range(stats.d_sae)]
    columns: dict[str, pa.Array] = {
        "feature": pa.array(range(stats.d_sae), pa.int32()),
        "word": pa.array(words, pa.string()),
        "words": pa.array(characteristic, pa.list_(pa.string())),
        **_names(run),
        "headline_count": pa.array(stats.headline_counts, pa.int32()),
        "token_count": pa.array(stats.counts, pa.int32()),
    }
    for n, label in enumerate(run.metadata.labels):
        columns[f"headline_count_{label}"] = pa.array(stats.class_headline_counts[n], pa.int32())
        columns[f"mean_maximum_{label}"] = pa.array(stats.class_means[n], pa.float64())
    for metric in [*stats.metrics, *(effects.columns if effects else ())]:
        columns |= _metric(metric)
    seeds = in_other_seeds(family.members, family.matches, run.metadata.sae.size) if family else []
    if seeds:
        columns[FOUND_IN_SEEDS] = pa.array(times_found(seeds, stats.d_sae), pa.int32())
    return pa.table(columns)


def _names(run: Run) -> dict[str, pa.Array]:
    """The columns about found names, where the run has them; null for features that do not fire."""
    if not run.found_names:
        return {}
    found = [run.found_names.get(feature) for feature in range(run.feature_stats.d_sae)]
    rules = [[f"{one.kind}: {one.value}" for one in name.rule] if name else None for name in found]
    scores = {
        f"found_name_{part}": pa.array([getattr(name, part) if name else None for name in found], pa.float64())
        for part in ("score", "low", "high", "f1", "shuffled")
    }
    return {
        "found_name": pa.array([name.name if name else None for name in found], pa.string()),
        "found_name_rule": pa.array(rules, pa.list_(pa.string())),
        **scores,
    }


def _metric(metric: MetricColumn) -> dict[str, pa.Array]:
    """The columns of a metric: its values, and of an estimate the numbers beside them."""
    columns = {metric.name: pa.array(metric.values, pa.float64())}
    for part, kind in _PARTS.items():
        values = getattr(metric, part)
        if values is not None:
            columns[f"{metric.name}_{part}"] = pa.array(values, kind)
    return columns


def _examples(run: Run) -> pa.Table:
    """A row per example of a feature."""
    rows: dict[str, list[Any]] = {name: [] for name in _EXAMPLE.names}
    for one in run.feature_tokens.features:
        groups: Iterable[tuple[str, float | None, float | None, Sequence[Example]]] = [
            ("strongest", None, None, one.examples),
            *((group.kind, group.low, group.high, group.examples) for group in one.groups),
        ]
        for kind, low, high, examples in groups:
            for rank, example in enumerate(examples):
                row = {"feature": one.feature, "kind": kind, "rank": rank, "low": low, "high": high}
                for name, value in {**row, **_of_example(run, example)}.items():
                    rows[name].append(value)
    return pa.table(rows, _EXAMPLE)


def _of_example(run: Run, example: Example) -> Mapping[str, Any]:
    prompt = run.prompts[example.headline]
    return {
        "headline": example.headline,
        "headline_id": prompt.headline_id,
        "text": prompt.text,
        "label": _label(run, prompt),
        "prediction": run.metadata.labels[prompt.prediction],
        "activation": example.activation,
        "position": example.position,
        "token": example.token,
        "word": example.word,
        "tokens": prompt.tokens,
        "positions": example.positions,
        "values": example.values,
    }


def _label(run: Run, prompt: Prompt) -> str | None:
    """The label that the table gives a headline; None where it has none."""
    return run.metadata.labels[prompt.label] if run.metadata.labelled else None


def _headlines(run: Run, words: Mapping[int, WordEffects]) -> pa.Table:
    """A row per headline: text, label, prediction, tokens, strongest features, and the table's other columns.

    With word effects it has the word of each token, and for each word its effects on the predicted class.
    """
    prompts, labels = run.prompts, run.metadata.labels
    fired = [record.features for record in run.headline_features.headlines]
    columns: dict[str, pa.Array] = {
        "headline": pa.array(range(len(prompts)), pa.int32()),
        "headline_id": pa.array([p.headline_id for p in prompts], pa.string()),
        "text": pa.array([p.text for p in prompts], pa.string()),
        "label": pa.array([_label(run, p) for p in prompts], pa.string()),
        "prediction": pa.array([labels[p.prediction] for p in prompts], pa.string()),
    }
    for n, label in enumerate(labels):
        columns[f"p_{label}"] = pa.array([p.probabilities[n] for p in prompts], pa.float64())
    columns |= {
        "tokens": pa.array([p.tokens for p in prompts], pa.list_(pa.string())),
        "starts": pa.array([p.starts for p in prompts], pa.list_(pa.int32())),
        "ends": pa.array([p.ends for p in prompts], pa.list_(pa.int32())),
        "features": pa.array([[one.feature for one in row] for row in fired], pa.list_(pa.int32())),
        "activations": pa.array([[one.activation for one in row] for row in fired], pa.list_(pa.float32())),
    }
    if words:
        found = [words.get(n) for n in range(len(prompts))]
        columns["words"] = pa.array([p.words for p in prompts], pa.list_(pa.int32()))
        for name in ("integrated_gradients", "occlusion", "features"):
            values = [getattr(one, name) if one else None for one in found]
            columns[f"word_{name}"] = pa.array(values, pa.list_(pa.float64()))
    for name in run.metadata.columns:
        columns[f"column_{name}"] = _cells([p.columns[name] for p in prompts])
    return pa.table(columns)


def _cells(cells: Sequence[Cell]) -> pa.Array:
    """The cells of a column with their own type; as text where the types are mixed."""
    try:
        return pa.array(cells)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return pa.array([None if cell is None else str(cell) for cell in cells], pa.string())
