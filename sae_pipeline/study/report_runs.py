"""What the verbs about runs print, as text tables: maps, changes of texts, sealed headlines, causes, explanations."""

from collections.abc import Iterator, Sequence

import numpy as np

from sae_pipeline.schema.calibration import AbstentionVerdict, CalibrationFile
from sae_pipeline.schema.causes import InteractionSummary, InterventionsFile, Unflipped, UnflippedSummary
from sae_pipeline.schema.contrast import ContrastFile, ShareOfPairs
from sae_pipeline.schema.diff import CHANGES, DiffFile, SetEffect
from sae_pipeline.schema.explanations import Explanation
from sae_pipeline.schema.map import MapFile
from sae_pipeline.schema.mending import Change, FeatureFactor, MendingFile, Verdict
from sae_pipeline.schema.seal import SealRecord
from sae_pipeline.study.report_saes import bracketed


def map_lines(file: MapFile) -> Iterator[str]:
    """How many features a map has, and what its regions are called."""
    between = file.region.count(-1)
    yield f"{file.run_id}: {len(file.features):,} features on the map, {between:,} of them between its regions"
    for region in file.regions[:10]:
        yield f"  {region.n_features:6,}  {region.name}"
    if len(file.regions) > 10:
        yield f"  and {len(file.regions) - 10} smaller regions"


def contrast_lines(file: ContrastFile) -> Iterator[str]:
    """What changes of texts do to predictions, and which features explain it, as two text tables."""
    yield f"{file.run_id}: {file.n_headlines} headlines changed, in {file.seconds:.0f} s on {file.device}"
    yield ""
    width = max(len(kind.label) for kind in file.kinds)
    yield (
        f"{'change':{width}}  texts      pairs  prediction changes [95 %]  expected  as expected [95 %]     most often"
    )
    for kind in file.kinds:
        changed, right = (_with_ends(share) for share in (kind.changed, kind.as_expected))
        yield (
            f"{kind.label:{width}}  {kind.source:9}  {kind.n_pairs:5}  {changed:25}  {kind.expectation:8}  {right:21}  "
            f"{_most_often(kind.transitions, file.labels)}".rstrip()
        )
    yield "expected: same = the prediction stays; toward, away = the probability of a class rises, falls"
    if any(kind.n_tested for kind in file.kinds):
        yield ""
        yield from _explained_lines(file, width)
    yield from file.left_out


_VERDICTS: dict[Verdict, str] = {
    "none": "no edit lowers the risk on headlines that did not choose it, so none is made",
    "harms": "the edits do not hold: they make as many errors as they mend, or more",
    "unproven": "the edits are not proven: such a gain, or one of random features, may be chance",
    "holds": "the edits hold on headlines that did not choose them, and few random features do as well",
}


