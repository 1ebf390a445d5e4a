"""Checks that the records of a run, each valid by itself, fit together.

Each function yields a pair (field, problem) for what is wrong with one record. Readers stop at the first problem, so a
check may rely on those before it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, pairwise

import numpy as np
from numpy.typing import NDArray

from sae_pipeline.headlines.text import headline_id
from sae_pipeline.schema.causes import FeatureEffectsFile, HeadlineEffects, InterventionsSummary
from sae_pipeline.schema.common import FEATURE_STATS, METADATA, PROMPTS, RUN_FILES, MadeFrom, MadeWith
from sae_pipeline.schema.contrast import ContrastFile, ContrastPair
from sae_pipeline.schema.explanations import ExplanationsFile
from sae_pipeline.schema.family import FamilyFile
from sae_pipeline.schema.map import MapFile
from sae_pipeline.schema.names import NamesFile
from sae_pipeline.schema.run import (
    Example,
    FeatureExamples,
    FeatureStatsFile,
    FeatureTokensFile,
    Firing,
    HeadlineFeatures,
    MetricColumn,
    MetricInfo,
    NeighboursFile,
    Prompt,
    RunMetadata,
)

Problems = Iterator[tuple[str, str]]
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
    yield from _names("labels", [label.lower() for label in metadata.labels])
    if metadata.columns:
        yield from _names("columns", metadata.columns)
    yield from _names("metrics", [metric.name for metric in metadata.metrics])
    report = metadata.classifier.report
    if report is not None and [one.label for one in report.per_class] != metadata.labels:
        yield "labels", "are not those of the classifier's report"
    if metadata.sae.d_in != metadata.classifier.d_model:
        yield "sae.d_in", f"is {metadata.sae.d_in}, but classifier.d_model is {metadata.classifier.d_model}"
    if totals.n_features != d_sae or d_sae < 1:
        yield "totals.n_features", f"is {totals.n_features}, but sae.d_sae is {d_sae}"
    if not 0 <= totals.n_features_with_examples <= totals.n_live_features <= d_sae:
        yield "totals", f"has more features with examples than live ones, or more live ones than {d_sae}"


def made_with_problems(head: MadeWith, metadata: RunMetadata) -> Problems:
    """Check that a file was made with the classifier and the SAE of the run."""
    for field in MadeWith.model_fields:
        yield from _unlike(field, getattr(head, field), getattr(metadata, field))


def made_from_problems(head: MadeFrom, metadata: RunMetadata, checksum: str) -> Problems:
    """Check that a file was added to this run; `checksum` is that of `metadata.json`."""
    yield from _unlike("run_id", head.run_id, metadata.run_id)
    yield from made_with_problems(head, metadata)
    if head.run_checksum != checksum:
        yield "run_checksum", f"is that of another {METADATA}"


# --- prompts.jsonl -------------------------------------------------------------------------------------


def prompt_problems(prompt: Prompt, metadata: RunMetadata) -> Problems:
    """Check a headline by itself and against the run's classes and columns."""
    shares, n_tokens, n_labels = prompt.probabilities, len(prompt.tokens), len(metadata.labels)
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
    if list(prompt.columns) != metadata.columns:
        yield "columns", f"are not those of {METADATA}"
    if any(isinstance(cell, int) and abs(cell) > _MAX_COUNT for cell in prompt.columns.values()):
        yield "columns", f"have a whole number above {_MAX_COUNT}, which JSON's readers round"
    if not metadata.labelled and prompt.label != prompt.prediction:
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
    yield from _unlike("d_sae", d_sae, metadata.sae.d_sae)
    yield from _unlike("n_headlines", stats.n_headlines, totals.n_headlines)
    yield from _unlike("n_counted_tokens", stats.n_counted_tokens, totals.n_counted_tokens)
    yield from _lengths("", d_sae, [("headline_counts", stats.headline_counts), ("counts", stats.counts)])
    if max(stats.headline_counts) > stats.n_headlines:
        yield "headline_counts", f"has {max(stats.headline_counts)} of {stats.n_headlines} headlines"
    for feature, (headlines, tokens) in enumerate(zip(stats.headline_counts, stats.counts, strict=True)):
        if not headlines <= tokens <= stats.n_counted_tokens * bool(headlines):
            yield f"counts.{feature}", f"is {tokens} tokens in {headlines} headlines"
    n_live = sum(map(bool, stats.headline_counts))
    yield from _unlike("headline_counts", n_live, totals.n_live_features, " live features")
    if len(stats.class_sizes) != n_labels or sum(stats.class_sizes) != stats.n_headlines:
        yield "class_sizes", f"are not {stats.n_headlines} headlines of {n_labels} classes"
    per_class: dict[str, Sequence[Sequence[object]]] = {
        "class_headline_counts": stats.class_headline_counts,
        "class_means": stats.class_means,
    }
    for name, rows in per_class.items():
        if len(rows) != n_labels:
            yield name, f"has {len(rows)} of {n_labels} classes"
        yield from _lengths("", d_sae, [(f"{name}.{n}", row) for n, row in enumerate(rows)])
    for n, (counts, size) in enumerate(zip(stats.class_headline_counts, stats.class_sizes, strict=True)):
        if max(counts) > size:
            yield f"class_headline_counts.{n}", f"has {max(counts)} of {size} headlines"
    if [sum(counts) for counts in zip(*stats.class_headline_counts, strict=True)] != stats.headline_counts:
        yield "class_headline_counts", "do not add up to headline_counts"


