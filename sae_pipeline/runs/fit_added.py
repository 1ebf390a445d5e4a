"""Checks that the files which a run can do without fit the rest of it.

Each function yields a pair (field, problem) for what is wrong with one record. Readers stop at the first problem, so a
check may rely on those before it.
"""

from collections.abc import Mapping, Sequence
from itertools import chain, pairwise

from sae_pipeline.runs.problems import (
    Problems,
    descends,
    distinct_problems,
    lengths,
    made_from_problems,
    made_with_problems,
    repeated_problems,
    unlike,
)
from sae_pipeline.schema.calibration import CalibrationFile
from sae_pipeline.schema.causes import FeatureEffectsFile, HeadlineEffects, InterventionsSummary, Unflipped
from sae_pipeline.schema.contrast import ContrastFile, ContrastPair
from sae_pipeline.schema.diff import DiffFile
from sae_pipeline.schema.explanations import ExplanationsFile
from sae_pipeline.schema.family import FamilyFile
from sae_pipeline.schema.map import MapFile
from sae_pipeline.schema.mending import MendingFile
from sae_pipeline.schema.names import NamesFile
from sae_pipeline.schema.run import FeatureStatsFile, NeighboursFile, RunMetadata

_MAX_COUNT = 1 << 53  # above which JSON's readers disagree about integers
_ROUNDING = 1e-5  # of sums of numbers that have 6 significant digits, relative to the largest


def neighbours_problems(near: NeighboursFile, metadata: RunMetadata) -> Problems:
    """Check `neighbours.json`."""
    yield from made_with_problems(near, metadata)
    yield from unlike("d_sae", near.d_sae, metadata.sae.d_sae)
    if near.n_headlines > metadata.totals.n_headlines:
        yield "n_headlines", f"is {near.n_headlines} of {metadata.totals.n_headlines}"
    pairs: Mapping[str, tuple[list[list[int]], list[list[float]]]] = {
        "by_decoder": (near.by_decoder, near.decoder_cosine),
        "by_cofiring": (near.by_cofiring, near.cofiring),
    }
    for name, (features, numbers) in pairs.items():
        yield from lengths("", near.d_sae, [(name, features), (f"the numbers of {name}", numbers)])
        for feature, (others, alike) in enumerate(zip(features, numbers, strict=True)):
            if len(others) != len(alike) or len(others) > near.k or max(others, default=0) >= near.d_sae:
                yield f"{name}.{feature}", f"are not up to {near.k} of {near.d_sae} features with a number each"
            if not descends(alike):
                yield f"{name}.{feature}", "are not in the order of likeness"


def names_problems(names: NamesFile, metadata: RunMetadata, stats: FeatureStatsFile) -> Problems:
    """Check `names.json`."""
    yield from made_with_problems(names, metadata)
    yield from unlike("d_sae", names.d_sae, metadata.sae.d_sae)
    if names.n_choosing + names.n_testing > metadata.totals.n_headlines:
        yield "n_choosing, n_testing", f"are more than {metadata.totals.n_headlines} headlines"
    yield from _live_problems([one.feature for one in names.features], stats)
    for n, one in enumerate(names.features):
        good = (one.score or 0.0) >= names.least_score and (one.f1 or 0.0) >= names.least_f1
        if one.name is not None and not (one.rule and good):
            least = f"{names.least_score}, with an F1 of {names.least_f1}"
            yield f"features.{n}.name", f"is given without a rule that scores {least}"
        if one.score is not None and not (one.low or 0.0) <= one.score <= (one.high or 0.0):
            yield f"features.{n}.score", "is outside its interval"
        if max(one.n, one.n_rule) > names.n_testing:
            yield f"features.{n}", f"counts more than the {names.n_testing} testing headlines"