def mending_lines(file: MendingFile) -> Iterator[str]:
    """Which edits were found, and what they do to predictions on the headlines that test them."""
    yield f"{file.run_id}: {_VERDICTS[file.verdict]} ({file.seconds:.0f} s on {file.device})"
    if file.risk is not None and file.stopping_risk is not None:
        yield ""
        yield (
            f"searched on {file.n_search:,} headlines, {file.n_search_errors:,} of them predicted wrongly; "
            f"{file.n_stopping:,} others choose the number of edits"
        )
        yield "risk: the mean probability of all classes but the true one"
        yield "edit            headlines  risk, searched  risk, others"
        yield f"{'none':14}  {'':9}  {file.risk:14.4f}  {file.stopping_risk:12.4f}"
        for n, step in enumerate(file.steps):
            kept = "" if n < len(file.edits) else "  not kept"
            yield (
                f"{_edit(step):14}  {step.n_headlines:9,}  {step.risk:14.4f}  {step.stopping_risk:12.4f}{kept}".rstrip()
            )
    elif file.config.get("set"):
        yield f"the set {file.config['set']!r}, all {len(file.edits):,} features ablated"
    if file.change:
        yield ""
        yield (
            f"on {file.change.n_headlines:,} headlines that chose nothing: accuracy, macro-F1, errors mended and made, "
            "McNemar's p"
        )
        yield _change_line("the edits", file.change)
        if file.last_layer:
            yield _change_line("last layer fitted anew", file.last_layer)
        if file.random_sets:
            changes = file.random_sets.accuracy_changes
            mean = sum(changes) / len(changes)
            yield (
                f"{'random sets':22}  accuracy {mean:+.2%} on average and {max(changes):+.2%} at most; "
                f"{file.random_sets.n_as_good} of {len(changes)} are as good"
            )
        yield ""
        width = max(5, *(len(one.label) for one in file.classes))
        for one in file.classes:
            yield (
                f"{one.label:{width}}  recall {one.recall_before:.3f} to {one.recall_after:.3f}, "
                f"precision {one.precision_before:.3f} to {one.precision_after:.3f} (n {one.support:,})"
            )
        for part in file.slices:
            yield (
                f"{part.name}: {part.n_headlines:,} headlines, {part.mended} errors mended and {part.made} made, "
                f"accuracy {part.accuracy_before:.3f} to {part.accuracy_after:.3f}"
            )


def _edit(edit: FeatureFactor) -> str:
    return f"{edit.feature} ablated" if edit.factor == 0 else f"{edit.feature} × {edit.factor:g}"


def _change_line(name: str, change: Change) -> str:
    return (
        f"{name:22}  {change.accuracy_before:.3f} to {change.accuracy_after:.3f} "
        f"{bracketed(change.interval, '+.2%')}, {change.macro_f1_before:.3f} to {change.macro_f1_after:.3f}, "
        f"{change.mended} mended, {change.made} made, p {change.mcnemar_p:.2g}"
    )


_COVERAGES = (1.0, 0.95, 0.9, 0.8, 0.7, 0.5)  # that are shown
_ABSTENTION: dict[AbstentionVerdict, str] = {
    "helps": "confidence with features leaves fewer errors than confidence alone",
    "unproven": "it is not proven that features add anything to confidence",
    "hurts": "confidence with features leaves more errors than confidence alone",
    "unknown": "no feature is doubtful, so there is nothing to add to confidence",
}


def calibration_lines(file: CalibrationFile) -> Iterator[str]:
    """How far probabilities can be trusted, and what abstaining leaves of the errors."""
    yield f"{file.run_id}: {_ABSTENTION[file.verdict]} ({file.seconds:.0f} s on {file.device})"
    yield (
        f"fitted on {file.n_fit:,} headlines, {file.n_fit_errors:,} of them predicted wrongly; probabilities and error "
        f"rates are of {file.n_test:,} others, {file.n_test_errors:,} of them wrong"
    )
    yield ""
    yield f"{'temperature':>11}  confidence  accuracy  calibration error     NLL   Brier"
    accuracy = 1 - file.n_test_errors / file.n_test
    for temperature, one in ((1.0, file.before), (file.temperature, file.after)):
        yield (
            f"{temperature:11.2f}  {one.confidence:10.3f}  {accuracy:8.3f}  {one.ece:17.3f}  {one.nll:6.3f}  "
            f"{one.brier:6.3f}"
        )
    yield ""
    unstable = "" if file.n_unstable is None else f", {file.n_unstable:,} that other seeds do not all have"
    yield (
        f"doubtful features: {len(file.error_features):,} that fire in more of the errors (of {file.n_compared:,}; "
        f"at most {0.05 * file.n_compared:.0f} by chance){unstable}"
    )
    yield "error rate among the surest headlines, by the share that is answered; area: its mean over all shares"
    shown = [n for n, coverage in enumerate(file.coverages) if coverage in _COVERAGES]
    yield "answered by  " + "  ".join(f"{file.coverages[n]:6.0%}" for n in shown) + "  area [95 %]"
    for ranking in file.rankings:
        area = f"{ranking.area:.4f} {bracketed(ranking.interval, '.4f')}"
        less = bracketed(ranking.beyond_confidence, "+.4f") if ranking.beyond_confidence else ""
        yield (
            f"{ranking.signal:11}  "
            + "  ".join(f"{ranking.error_rates[n]:6.1%}" for n in shown)
            + f"  {area}"
            + (f", minus that of confidence {less}" if less else "")
        )


