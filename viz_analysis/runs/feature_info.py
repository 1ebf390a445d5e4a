"""All that a run knows of one feature: statistics, examples in their headlines, words, similar features."""

from collections.abc import Callable, Mapping

from sae_pipeline.runs.feature_tables import Estimate, FeatureFacts
from sae_pipeline.schema.run import Example, FeatureExamples, Prompt
from viz_analysis.api.feature_types import (
    ClassSplit,
    ExampleGroupAnswer,
    ExampleInHeadline,
    FamilyMatch,
    FeatureInfo,
    FeatureStat,
    Histogram,
)
from viz_analysis.runs.feature_columns import FeatureColumns, similar_features
from viz_analysis.runs.reader import RunReader


def feature_info(columns: FeatureColumns, feature: int, newest_by_sae: Callable[[], Mapping[str, str]]) -> FeatureInfo:
    """All that the run knows of a feature.

    `newest_by_sae` gives the newest run of each SAE, by its hash, for the feature's counterparts in other SAEs. Raises
    `UnknownFeatureError`.
    """
    columns.check(feature)
    run = columns.run
    saved, facts = run.examples(feature), run.facts(feature)
    groups = _groups(run, saved) if saved else []
    runs_of = newest_by_sae() if facts.family else {}
    return FeatureInfo.model_construct(
        run_id=run.metadata.run_id,
        labels=run.metadata.labels,
        feature=feature,
        word=saved.word if saved else None,
        found_name=run.found_names([feature]).get(feature),
        naming=facts.naming,
        explanation=facts.explanation,
        n_headlines=int(columns.headline_counts[feature]),
        n_headlines_in_run=run.n_headlines,
        density=float(columns.density[feature]),
        status=columns.support(feature),
        leaning=columns.leaning_of(feature),
        metrics=run.metrics,
        stats=[_stat(columns, name, feature, facts.estimates.get(name) or Estimate()) for name in columns.metrics],
        classes=_classes(columns, feature, facts),
        histogram=Histogram(edges=run.edges, counts=saved.histogram) if saved else None,
        examples_saved=saved is not None,
        message=None if saved else _why_no_examples(columns, feature),
        examples=groups[0].examples if groups else [],
        groups=groups,
        words=saved.words if saved else [],
        similar_decoder=similar_features(run, facts.by_decoder),
        similar_cofiring=similar_features(run, facts.by_cofiring),
        family=[
            FamilyMatch(
                **dict(one) | {"siblings": similar_features(run, one.siblings)}, run_id=runs_of.get(one.sae_hash)
            )
            for one in facts.family
        ],
    )


def _stat(columns: FeatureColumns, metric: str, feature: int, estimate: Estimate) -> FeatureStat:
    return FeatureStat.model_construct(
        name=metric,
        value=float(columns.values[metric][feature]),
        rank=columns.rank(metric, feature),
        tested=estimate.tested,
        n=int(estimate.n) if estimate.n is not None else None,
        low=estimate.low,
        high=estimate.high,
        q=estimate.q,
    )


def _classes(columns: FeatureColumns, feature: int, facts: FeatureFacts) -> list[ClassSplit]:
    """The feature within each class, in the order of the labels."""
    run, splits = columns.run, []
    for n, label in enumerate(run.metadata.labels):
        auroc_name, effect_name = f"auroc_{label.lower()}", f"effect_{label.lower()}"
        auroc, effect = (facts.estimates.get(name) or Estimate() for name in (auroc_name, effect_name))
        splits.append(
            ClassSplit(
                n_headlines=run.class_sizes[n],
                n_fired=facts.class_headlines[n],
                mean_max=facts.class_means[n],
                auroc=auroc.tested if auroc.tested is not None else columns.value(auroc_name, feature),
                auroc_low=auroc.low,
                auroc_high=auroc.high,
                auroc_q=auroc.q,
                effect=columns.value(effect_name, feature),
                effect_low=effect.low,
                effect_high=effect.high,
                effect_n=int(effect.n) if effect.n is not None else None,
            )
        )
    return splits


def _groups(run: RunReader, saved: FeatureExamples) -> list[ExampleGroupAnswer]:
    """The saved examples in their headlines: the strongest ones, then those of other ranges of activations."""
    prompts: dict[int, Prompt] = {}  # the same headline may be an example of several groups

    def in_headline(example: Example) -> ExampleInHeadline:
        if example.headline not in prompts:
            prompts[example.headline] = run.prompt(example.headline)
        return ExampleInHeadline.model_construct(**dict(example), prompt=prompts[example.headline])

    activations = [example.activation for example in saved.examples]
    strongest = ExampleGroupAnswer.model_construct(
        kind="top",
        low=min(activations, default=0.0),
        high=max(activations, default=0.0),
        n_headlines=len(activations),
        examples=[in_headline(example) for example in saved.examples],
    )
    others = (
        ExampleGroupAnswer.model_construct(
            kind=group.kind,
            low=group.low,
            high=group.high,
            n_headlines=group.n_headlines,
            examples=[in_headline(example) for example in group.examples],
        )
        for group in saved.groups
    )
    return [strongest, *others]


def _why_no_examples(columns: FeatureColumns, feature: int) -> str:
    count, in_all = int(columns.headline_counts[feature]), columns.run.n_headlines
    if count == 0:
        return f"Feature {feature} fires on none of this run's {in_all:,} headlines."
    return (
        f"Feature {feature} fires on {count:,} of {in_all:,} headlines, but its examples were not saved: only the "
        "top features of each metric have some. Raise TOP_FEATURES and analyse again."
    )
