"""Checks that the records of a run, each valid by itself, fit together.

Each function yields a pair (field, problem) for everything that is wrong with one record.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from sae_pipeline.schema.common import METADATA, PROMPTS
from sae_pipeline.schema.run import (
    FeatureExamples,
    FeatureStatsFile,
    Firing,
    HeadlineFeatures,
    MetricColumn,
    Prompt,
    RunMetadata,
)

Problems = Iterator[tuple[str, str]]
_COLUMN_LISTS = ("values", "tested", "n", "low", "high", "q")


def prompt_problems(prompt: Prompt, n_labels: int) -> Problems:
    """Check a headline against the number of labels."""
    if len(prompt.probabilities) != n_labels:
        yield "probabilities", f"has {len(prompt.probabilities)} of {n_labels} classes"
    if max(prompt.label, prompt.prediction) >= n_labels:
        yield "label, prediction", f"there are {n_labels} classes"
    if {len(prompt.starts), len(prompt.ends), len(prompt.words)} != {len(prompt.tokens)}:
        yield "tokens, starts, ends, words", "differ in length"


def stats_problems(stats: FeatureStatsFile, n_labels: int) -> Problems:
    """Check the statistics but for their columns, which `column_problems` checks."""
    if stats.d_sae < 1:
        yield "d_sae", f"is {stats.d_sae}"
    if max(stats.headline_counts, default=0) > stats.n_headlines:
        yield "headline_counts", f"has {max(stats.headline_counts)} of {stats.n_headlines} headlines"
    yield from _lengths("", stats.d_sae, [("headline_counts", stats.headline_counts), ("counts", stats.counts)])
    if len(stats.class_sizes) != n_labels:
        yield "class_sizes", f"has {len(stats.class_sizes)} of {n_labels} classes"
    per_class: dict[str, Sequence[Sequence[object]]] = {
        "class_headline_counts": stats.class_headline_counts,
        "class_means": stats.class_means,
    }
    for name, rows in per_class.items():
        if len(rows) != n_labels:
            yield name, f"has {len(rows)} of {n_labels} classes"
        yield from _lengths("", stats.d_sae, [(f"{name}.{n}", row) for n, row in enumerate(rows)])


def metric_problems(names: Sequence[str], metadata: RunMetadata) -> Problems:
    """Check that each metric of the metadata has a column."""
    for metric in metadata.metrics:
        if metric.name not in names:
            yield "metrics", f"lacks {metric.name!r}, which {METADATA} names"


def column_problems(column: MetricColumn, d_sae: int) -> Problems:
    """Check one metric against the number of features."""
    lists: dict[str, Sequence[object] | None] = {name: getattr(column, name) for name in _COLUMN_LISTS}
    yield from _lengths(f"{column.name} ", d_sae, lists.items())
    if max(column.top, default=0) >= d_sae:
        yield f"{column.name} top", f"names feature {max(column.top)} of {d_sae}"


def examples_problems(saved: FeatureExamples, n_bins: int, d_sae: int, n_tokens: Sequence[int]) -> Problems:
    """Check the examples of one feature; `n_tokens` has the number of tokens of every headline."""
    if saved.feature >= d_sae:
        yield "feature", f"is {saved.feature} of {d_sae} features"
    if len(saved.histogram) != n_bins:
        yield "histogram", f"has {len(saved.histogram)} of {n_bins} bins"
    groups = [(f"groups.{n}.examples", group.examples) for n, group in enumerate(saved.groups)]
    for place, examples in chain([("examples", saved.examples)], groups):
        for k, example in enumerate(examples):
            if example.headline >= len(n_tokens):
                yield f"{place}.{k}.headline", f"is {example.headline} of {len(n_tokens)} headlines"
            elif not _fits(example, n_tokens[example.headline]):
                yield f"{place}.{k}.positions", "do not fit the headline's tokens"


def headline_problems(record: HeadlineFeatures, n: int, prompt: Prompt, d_sae: int) -> Problems:
    """Check the strongest features of headline `n`."""
    if record.headline != n or record.headline_id != prompt.headline_id:
        yield "headline_id", f"is not line {n + 1} of {PROMPTS}"
    for k, fired in enumerate(record.features):
        if fired.feature >= d_sae or not _fits(fired, len(prompt.tokens)):
            yield f"features.{k}", "does not fit the headline's tokens"


def _fits(firing: Firing, n_tokens: int) -> bool:
    """Whether all positions lie in a headline of `n_tokens` tokens, and each has a value."""
    return len(firing.positions) == len(firing.values) and max(firing.position, *firing.positions, 0) < n_tokens


def _lengths(prefix: str, d_sae: int, columns: Iterable[tuple[str, Sequence[object] | None]]) -> Problems:
    for name, column in columns:
        if column is not None and len(column) != d_sae:
            yield f"{prefix}{name}", f"has {len(column)} of {d_sae} features"