def _explained_lines(file: ContrastFile, width: int) -> Iterator[str]:
    """Which changed predictions the leading features explain; `width` is that of the first column."""
    sizes = [one.n_features for one in file.kinds[0].explained]
    head = f"explained by the leading {', '.join(map(str, sizes))} features"
    yield f"{'change':{width}}  texts      changed  {head:43}  leading"
    for kind in file.kinds:
        if kind.n_tested:
            counts = ", ".join(str(one.n_pairs) for one in kind.explained)
            leading = ", ".join(f"{one.feature} ({one.word or 'whole text'})" for one in kind.features[:3])
            yield f"{kind.label:{width}}  {kind.source:9}  {kind.n_tested:7}  {counts:43}  {leading}"
    yield (
        "leading: features whose change has the largest effects. explained: changed predictions that are equal once "
        "these features are ablated where they fire more"
    )


def _most_often(transitions: Sequence[Sequence[int]], labels: Sequence[str]) -> str:
    """The most frequent change of a prediction; empty where there is none."""
    changes = [(n, a, b) for a, row in enumerate(transitions) for b, n in enumerate(row) if a != b]
    n, before, after = max(changes, default=(0, 0, 0))
    return f"{labels[before]} → {labels[after]} ({n})" if n else ""


def _with_ends(share: ShareOfPairs) -> str:
    return f"{share.share:.1%} [{share.low:.1%}, {share.high:.1%}]"


def sealed_lines(record: SealRecord, labels: Sequence[str]) -> Iterator[str]:
    """Whether the sealed headlines were opened, and what they say of the claims."""
    opened, result = record.opened, record.result
    if opened is None or result is None:
        yield f"{record.n_headlines:,} test headlines are sealed since {record.sealed_at}; `unseal` opens them once"
        return
    spliced, looks = result.spliced, "" if opened.looks is None else f"; {opened.looks:,} features looked at before"
    change = spliced.accuracy_spliced - spliced.accuracy_clean
    yield f"{record.n_headlines:,} sealed headlines, opened once on {opened.opened_at} with {opened.run_id}{looks}:"
    yield (
        f"  accuracy {result.classifier.accuracy:.3f}, macro-F1 {result.classifier.macro_f1:.3f}; L0 "
        f"{result.held_out.l0:.1f}, FVU {result.held_out.fvu:.3f}; {spliced.unchanged:.1%} "
        f"{bracketed(spliced.unchanged_interval, '.1%')} unchanged, accuracy change "
        f"{change:+.2%} {bracketed(spliced.accuracy_change_interval, '+.2%')}"
    )
    for claim in result.claims:
        if claim.auroc is None or claim.low is None or claim.high is None or claim.p is None:
            yield f"  feature {claim.feature}: not tested, it fires in {claim.n} of them"
            continue
        yield (
            f"  feature {claim.feature}: AUROC of {labels[claim.label]} {claim.auroc:.3f} "
            f"[{claim.low:.3f}, {claim.high:.3f}], p {claim.p:.2g} (Holm, {len(result.claims)} claims); "
            f"{claim.expected:.3f} on the half that chose it"
        )


_LISTED = 10  # features of each kind of change