def metric_problems(names: Sequence[str], metrics: Sequence[MetricInfo]) -> Problems:
    """Check that the columns of a file are the metrics that are described, each once."""
    described = [metric.name for metric in metrics]
    yield from _names("columns", names)
    for name in described:
        if name not in names:
            yield "columns", f"lack {name!r}, which is described"
    for name in names:
        if name not in described:
            yield "columns", f"have {name!r}, which is not described"


def column_problems(column: MetricColumn, d_sae: int) -> Problems:
    """Check one metric against the number of features."""
    lists: dict[str, Sequence[object] | None] = {name: getattr(column, name) for name in _COLUMN_LISTS}
    yield from _lengths(f"{column.name} ", d_sae, lists.items())
    if max(column.top, default=0) >= d_sae:
        yield f"{column.name} top", f"names feature {max(column.top)}, but there are {d_sae}"
    if len(set(column.top)) < len(column.top) or not _descends(column.values[feature] for feature in column.top):
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
    if not _descends(example.activation for example in examples):
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
        if fired.token != tokens[fired.position]:
            yield f"features.{k}.token", f"is not the token at {fired.position}"
        if activation > least:
            yield f"features.{k}.activation", "is above that of the feature before"
        seen.add(feature)
        least = activation


def _firing_problem(firing: Firing, n_tokens: int) -> str | None:
    """What is wrong with the positions and values of a firing in a headline of `n_tokens` tokens."""
    positions, values, position = firing.positions, firing.values, firing.position
    if len(positions) != len(values) or position not in positions or positions[-1] >= n_tokens:
        return "do not fit the headline's tokens"
    if len(positions) == 1:  # most firings; the checks below would find nothing else and take longer
        return None if values[0] == firing.activation else "have a value other than activation"
    if any(map(int.__ge__, positions, positions[1:])):
        return "do not ascend"
    if values[positions.index(position)] != firing.activation or firing.activation < max(values):
        return "have a largest value other than activation"
    return None


# --- what a run can do without -------------------------------------------------------------------------