def _live_problems(features: list[int], stats: FeatureStatsFile) -> Problems:
    """Check that a file has the features that fire."""
    live = [feature for feature, count in enumerate(stats.headline_counts) if count]
    if features != live:
        yield "features", f"are not the {len(live)} features that fire, in ascending order"


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
    yield from unlike("d_sae", family.d_sae, metadata.sae.d_sae)
    if len(family.matches) != len(family.members):
        yield "matches", f"has {len(family.matches)} of {len(family.members)} members"
    if len({member.sae_hash for member in family.members}) < len(family.members):
        yield "members", "names an SAE twice"
    if family.stability and len(family.stability.found) != len(family.stability.seeds) + 1:
        yield "stability.found", f"has {len(family.stability.found)} counts for {len(family.stability.seeds)} seeds"
    for n, match in enumerate(family.matches):
        lists = [(field, getattr(match, field)) for field in type(match).model_fields]
        yield from lengths(f"matches.{n}.", family.d_sae, lists)
        if max(match.feature) > _MAX_COUNT:
            yield f"matches.{n}.feature", f"names feature {max(match.feature)}, which is too large"


def map_problems(found: MapFile, metadata: RunMetadata, checksum: str, stats: FeatureStatsFile) -> Problems:
    """Check `map.json`."""
    yield from made_from_problems(found, metadata, checksum)
    yield from unlike("d_sae", found.d_sae, metadata.sae.d_sae)
    yield from _live_problems(found.features, stats)
    for name, column in (("x", found.x), ("y", found.y), ("region", found.region)):
        if len(column) != len(found.features):
            yield name, f"has {len(column)} of {len(found.features)} features"
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
    yield from unlike("d_sae", head.d_sae, metadata.sae.d_sae)
    if head.n_headlines > metadata.totals.n_headlines:
        yield "n_headlines", f"is {head.n_headlines} of {metadata.totals.n_headlines}"
    yield from distinct_problems("metrics", [metric.name for metric in (*metadata.metrics, *head.metrics)])


def interventions_problems(summary: InterventionsSummary, metadata: RunMetadata, checksum: str) -> Problems:
    """Check `interventions.json` without its headlines."""
    yield from made_from_problems(summary, metadata, checksum)
    if summary.flips_found > summary.flips_searched or summary.repairs_found > summary.repairs_searched:
        yield "flips_found, repairs_found", "are more than were searched"
    for name, found, n_left in (
        ("unflipped", summary.unflipped, summary.flips_searched - summary.flips_found),
        ("unrepaired", summary.unrepaired, summary.repairs_searched - summary.repairs_found),
    ):
        if found and (found.n_base + found.n_spread != n_left or found.n_clamped > n_left):
            yield name, f"does not count the {n_left} predictions that were searched and not changed"
    if (pairs := summary.interactions) and not pairs.n_measured <= pairs.n_above <= pairs.n_headlines:
        yield "interactions", f"counts more than its {pairs.n_headlines} headlines"
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
    yield from _joint_problems(record, named, n_labels)
    for name, path, unflipped in (
        ("unflipped", record.flip, record.unflipped),
        ("unrepaired", record.repair, record.unrepaired),
    ):
        if unflipped and path:
            yield name, "is given for a prediction that is changed"
        if unflipped:
            yield from _unflipped_problems(name, unflipped, (n_labels, d_sae, n_tokens))
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


def _joint_problems(record: HeadlineEffects, named: list[int], n_labels: int) -> Problems:
    """Check what the features `named` do together in a headline."""
    pairs = record.interactions or []
    if {len(numbers) for numbers in (record.joint_effects, *(pair.effects for pair in pairs)) if numbers} - {n_labels}:
        yield "joint_effects, interactions", f"do not have {n_labels} classes each"
    if pairs and record.joint_effects is None:
        yield "interactions", "are given without the joint effects"
    members = [frozenset(pair.features) for pair in pairs]
    if any(len(pair) < 2 or not pair <= set(named) for pair in members) or len(set(members)) < len(members):
        yield "interactions", "are not those of different pairs of the listed features"
    predicted = max(range(n_labels), key=lambda label: record.logits[label])
    sizes = [abs(pair.effects[predicted]) for pair in pairs]
    if any(a < b for a, b in pairwise(sizes)):
        yield "interactions", "are not in the order of their size"