def diff_lines(file: DiffFile) -> Iterator[str]:
    """Which features changed between two models, and what the changed ones do."""
    before, after = file.models[0].model, file.models[1].model
    yield (
        f"{file.run_id}: from {before} to {after} at layer {file.layer}, by a crosscoder of {file.d_sae:,} features, "
        f"{file.k} of them active ({file.seconds:.0f} s on {file.device})"
    )
    yield ""
    yield "model                   role      accuracy     FVU"
    for model in file.models:
        accuracy = "-" if model.accuracy is None else f"{model.accuracy:.3f}"
        yield f"{model.model:22}  {model.role:8}  {accuracy:>8}  {model.fvu:6.3f}"
    yield ""
    yield f"of {file.n_live:,} features that fire in {file.n_headlines:,} headlines   grown  faded  turned"
    compared = {"from before to after": file.counts, "another seed alone": file.counts_control}
    for name, counts in compared.items():
        if counts:
            yield f"{name:49}  {counts.grown:5}  {counts.faded:5}  {counts.turned:6}"
    if r := file.replication:
        yield f"{r.n_both} of {r.n_after} that grew also grew with the other seed; by chance {r.expected:.0f} would"
    yield ""
    yield from map(_set_line, file.sets)
    for change in CHANGES:
        features = [one for one in file.features if one.change == change][:_LISTED]
        if features:
            yield ""
            width = max(map(len, file.labels))
            yield f"{change:7} growth  other seed  cosine  headlines  {'largest effect':{max(width + 7, 14)}}  words"
        for one in features:
            effect, label = max(zip(one.effects, file.labels, strict=True), key=lambda pair: abs(pair[0]))
            largest = f"{label:{width}} {effect:+.3f}"
            control = "-" if one.control_growth is None else f"{one.control_growth:+.2f}"
            numbers = f"{one.growth:+6.2f}  {control:>10}  {one.cosine:6.2f}  {one.n_headlines:9}"
            yield f"{one.feature:7} {numbers}  {largest:14}  {' '.join(one.words)}"


def _set_line(one: SetEffect) -> str:
    n, changed = len(one.random_accuracies), one.random_changed
    return (
        f"{one.change}, {one.n_features} ablated in {one.role}: accuracy {one.accuracy_before:.3f} to "
        f"{one.accuracy_after:.3f}, {one.changed:.1%} of predictions change; random sets: "
        f"{sum(one.random_accuracies) / n:.3f}, {sum(changed) / n:.1%} ({max(changed):.1%} at "
        f"most), with {one.random_contribution:.2f} of the contribution"
    )