def neighbours_problems(near: NeighboursFile, metadata: RunMetadata) -> Problems:
    """Check `neighbours.json`."""
    yield from made_with_problems(near, metadata)
    yield from _unlike("d_sae", near.d_sae, metadata.sae.d_sae)
    if near.n_headlines > metadata.totals.n_headlines:
        yield "n_headlines", f"is {near.n_headlines} of {metadata.totals.n_headlines}"
    pairs: Mapping[str, tuple[list[list[int]], list[list[float]]]] = {
        "by_decoder": (near.by_decoder, near.decoder_cosine),
        "by_cofiring": (near.by_cofiring, near.cofiring),
    }
    for name, (features, numbers) in pairs.items():
        yield from _lengths("", near.d_sae, [(name, features), (f"the numbers of {name}", numbers)])
        for feature, (others, alike) in enumerate(zip(features, numbers, strict=True)):
            if len(others) != len(alike) or len(others) > near.k or max(others, default=0) >= near.d_sae:
                yield f"{name}.{feature}", f"are not up to {near.k} of {near.d_sae} features with a number each"
            if not _descends(alike):
                yield f"{name}.{feature}", "are not in the order of likeness"


def names_problems(names: NamesFile, metadata: RunMetadata, stats: FeatureStatsFile) -> Problems:
    """Check `names.json`."""
    yield from made_with_problems(names, metadata)
    yield from _unlike("d_sae", names.d_sae, metadata.sae.d_sae)
    if names.n_choosing + names.n_testing > metadata.totals.n_headlines:
        yield "n_choosing, n_testing", f"are more than {metadata.totals.n_headlines} headlines"
    live = [feature for feature, count in enumerate(stats.counts) if count]
    if [one.feature for one in names.features] != live:
        yield "features", f"are not the {len(live)} features that fire, in ascending order"
    for n, one in enumerate(names.features):
        good = (one.score or 0.0) >= names.least_score and (one.f1 or 0.0) >= names.least_f1
        if one.name is not None and not (one.rule and good):
            least = f"{names.least_score}, with an F1 of {names.least_f1}"
            yield f"features.{n}.name", f"is given without a rule that scores {least}"
        if one.score is not None and not (one.low or 0.0) <= one.score <= (one.high or 0.0):
            yield f"features.{n}.score", "is outside its interval"
        if max(one.n, one.n_rule) > names.n_testing:
            yield f"features.{n}", f"counts more than the {names.n_testing} testing headlines"


def explanations_problems(file: ExplanationsFile, metadata: RunMetadata, checksum: str) -> Problems:
    """Check `explanations.json`."""
    yield from made_from_problems(file, metadata, checksum)
    features = [one.feature for one in file.explanations]
    for field, problem in repeated_problems("feature", features):
        yield f"explanations{field}", problem
    if max(features, default=0) >= metadata.sae.d_sae:
        yield "explanations", f"name a feature that is not one of {metadata.sae.d_sae}"


def family_problems(family: FamilyFile, metadata: RunMetadata, checksum: str) -> Problems:
    """Check `family.json`."""
    yield from made_from_problems(family, metadata, checksum)
    yield from _unlike("d_sae", family.d_sae, metadata.sae.d_sae)
    if len(family.matches) != len(family.members):
        yield "matches", f"has {len(family.matches)} of {len(family.members)} members"
    if len({member.sae_hash for member in family.members}) < len(family.members):
        yield "members", "names an SAE twice"
    for n, match in enumerate(family.matches):
        lists = [(field, getattr(match, field)) for field in type(match).model_fields]
        yield from _lengths(f"matches.{n}.", family.d_sae, lists)
        if max(match.feature) > _MAX_COUNT:
            yield f"matches.{n}.feature", f"names feature {max(match.feature)}, which is too large"


def map_problems(found: MapFile, metadata: RunMetadata, checksum: str, stats: FeatureStatsFile) -> Problems:
    """Check `map.json`."""
    yield from made_from_problems(found, metadata, checksum)
    yield from _unlike("d_sae", found.d_sae, metadata.sae.d_sae)
    live = [feature for feature, count in enumerate(stats.headline_counts) if count]
    if found.features != live:
        yield "features", f"are not the {len(live)} features that fire, in ascending order"
    for name, column in (("x", found.x), ("y", found.y), ("region", found.region)):
        if len(column) != len(live):
            yield name, f"has {len(column)} of {len(live)} features"
    sizes = [0] * len(found.regions)
    for number in found.region:
        if number >= len(sizes):
            yield "region", f"names region {number}, but there are {len(sizes)}"
        if number >= 0:
            sizes[number] += 1
    if sizes != [region.n_features for region in found.regions]:
        yield "regions", "do not have the features that are said to lie in them"