def _unflipped_problems(name: str, found: Unflipped, sizes: tuple[int, int, int]) -> Problems:
    """Check why a prediction was not changed; `sizes` are the numbers of classes, features and tokens."""
    n_labels, d_sae, n_tokens = sizes
    is_base = found.reason == "base"
    if is_base != (found.n_needed is None) or (is_base and found.margin < -_ROUNDING):
        yield f"{name}.reason", f"is {found.reason}, which does not fit the margin and the number of features"
    if (path := found.clamped) is None:
        return
    if not len(path.features) == len(path.levels) == len(path.positions) == len(path.path) - 1:
        yield f"{name}.clamped", "does not have a level, positions and probabilities for each feature"
    if {len(row) for row in path.path} != {n_labels} or path.prediction >= n_labels:
        yield f"{name}.clamped", f"does not fit {n_labels} classes"
    if len(set(path.features)) < len(path.features) or max(path.features, default=0) >= d_sae:
        yield f"{name}.clamped.features", f"name a feature twice, or one that is not one of {d_sae}"
    if max(chain.from_iterable(path.positions), default=0) >= n_tokens:
        yield f"{name}.clamped.positions", "do not fit the headline's tokens"


def contrast_problems(file: ContrastFile, metadata: RunMetadata, checksum: str) -> Problems:
    """Check `contrast.json`."""
    yield from made_from_problems(file, metadata, checksum)
    n_labels, d_sae, n_headlines = len(metadata.labels), metadata.sae.d_sae, metadata.totals.n_headlines
    yield from unlike("labels", file.labels, metadata.labels)
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


def mending_problems(file: MendingFile, metadata: RunMetadata, checksum: str) -> Problems:
    """Check `mending.json`."""
    yield from made_from_problems(file, metadata, checksum)
    yield from unlike("labels", file.labels, metadata.labels)
    if file.n_search + file.n_stopping > metadata.totals.n_headlines:
        yield "n_search, n_stopping", f"are more than {metadata.totals.n_headlines} headlines"
    named = [edit.feature for edit in (*file.steps, *file.edits)]
    if max(named, default=0) >= metadata.sae.d_sae:
        yield "steps, edits", f"name feature {max(named)}, but there are {metadata.sae.d_sae}"
    for field, problem in repeated_problems("feature", [edit.feature for edit in file.edits]):
        yield f"edits{field}", problem
    if bool(file.edits) != bool(file.change) or bool(file.edits) == (file.verdict == "none"):
        yield "change, verdict", "do not fit the edits"
    if not file.change:
        return
    sizes = {len(file.classes), len(file.transitions), *map(len, file.transitions)}
    if sizes != {len(file.labels)} or sum(map(sum, file.transitions)) != file.change.n_headlines:
        yield "transitions", f"are not those of {len(file.labels)} classes in {file.change.n_headlines} headlines"
    for name, one in {"change": file.change, "last_layer": file.last_layer}.items():
        if one and max(one.n_headlines, one.mended + one.made) > metadata.totals.n_headlines:
            yield name, f"counts more than {metadata.totals.n_headlines} headlines"


