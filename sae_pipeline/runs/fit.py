"""Checks that the records of a run, each valid by itself, fit together.

Each function yields a pair (field, problem) for what is wrong with one record. Readers stop at the first problem, so a
check may rely on those before it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, pairwise

import numpy as np
from numpy.typing import NDArray

from sae_pipeline.headlines.text import headline_id
from sae_pipeline.runs.problems import Problems, descends, distinct_problems, lengths, made_with_problems, unlike
from sae_pipeline.schema.common import FEATURE_STATS, METADATA, PROMPTS, RUN_FILES
from sae_pipeline.schema.run import (
    Example,
    FeatureExamples,
    FeatureStatsFile,
    FeatureTokensFile,
    Firing,
    HeadlineFeatures,
    MetricColumn,
    MetricInfo,
    Prompt,
    RunMetadata,
    SaeInfo,
)

_COLUMN_LISTS = ("values", "tested", "n", "low", "high", "q")
_MAX_COUNT = 1 << 53  # above which JSON's readers disagree about integers
_ROUNDING = 1e-5  # of sums of numbers that have 6 significant digits, relative to the largest


# --- metadata.json -------------------------------------------------------------------------------------


def metadata_problems(metadata: RunMetadata, number: int | None) -> Problems:
    """Check `metadata.json` by itself, and against the number in the name of the run's folder."""
    if number is not None and metadata.run_id != f"run-{number:03d}":
        yield "run_id", f"is {metadata.run_id!r}, unlike the folder's name"
    totals, d_sae = metadata.totals, metadata.sae.d_sae
    for name in RUN_FILES[1:]:
        if name not in metadata.files:
            yield "files", f"lacks {name}"
    yield from distinct_problems("labels", [label.lower() for label in metadata.labels])
    if metadata.columns:
        yield from distinct_problems("columns", metadata.columns)
    yield from distinct_problems("metrics", [metric.name for metric in metadata.metrics])
    report = metadata.classifier.report
    if report is not None and [one.label for one in report.per_class] != metadata.labels:
        yield "labels", "are not those of the classifier's report"
    if metadata.sae.d_in != metadata.classifier.d_model:
        yield "sae.d_in", f"is {metadata.sae.d_in}, but classifier.d_model is {metadata.classifier.d_model}"
    if totals.n_features != d_sae or d_sae < 1:
        yield "totals.n_features", f"is {totals.n_features}, but sae.d_sae is {d_sae}"
    if not 0 <= totals.n_features_with_examples <= totals.n_live_features <= d_sae:
        yield "totals", f"has more features with examples than live ones, or more live ones than {d_sae}"


# --- prompts.jsonl -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RunShape:
    """What is known of a run before its headlines are read, as far as their records must fit it."""

    labels: list[str]
    columns: list[str]
    labelled: bool
    sae: SaeInfo

    @classmethod
    def of(cls, metadata: RunMetadata) -> "RunShape":
        """The shape of a finished run."""
        return cls(metadata.labels, metadata.columns, metadata.labelled, metadata.sae)


def prompt_problems(prompt: Prompt, run: RunShape) -> Problems:
    """Check a headline by itself and against the run's classes and columns."""
    shares, n_tokens, n_labels = prompt.probabilities, len(prompt.tokens), len(run.labels)
    if len(shares) != n_labels:
        yield "probabilities", f"has {len(shares)} of {n_labels} classes"
    if max(prompt.label, prompt.prediction) >= n_labels:
        yield "label, prediction", f"there are {n_labels} classes"
    if abs(sum(shares) - 1) > _ROUNDING:
        yield "probabilities", f"add up to {sum(shares):.6g}"
    if shares[prompt.prediction] < max(shares) - _ROUNDING:
        yield "prediction", f"is {prompt.prediction}, which is not the most probable class"
    if {len(prompt.starts), len(prompt.ends), len(prompt.words)} != {n_tokens}:
        yield "tokens, starts, ends, words", "differ in length"
    if max(prompt.ends, default=0) > len(prompt.text) or any(map(int.__gt__, prompt.starts, prompt.ends)):
        yield "starts, ends", "are no spans of the text"
    if min(prompt.words, default=0) < -1:
        yield "words", f"has word {min(prompt.words)}, below -1"
    if prompt.headline_id != headline_id(prompt.text):
        yield "headline_id", "is that of another text"
    if list(prompt.columns) != run.columns:
        yield "columns", f"are not those of {METADATA}"
    if any(isinstance(cell, int) and abs(cell) > _MAX_COUNT for cell in prompt.columns.values()):
        yield "columns", f"have a whole number above {_MAX_COUNT}, which JSON's readers round"
    if not run.labelled and prompt.label != prompt.prediction:
        yield "label", "is not the prediction, though the headlines have no labels"