def effects_problems(head: FeatureEffectsFile, metadata: RunMetadata, checksum: str) -> Problems:
    """Check `feature_effects.json` without its columns."""
    yield from made_from_problems(head, metadata, checksum)
    yield from _unlike("d_sae", head.d_sae, metadata.sae.d_sae)
    if head.n_headlines > metadata.totals.n_headlines:
        yield "n_headlines", f"is {head.n_headlines} of {metadata.totals.n_headlines}"
    yield from _names("metrics", [metric.name for metric in (*metadata.metrics, *head.metrics)])


def interventions_problems(summary: InterventionsSummary, metadata: RunMetadata, checksum: str) -> Problems:
    """Check `interventions.json` without its headlines."""
    yield from made_from_problems(summary, metadata, checksum)
    if summary.flips_found > summary.flips_searched or summary.repairs_found > summary.repairs_searched:
        yield "flips_found, repairs_found", "are more than were searched"
    if summary.set_ablation and max(summary.set_ablation.features, default=0) >= metadata.sae.d_sae:
        yield "set_ablation.features", f"name a feature that is not one of {metadata.sae.d_sae}"


def headline_effects_problems(record: HeadlineEffects, metadata: RunMetadata, n_tokens: int, n_words: int) -> Problems:
    """Check the effects in one headline, which has `n_tokens` tokens in `n_words` words."""
    n_labels, d_sae = len(metadata.labels), metadata.sae.d_sae
    lists = [record.logits, record.base, record.rest, *(feature.effects for feature in record.features)]
    if {len(numbers) for numbers in lists} != {n_labels}:
        yield "logits, base, rest, effects", f"do not have {n_labels} classes each"
    for logit, *parts in zip(*lists, strict=True):
        if abs(logit - sum(parts)) > 10 * _ROUNDING * (1 + sum(map(abs, parts))):
            yield "logits", f"have {logit}, but base, rest and effects add up to {sum(parts):.6g}"
    paths = [path for path in (record.flip, record.repair) if path]
    if max(record.spliced_prediction, *(path.prediction for path in paths), 0) >= n_labels:
        yield "spliced_prediction, flip, repair", f"name a class that is not one of {n_labels}"
    named = [feature.feature for feature in record.features]
    if len(set(named)) < len(named) or max(chain(named, *(path.features for path in paths)), default=0) >= d_sae:
        yield "features, flip, repair", f"name a feature twice, or one that is not one of {d_sae}"
    for k, feature in enumerate(record.features):
        others = (feature.gradient_effects, feature.ablation_logits, feature.ablation_probabilities)
        if {len(numbers) for numbers in others} != {n_labels}:
            yield f"features.{k}", f"does not have {n_labels} classes"
        positions = feature.positions
        ascend = all(map(int.__lt__, positions, positions[1:]))
        if len(positions) != len(feature.position_effects) or not ascend or max(positions, default=0) >= n_tokens:
            yield f"features.{k}.positions", "do not fit the headline's tokens"
    if words := record.word_effects:
        for name, numbers in {
            "integrated_gradients": words.integrated_gradients,
            "occlusion": words.occlusion,
            "features": words.features,
        }.items():
            if len(numbers) != n_words:
                yield f"word_effects.{name}", f"has {len(numbers)} of {n_words} words"
        for name, number in {"agreement": words.agreement, "feature_agreement": words.feature_agreement}.items():
            if number is not None and abs(number) > 1 + _ROUNDING:
                yield f"word_effects.{name}", f"is {number}, which is no correlation"