def causal_lines(file: InterventionsFile) -> Iterator[str]:
    """The causal effects of a run, as text tables."""
    f = file.faithfulness
    which = " (the wrong ones, then the least sure)" if file.config.get("max_headlines") else ""
    yield f"{file.run_id}: {f.n_headlines} headlines{which} in {file.seconds:.0f} s on {file.device}"
    yield ""
    yield "estimate    features by    pairs   pearson  spearman   within a headline (medians)"
    for a in file.agreement:
        yield (
            f"{a.estimate:11} {a.chosen:11} {a.n_pairs:8} {a.pearson:9.3f} {a.spearman:9.3f} "
            f"{a.pearson_within:9.3f} {a.spearman_within:9.3f}"
        )
    yield f"integrated effects add up to the prediction within {file.completeness_gap:.1e} logits (median)"
    yield ""
    yield (
        f"reconstruction spliced in: accuracy {f.accuracy_spliced:.3f} ({f.accuracy_clean:.3f} clean), "
        f"{f.unchanged:.1%} of predictions unchanged, mean |Δp| {f.mean_absolute_delta_p:.3f}, KL {f.mean_kl:.4f}"
    )
    for b in f.baselines:
        yield (
            f"  against {b.kind:8} ablation (accuracy {b.accuracy:.3f}): recovered accuracy "
            f"{b.recovered_accuracy:.3f}, recovered loss {b.recovered_loss:.3f}"
        )
    yield ""
    if file.curves:
        sizes = "".join(f"{n:7}" for n in file.curves[0].n_features)
        yield f"accuracy with n features     {sizes}   ({file.curves[0].n_headlines} headlines)"
    for c in file.curves:
        yield f"{c.kind:10} by {c.order:14}  {''.join(f'{a:7.3f}' for a in c.accuracy)}"
    sizes_of = [len(h.flip.features) for h in file.headlines if h.flip]
    yield (
        f"flips: {file.flips_found} of {file.flips_searched} headlines"
        + (f", median {int(np.median(sizes_of))} features" if sizes_of else "")
        + f"; repairs: {file.repairs_found} of {file.repairs_searched} errors"
    )
    yield from _unflipped_lines("not flipped", file.unflipped, [h.unflipped for h in file.headlines])
    yield from _unflipped_lines("not repaired", file.unrepaired, [h.unrepaired for h in file.headlines])
    if file.interactions:
        yield _interaction_line(file.interactions)
    if w := file.word_effects:
        agreement, with_features = (_or_dash(mean) for mean in (w.agreement, w.feature_agreement))
        yield (
            f"words of {w.n_headlines} headlines in {w.seconds:.0f} s, {w.baseline} for a missing word: integrated "
            f"gradients agree with occlusion by {agreement} (mean Spearman), with the features by {with_features}; "
            f"they add up within {w.completeness_gap:.1e} logits (median)"
        )
    if file.words_left_out:
        yield file.words_left_out
    if file.set_ablation:
        s = file.set_ablation
        yield (
            f"features {', '.join(map(str, s.features))} ablated everywhere: accuracy {s.accuracy_before:.3f} → "
            f"{s.accuracy_after:.3f}, macro-F1 {s.macro_f1_before:.3f} → {s.macro_f1_after:.3f}"
        )


def _unflipped_lines(what: str, summary: UnflippedSummary | None, records: Sequence[Unflipped | None]) -> Iterator[str]:
    """Why predictions were not changed by ablation, and how many are by clamping."""
    if summary is None or not summary.n_base + summary.n_spread:
        return
    found = [one for one in records if one]
    needed = [one.n_needed for one in found if one.n_needed is not None]
    sizes = [len(one.clamped.features) for one in found if one.clamped]
    yield (
        f"{what}: {summary.n_base} stay with all features ablated, {summary.n_spread} need more features"
        + (f" (median {int(np.median(needed))})" if needed else "")
        + f"; clamping to what is typical of the other class changes {summary.n_clamped} of them"
        + (f" (median {int(np.median(sizes))} features)" if sizes else "")
    )


def _interaction_line(found: InteractionSummary) -> str:
    """How far single ablations are from the joint one."""
    line = (
        f"listed features ablated one by one and together: the sum misses the joint effect by {found.median_miss:.3f} "
        f"logits (median), and by more than {found.share:.0%} of it and {found.floor:g} logits in {found.n_above} of "
        f"{found.n_headlines} headlines"
    )
    if found.measured_miss is None or found.left_miss is None:
        return line
    return (
        f"{line}; with the interactions of all pairs added, the median miss of {found.n_measured} of them falls from "
        f"{found.measured_miss:.3f} to {found.left_miss:.3f}"
    )


def _or_dash(number: float | None) -> str:
    return "-" if number is None else f"{number:.2f}"


def explanation_lines(found: Sequence[Explanation], asked: int) -> list[str]:
    """The mean scores of what a language model said of the features that it was asked about."""
    lines = [f"explanations: {len(found):,} of {asked:,} features"]
    for name in ("detection", "rule_detection", "fuzzing"):
        scores = [score.auroc for one in found if (score := getattr(one, name)) is not None]
        if scores:
            what = {"rule_detection": "found rule, the same headlines"}.get(name, name)
            lines.append(f"  {what}: mean AUROC {sum(scores) / len(scores):.3f} over {len(scores):,} features")
    if len(found) < asked:
        lines.append("The model's other answers could not be used; the same command asks again.")
    return lines