def prompts_problems(
    ids: NDArray[np.uint64],
    class_sizes: Sequence[int],
    n_counted: int,
    n_tokens: int,
    metadata: RunMetadata,
    stats: FeatureStatsFile,
) -> Problems:
    """Check all headlines together.

    `ids` are their ids as numbers, and `class_sizes` counts their true labels.
    """
    _, first = np.unique(ids, return_index=True)
    if len(first) < len(ids):
        line = 1 + int(np.setdiff1d(np.arange(len(ids)), first)[0])
        yield f"line {line} headline_id", "is that of an earlier line"
    found = [len(ids), list(class_sizes), n_counted, n_tokens]
    said = [stats.n_headlines, stats.class_sizes, stats.n_counted_tokens, metadata.totals.n_tokens]
    names = ("headlines", "headlines of each class", "counted tokens", "tokens")
    for name, ours, theirs in zip(names, found, said, strict=True):
        if ours != theirs:
            yield "", f"has {ours} {name}, but {FEATURE_STATS} and {METADATA} say {theirs}"


# --- feature_stats.json --------------------------------------------------------------------------------


def stats_problems(stats: FeatureStatsFile, metadata: RunMetadata) -> Problems:
    """Check the statistics without their columns, which `column_problems` checks."""
    totals, d_sae, n_labels = metadata.totals, stats.d_sae, len(metadata.labels)
    yield from made_with_problems(stats, metadata)
    yield from unlike("d_sae", d_sae, metadata.sae.d_sae)
    yield from unlike("n_headlines", stats.n_headlines, totals.n_headlines)
    yield from unlike("n_counted_tokens", stats.n_counted_tokens, totals.n_counted_tokens)
    yield from lengths("", d_sae, [("headline_counts", stats.headline_counts), ("counts", stats.counts)])
    if max(stats.headline_counts) > stats.n_headlines:
        yield "headline_counts", f"has {max(stats.headline_counts)} of {stats.n_headlines} headlines"
    for feature, (headlines, tokens) in enumerate(zip(stats.headline_counts, stats.counts, strict=True)):
        if not headlines <= tokens <= stats.n_counted_tokens * bool(headlines):
            yield f"counts.{feature}", f"is {tokens} tokens in {headlines} headlines"
    n_live = sum(map(bool, stats.headline_counts))
    yield from unlike("headline_counts", n_live, totals.n_live_features, " live features")
    if len(stats.class_sizes) != n_labels or sum(stats.class_sizes) != stats.n_headlines:
        yield "class_sizes", f"are not {stats.n_headlines} headlines of {n_labels} classes"
    per_class: dict[str, Sequence[Sequence[object]]] = {
        "class_headline_counts": stats.class_headline_counts,
        "class_means": stats.class_means,
    }
    for name, rows in per_class.items():
        if len(rows) != n_labels:
            yield name, f"has {len(rows)} of {n_labels} classes"
        yield from lengths("", d_sae, [(f"{name}.{n}", row) for n, row in enumerate(rows)])
    for n, (counts, size) in enumerate(zip(stats.class_headline_counts, stats.class_sizes, strict=True)):
        if max(counts) > size:
            yield f"class_headline_counts.{n}", f"has {max(counts)} of {size} headlines"
    if [sum(counts) for counts in zip(*stats.class_headline_counts, strict=True)] != stats.headline_counts:
        yield "class_headline_counts", "do not add up to headline_counts"


def metric_problems(names: Sequence[str], metrics: Sequence[MetricInfo]) -> Problems:
    """Check that the columns of a file are the metrics that are described, each once."""
    described = [metric.name for metric in metrics]
    yield from distinct_problems("columns", names)
    for name in described:
        if name not in names:
            yield "columns", f"lack {name!r}, which is described"
    for name in names:
        if name not in described:
            yield "columns", f"have {name!r}, which is not described"


def column_problems(column: MetricColumn, d_sae: int) -> Problems:
    """Check one metric against the number of features."""
    lists: dict[str, Sequence[object] | None] = {name: getattr(column, name) for name in _COLUMN_LISTS}
    yield from lengths(f"{column.name} ", d_sae, lists.items())
    if max(column.top, default=0) >= d_sae:
        yield f"{column.name} top", f"names feature {max(column.top)}, but there are {d_sae}"
    if len(set(column.top)) < len(column.top) or not descends(column.values[feature] for feature in column.top):
        yield f"{column.name} top", "is not a ranking by the values"
    if max(column.n or (), default=0) > _MAX_COUNT:
        yield f"{column.name} n", f"has {max(column.n or ())} headlines, which is too many"
    for feature, (low, high) in enumerate(zip(column.low or (), column.high or (), strict=False)):
        if low is not None and high is not None and low > high:
            yield f"{column.name} low.{feature}", f"is {low}, but high is {high}"