def calibration_problems(file: CalibrationFile, metadata: RunMetadata, checksum: str) -> Problems:
    """Check `calibration.json`."""
    yield from made_from_problems(file, metadata, checksum)
    yield from unlike("labels", file.labels, metadata.labels)
    if file.n_fit + file.n_test > metadata.totals.n_headlines:
        yield "n_fit, n_test", f"are more than {metadata.totals.n_headlines} headlines"
    if file.n_fit_errors > file.n_fit or file.n_test_errors > file.n_test:
        yield "n_fit_errors, n_test_errors", "are more than the headlines"
    for name, one in {"before": file.before, "after": file.after}.items():
        if sum(part.n_headlines for part in one.bins) != file.n_test:
            yield f"{name}.bins", f"do not count {file.n_test} headlines"
        if not all(part.low <= part.accuracy <= part.high for part in one.bins):
            yield f"{name}.bins", "have an accuracy outside its interval"
    named = [one.feature for one in file.error_features]
    if max(named, default=0) >= metadata.sae.d_sae:
        yield "error_features", f"name feature {max(named)}, but there are {metadata.sae.d_sae}"
    for field, problem in repeated_problems("feature", named):
        yield f"error_features{field}", problem
    if any(
        one.n_errors > min(one.n_headlines, file.n_fit_errors) or one.n_headlines > file.n_fit
        for one in file.error_features
    ):
        yield "error_features", "count more headlines or errors than there are"
    if (file.n_unstable is None) != (not file.seeds) or (file.n_unstable or 0) > metadata.sae.d_sae:
        yield "n_unstable, seeds", "do not fit each other and the number of features"
    if [one.signal for one in file.rankings] not in (["confidence"], ["confidence", "features", "both"]):
        yield "rankings", "are not those of confidence, or of confidence, features and both"
    if any(len(one.error_rates) != len(file.coverages) for one in file.rankings):
        yield "rankings", f"do not have {len(file.coverages)} error rates each"
    if file.coverages != sorted(set(file.coverages), reverse=True) or not file.coverages or file.coverages[-1] <= 0:
        yield "coverages", "do not fall from 1 towards 0"
    if (file.verdict == "unknown") != (len(file.rankings) == 1):
        yield "verdict", "does not fit the rankings"


def diff_problems(file: DiffFile, metadata: RunMetadata, checksum: str, n_tokens: Sequence[int]) -> Problems:
    """Check `diff.json`; `n_tokens` are those of the run's headlines."""
    yield from made_from_problems(file, metadata, checksum)
    yield from unlike("labels", file.labels, metadata.labels)
    n_labels, n_headlines = len(metadata.labels), metadata.totals.n_headlines
    with_control = [model.role for model in file.models] == ["before", "after", "control"]
    if not with_control and [model.role for model in file.models] != ["before", "after"]:
        yield "models", "are not before and after, and perhaps a control"
    found = (file.counts_control, file.replication, file.growth_control)
    if any((one is not None) != with_control for one in found):
        yield "counts_control, replication, growth_control", "do not fit the models"
    if file.n_headlines > n_headlines or not file.n_live <= file.d_sae or file.k > file.d_sae:
        yield "n_headlines, n_live, k", f"are more than the {n_headlines} headlines and {file.d_sae} features"
    for name, bins in {"growth": file.growth, "growth_control": file.growth_control}.items():
        if bins is not None and (len(bins) + 1 != len(file.growth_edges) or sum(bins) != file.n_live):
            yield name, f"does not count {file.n_live} features in {len(file.growth_edges) - 1} bins"
    if max(file.counts.total, file.counts_control.total if file.counts_control else 0) > file.n_live:
        yield "counts, counts_control", f"are more than {file.n_live} features"
    for n, one in enumerate(file.sets):
        if len(one.random_accuracies) != len(one.random_changed):
            yield f"sets.{n}", "has accuracies and changes of different random sets"
    for field, problem in repeated_problems("feature", [one.feature for one in file.features]):
        yield f"features{field}", problem
    for n, feature in enumerate(file.features):
        place = f"features.{n}"
        if (
            feature.feature >= file.d_sae
            or feature.alike >= metadata.sae.d_sae
            or feature.n_headlines > file.n_headlines
        ):
            yield place, "names a feature or counts headlines that do not exist"
        if {len(feature.effects), len(feature.effects_before or feature.effects)} != {n_labels}:
            yield place, f"does not have {n_labels} classes"
        for k, example in enumerate(feature.examples):
            if example.headline >= n_headlines:
                yield f"{place}.examples.{k}.headline", f"is {example.headline}, but there are {n_headlines} headlines"
            positions, ascend = example.positions, all(map(int.__lt__, example.positions, example.positions[1:]))
            n_values = {len(example.before), len(example.after), len(positions) or 1}
            if len(n_values) > 1 or not ascend or max(positions, default=0) >= n_tokens[example.headline]:
                yield f"{place}.examples.{k}.positions", "do not fit the headline's tokens"