def contrast_problems(file: ContrastFile, metadata: RunMetadata, checksum: str) -> Problems:
    """Check `contrast.json`."""
    yield from made_from_problems(file, metadata, checksum)
    n_labels, d_sae, n_headlines = len(metadata.labels), metadata.sae.d_sae, metadata.totals.n_headlines
    yield from _unlike("labels", file.labels, metadata.labels)
    if file.n_headlines > n_headlines:
        yield "n_headlines", f"is {file.n_headlines} of {n_headlines}"
    for n, kind in enumerate(file.kinds):
        place = f"kinds.{n}"
        listed: list[list[float] | list[int]] = [kind.mean_shift, *kind.transitions]
        listed += [feature.effects for feature in kind.features]
        listed += [ends for feature in kind.features for ends in (feature.low, feature.high) if ends is not None]
        if {len(kind.transitions), *(len(one) for one in listed)} != {n_labels}:
            yield place, f"does not have {n_labels} classes"
        if {kind.changed.n, kind.as_expected.n, sum(map(sum, kind.transitions))} != {kind.n_pairs}:
            yield f"{place}.n_pairs", f"is {kind.n_pairs}, unlike the pairs that are counted"
        explained = [*(one.n_pairs for one in kind.explained), *(one.n_explained for one in kind.features)]
        if not max(explained, default=0) <= kind.n_tested <= kind.n_pairs or len(kind.pairs) > kind.n_pairs:
            yield place, f"counts more than its {kind.n_pairs} pairs"
        named = [feature.feature for feature in kind.features]
        named += [shift.feature for pair in kind.pairs for shift in pair.features]
        if max(named, default=0) >= d_sae:
            yield f"{place}.features", f"name feature {max(named)}, but there are {d_sae}"
        for k, pair in enumerate(kind.pairs):
            yield from _pair_problems(f"{place}.pairs.{k}", pair, n_labels, n_headlines)


def _pair_problems(place: str, pair: ContrastPair, n_labels: int, n_headlines: int) -> Problems:
    numbers = [*pair.probabilities, *(shift.effects for shift in pair.features)]
    if {len(one) for one in numbers} != {n_labels} or max(*pair.predictions, pair.target or 0) >= n_labels:
        yield place, f"does not fit {n_labels} classes"
    if pair.headline is not None and pair.headline >= n_headlines:
        yield f"{place}.headline", f"is {pair.headline}, but there are {n_headlines} headlines"
    for text, spans in ((pair.before, pair.before_spans), (pair.after, pair.after_spans)):
        if any(start >= end or end > len(text) for start, end in spans):
            yield place, "has spans that are none of its texts"


def listed_problems(n: int, expected: int) -> Problems:
    """Check the number of records of a list."""
    if n != expected:
        yield "", f"has {n} of {expected}"


def repeated_problems(what: str, numbers: Sequence[int]) -> Problems:
    """Check that each record of a list is about another feature or headline."""
    repeated = _repeated(numbers)
    if repeated is not None:
        yield f".{repeated}.{what}", f"is {numbers[repeated]}, which is listed already"


# --- in general ----------------------------------------------------------------------------------------


def _unlike(field: str, found: object, expected: object, what: str = "") -> Problems:
    if found != expected:
        yield field, f"is {found!r}{what}, but {METADATA} says {expected!r}"


def _names(field: str, names: Sequence[str]) -> Problems:
    """Check that there is a name, and that all are different and not empty."""
    repeated = _repeated(names)
    if not names:
        yield field, "are missing"
    if not all(names):
        yield field, "have an empty name"
    if repeated is not None:
        yield field, f"have {names[repeated]!r} twice"


def _repeated(names: Sequence[object]) -> int | None:
    """The index of the first name that stands earlier already."""
    first: dict[object, int] = {}
    return next((n for n, name in enumerate(names) if first.setdefault(name, n) != n), None)


def _descends(values: Iterable[float]) -> bool:
    return all(first >= second for first, second in pairwise(values))


def _lengths(prefix: str, d_sae: int, columns: Iterable[tuple[str, Sequence[object] | None]]) -> Problems:
    for name, column in columns:
        if column is not None and len(column) != d_sae:
            yield f"{prefix}{name}", f"has {len(column)} of {d_sae} features"