# --- feature_tokens.json, headline_features.json -------------------------------------------------------


def tokens_problems(head: FeatureTokensFile, metadata: RunMetadata) -> Problems:
    """Check `feature_tokens.json` without its features."""
    yield from made_with_problems(head, metadata)
    if len(head.histogram_edges) < 2 or any(low >= high for low, high in pairwise(head.histogram_edges)):
        yield "histogram_edges", "do not ascend"


def examples_problems(
    saved: FeatureExamples, n_bins: int, stats: FeatureStatsFile, n_tokens: Sequence[int]
) -> Problems:
    """Check the examples of one feature; `n_tokens` has the number of tokens of every headline."""
    if saved.feature >= stats.d_sae:
        yield "feature", f"is {saved.feature}, but there are {stats.d_sae} features"
    n_fired, n_counted = stats.headline_counts[saved.feature], stats.counts[saved.feature]
    if len(saved.histogram) != n_bins:
        yield "histogram", f"has {len(saved.histogram)} of {n_bins} bins"
    if sum(saved.histogram) != n_counted:
        yield "histogram", f"counts {sum(saved.histogram)} of {n_counted} tokens"
    if not saved.examples or saved.word != saved.examples[0].word:
        yield "word", "is not that of the first example"
    groups = [(f"groups.{n}.examples", group.examples) for n, group in enumerate(saved.groups)]
    for place, examples in chain([("examples", saved.examples)], groups):
        yield from _listed_problems(place, examples, n_fired, n_tokens)
    for n, group in enumerate(saved.groups):
        shown = [example.activation for example in group.examples]
        if not group.low <= min(shown, default=group.low) <= max(shown, default=group.high) <= group.high:
            yield f"groups.{n}", f"has examples outside {group.low} to {group.high}"
        if group.n_headlines > n_fired:
            yield f"groups.{n}.n_headlines", f"is {group.n_headlines} of {n_fired}"
    for n, fired in enumerate(saved.words):
        if fired.count > fired.total or fired.total > stats.n_counted_tokens:
            yield f"words.{n}", f"fires on {fired.count} of {fired.total}"


def _listed_problems(place: str, examples: Sequence[Example], n_fired: int, n_tokens: Sequence[int]) -> Problems:
    for k, example in enumerate(examples):
        if example.headline >= len(n_tokens):
            yield f"{place}.{k}.headline", f"is {example.headline}, but there are {len(n_tokens)} headlines"
        problem = _firing_problem(example, n_tokens[example.headline])
        if problem:
            yield f"{place}.{k}.positions", problem
    if len({example.headline for example in examples}) < len(examples) or len(examples) > n_fired:
        yield place, f"name a headline twice, or more than the {n_fired} on which the feature fires"
    if not descends(example.activation for example in examples):
        yield place, "are not in the order of activation"


def headline_problems(record: HeadlineFeatures, n: int, prompt: Prompt, d_sae: int) -> Problems:
    """Check the strongest features of headline `n`."""
    if record.headline != n or record.headline_id != prompt.headline_id:
        yield "headline_id", f"is not line {n + 1} of {PROMPTS}"
    tokens, n_tokens, seen, least = prompt.tokens, len(prompt.tokens), set[int](), float("inf")
    for k, fired in enumerate(record.features):
        feature, activation, problem = fired.feature, fired.activation, _firing_problem(fired, n_tokens)
        if feature >= d_sae or feature in seen:
            yield f"features.{k}.feature", f"is {feature}, which is listed already or is not one of {d_sae} features"
        if problem:
            yield f"features.{k}.positions", problem
        if fired.token not in ("", tokens[fired.position]):  # a feature of a whole headline has no token
            yield f"features.{k}.token", f"is not the token at {fired.position}"
        if activation > least:
            yield f"features.{k}.activation", "is above that of the feature before"
        seen.add(feature)
        least = activation


def _firing_problem(firing: Firing, n_tokens: int) -> str | None:
    """What is wrong with the positions and values of a firing in a headline of `n_tokens` tokens."""
    positions, values, position = firing.positions, firing.values, firing.position
    if not firing.token:  # it fires on the headline as a whole
        return "name tokens, though it fires on the headline as a whole" if positions or values or position else None
    if len(positions) != len(values) or position not in positions or positions[-1] >= n_tokens:
        return "do not fit the headline's tokens"
    if len(positions) == 1:  # most firings; the checks below would find nothing else and take longer
        return None if values[0] == firing.activation else "have a value other than activation"
    if any(map(int.__ge__, positions, positions[1:])):
        return "do not ascend"
    if values[positions.index(position)] != firing.activation or firing.activation < max(values):
        return "have a largest value other than activation"
    return None
