"""The figures of a study as text tables: classifier, SAEs, sweeps, controls, families and causal effects."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from sae_pipeline.artefacts.checksums import MissingError, content_hash, read_record
from sae_pipeline.classifier import classifier as classifiers
from sae_pipeline.classifier.classifier import ClassifierRecord
from sae_pipeline.errors import DamageError, UserError, command
from sae_pipeline.runs.folders import list_runs
from sae_pipeline.runs.multiplicity import tests_in, tests_line
from sae_pipeline.runs.run_files import DamagedRunError, read_added
from sae_pipeline.schema.causes import InterventionsFile
from sae_pipeline.schema.contrast import CONTRAST, ContrastFile, ShareOfPairs
from sae_pipeline.schema.controls import Claim, ControlsFile
from sae_pipeline.schema.explanations import Explanation
from sae_pipeline.schema.family import FamilyFile
from sae_pipeline.schema.layers import LayersFile, Measured
from sae_pipeline.schema.map import MapFile
from sae_pipeline.schema.reports import ClassifierReport
from sae_pipeline.schema.seal import SealRecord
from sae_pipeline.study.layout import (
    SAE,
    Layout,
    SaeRecord,
    aliased_saes,
    classifier_folder,
    present_classifier,
    record_size,
)
from sae_pipeline.study.seals import find_seal


class StudyReport(BaseModel):
    """The figures of the present classifier and its SAEs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    classifier_hash: str
    classifier: ClassifierRecord
    saes: dict[str, SaeRecord]
    controls: list[ControlsFile]
    layers: LayersFile | None = Field(None, description="the classifier's layers side by side; null: not compared")
    contrast: ContrastFile | None = Field(None, description="of the newest run whose texts were changed; null: none")
    tests: dict[str, int] | None = Field(
        None, description="features that the newest run tests, by metric; null: no run"
    )
    seal: SealRecord | None = Field(None, description="of the headlines that are kept for a final test; null: none")

    def summary(self) -> dict[str, Any]:
        """The main figures as a dict for JSON, which scripts read."""
        test = self.classifier.test
        return {
            "classifier": {
                "model": self.classifier.model,
                "split": "test",
                "accuracy": test and test.accuracy,
                "macro_f1": test and test.macro_f1,
                "seconds": self.classifier.seconds,
            },
            "saes": {
                size: {
                    "l0": {"train": r.report.train.l0, "held_out": r.report.held_out.l0},
                    "fvu": {"train": r.report.train.fvu, "held_out": r.report.held_out.fvu},
                    "dead_share": {"train": r.report.dead_share, "held_out": r.report.held_out.silent_share},
                    "spliced_accuracy": r.report.spliced.accuracy_spliced,
                    "unchanged": r.report.spliced.unchanged,
                    "positions": r.report.spliced.positions,
                    "seconds": r.report.seconds,
                    "tokens_per_second": r.report.tokens_per_second,
                }
                for size, r in self.saes.items()
            },
            "contrast": [
                {
                    "kind": kind.kind,
                    "texts": kind.source,
                    "pairs": kind.n_pairs,
                    "expectation": kind.expectation,
                    "changed": kind.changed.share,
                    "as_expected": kind.as_expected.share,
                }
                for kind in (self.contrast.kinds if self.contrast else ())
            ],
        }

    def lines(self) -> Iterator[str]:
        """The figures as text tables, line by line."""
        record, test = self.classifier, self.classifier.test
        made = "taken as it is" if record.finetune is None else f"fine-tuned in {record.seconds:.0f} s"
        yield f"classifier {self.classifier_hash}: {record.model}, {made}"
        yield from _score_lines(test) if test else ["  The headlines have no labels."]
        yield ""
        yield "SAE     L0 train  held-out   FVU train  held-out    dead  spliced accuracy (clean)  unchanged  positions"
        for size, sae in self.saes.items():
            r = sae.report
            yield (
                f"{size:6} {r.train.l0:9.1f} {r.held_out.l0:9.1f} {r.train.fvu:12.3f} {r.held_out.fvu:9.3f} "
                f"{r.dead_share:7.1%} {r.spliced.accuracy_spliced:10.3f} ({r.spliced.accuracy_clean:.3f}) "
                f"{r.spliced.unchanged:17.1%}  {r.spliced.positions}"
            )
        yield from _spliced_lines(self.saes)
        for file in self.controls:
            yield ""
            yield from compare_lines(file)
        if self.layers:
            yield ""
            yield from layers_lines(self.layers)
        if self.contrast:
            yield ""
            yield from contrast_lines(self.contrast)
        if self.tests is not None:
            yield ""
            yield tests_line(self.tests)
        if self.seal:
            yield ""
            yield from sealed_lines(self.seal, self.classifier.labels)


def _score_lines(test: ClassifierReport) -> Iterator[str]:
    yield (
        f"  test: accuracy {test.accuracy:.3f} (always the commonest class: {test.majority_accuracy:.3f}), "
        f"macro-F1 {test.macro_f1:.3f} ({test.majority_macro_f1:.3f}), {test.n_headlines} headlines"
    )
    width = max(8, *(len(score.label) for score in test.per_class))
    for score in test.per_class:
        yield (
            f"  {score.label:{width}} precision {score.precision:.3f}  recall {score.recall:.3f}  "
            f"F1 {score.f1:.3f}  n {score.support}"
        )


def study_report(root: Path) -> StudyReport:
    """The figures of the present classifier and of its aliased SAEs: those of the studied layer, if it has any.

    Raises UserError when there is no classifier or no SAE of it.
    """
    folder, layout = classifier_folder(root), Layout(root)
    saes = aliased_saes(layout, folder.name, present_classifier(root).layer) or aliased_saes(layout, folder.name)
    if not saes:
        raise UserError(f"There are no SAEs of the present classifier; run `{command('train')}` first.")
    hashes = [content_hash(record.files[SAE]) for record in saes.values()]
    return StudyReport(
        classifier_hash=folder.name,
        classifier=classifiers.classifier_record(folder),
        saes=saes,
        controls=[file for sae_hash in hashes if (file := _controls(layout, sae_hash)) is not None],
        layers=_layers(layout, folder.name),
        contrast=_contrast(layout, folder.name),
        tests=_tests(layout, folder.name),
        seal=_seal(layout, folder),
    )


def _layers(layout: Layout, classifier_hash: str) -> LayersFile | None:
    """What `layers` found about a classifier; None where there is nothing. Raises UserError for a damaged file."""
    try:
        file = read_record(layout.layers, LayersFile)
        if any(one.sae and not (layout.store / one.sae.sae_hash).is_dir() for one in file.layers):
            raise DamageError("is about an SAE that is not in the store")
    except MissingError:
        return None
    except DamageError as error:
        raise UserError(f"{layout.layers} {error}; `{command('layers')}` makes it again.") from error
    return file if file.classifier_hash == classifier_hash else None


def _contrast(layout: Layout, classifier_hash: str) -> ContrastFile | None:
    """What changes of texts do in the newest run of a classifier that has them. Raises UserError for a damaged file."""
    for entry in list_runs(layout.runs):
        if entry.metadata is None or entry.metadata.classifier_hash != classifier_hash:
            continue
        try:
            found = read_added(entry.folder, CONTRAST, ContrastFile)
        except DamagedRunError as error:
            again = f"{command('contrast')} --run {entry.run_id}"
            raise UserError(f"{entry.folder}: {error.what}; `{again}` makes it again.") from error
        if found is not None:
            return found
    return None


def _tests(layout: Layout, classifier_hash: str) -> dict[str, int] | None:
    """How many features each metric of a classifier's newest run tests; None without a run that can be read."""
    for entry in list_runs(layout.runs):
        if entry.metadata is not None and entry.metadata.classifier_hash == classifier_hash:
            with suppress(DamagedRunError):  # `verify` names it
                return tests_in(entry.folder)
    return None


def _seal(layout: Layout, classifier: Path) -> SealRecord | None:
    found = find_seal(layout, classifiers.classifier_record(classifier).data_hash)
    return found and found[1]


def _controls(layout: Layout, sae_hash: str) -> ControlsFile | None:
    """What `compare` found about an SAE; None where there is nothing. Raises UserError for a damaged file."""
    path = layout.controls(sae_hash)
    try:
        file = read_record(path, ControlsFile)
        if file.sae_hash != sae_hash:
            raise DamageError("is about another SAE")
    except MissingError:
        return None
    except DamageError as error:
        raise UserError(f"{path} {error}; `{command('compare')}` makes it again.") from error
    return file


def _spliced_lines(saes: dict[str, SaeRecord]) -> Iterator[str]:
    """A table of predictions with the reconstruction spliced in: intervals, KL and recovered loss."""
    reports = [(size, s) for size, r in saes.items() for s in (r.report.spliced, r.report.spliced_all) if s]
    yield ""
    yield "spliced     positions  unchanged [95 %]           accuracy change [95 %]   McNemar      KL  recovered loss"
    for size, s in reports:
        recovered = ", ".join(f"{b.kind} {b.recovered_loss:.3f}" for b in s.baselines)
        change = f"{s.accuracy_spliced - s.accuracy_clean:+.2%} {_interval(s.accuracy_change_interval, '+.2%')}"
        kept = f"{s.unchanged:.2%} {_interval(s.unchanged_interval, '.1%')}"
        yield f"{size:12}{s.positions:10} {kept:26}{change:26}{s.mcnemar_p:6.3f} {s.mean_kl:8.4f}  {recovered}"
    if any(s.n_headlines < 30 for _, s in reports):
        yield "An interval needs at least 30 headlines."


def _interval(ends: tuple[float, float] | None, form: str) -> str:
    return f"[{ends[0]:{form}}, {ends[1]:{form}}]" if ends else "[-]"


def sweep_lines(records: Sequence[SaeRecord]) -> Iterator[str]:
    """A table of the SAEs of a sweep, by size and then by L0."""
    yield "SAE     kind        setting         seed  L0 held-out  FVU held-out    dead  unchanged  store"
    for record in sorted(records, key=lambda r: (r.config.d_sae, r.report.held_out.l0)):
        train, r = record.training, record.report
        setting = (
            f"k {train.active}"
            if train.active
            else f"L0 {train.target_l0:g}"
            if train.target_l0
            else f"L1 {train.l1_coefficient:g}"
        )
        yield (
            f"{record_size(record):7} {train.kind:11} {setting:15} {train.seed:4} {r.held_out.l0:12.1f} "
            f"{r.held_out.fvu:13.3f} {r.dead_share:7.1%} {r.spliced.unchanged:10.1%}  {record.inputs_hash}"
        )


def import_lines(record: SaeRecord) -> Iterator[str]:
    """What an imported SAE is, and how good it is on the study's headlines."""
    assert record.origin is not None
    r, size = record.report, record_size(record)
    yield (
        f"imported: {record.origin.architecture} from {record.origin.format}, folder {record.origin.name}, "
        f"{record.config.d_sae:,} features, kind {record.config.kind}"
    )
    yield (
        f"on held-out headlines: L0 {r.held_out.l0:.1f}, FVU {r.held_out.fvu:.3f}, "
        f"{r.spliced.unchanged:.1%} of predictions unchanged when spliced, {r.dead_share:.1%} of features dead on train"
    )
    yield f"`analyze --sae-size {size}` reads it"


def sae_of_layer_lines(records: Mapping[int, Mapping[str, SaeRecord]]) -> Iterator[str]:
    """A table of the SAEs of several layers, held out."""
    yield "layer  SAE           L0     FVU  unchanged"
    for layer, saes in records.items():
        for size, record in saes.items():
            r = record.report
            yield f"{layer:5}  {size:8} {r.held_out.l0:7.1f} {r.held_out.fvu:7.3f} {r.spliced.unchanged:10.1%}"
    yield f"`{command('layers')}` compares these layers"
    yield ""


def layers_lines(file: LayersFile) -> Iterator[str]:
    """Layers side by side, as a text table."""
    yield (
        f"{file.model}, {file.n_headlines:,} test headlines: accuracy {file.accuracy:.3f} (always the commonest "
        f"class: {file.majority:.3f}); measured in {file.seconds:.0f} s on {file.device}"
    )
    sae = next((one.sae for one in file.layers if one.sae), None)
    of = f"SAE {sae.size}" if sae else ""
    yield f"{'':6}{'probe accuracy':44}{'predictions changed without':44}{of}".rstrip()
    heads = ("words", "[CLS]", "words", "[CLS]", *(("L0", "FVU", "unchanged") if sae else ()))
    yield "layer " + "".join(f"{head:22}" for head in heads).rstrip()
    for one in file.layers:
        shares = [one.probe_words, one.probe_cls, one.changed_words, one.changed_cls]
        cells = [_measured(share, ".1%") for share in shares]
        if one.sae:
            cells += [_measured(one.sae.l0, ".1f"), _measured(one.sae.fvu, ".3f"), _measured(one.sae.unchanged, ".1%")]
        yield f"{one.layer:5} " + "".join(f"{cell:22}" for cell in cells).rstrip()
    yield (
        "probe: logistic regression on the mean over words, or on the first token. changed: this layer's output at all "
        "words, or at the first token, is set to its mean over train. [95 %]"
    )
    yield from file.answer
    without = [str(one.layer) for one in file.layers if not one.sae]
    if without:
        yield f"no SAE to compare at layers {', '.join(without)}; `{command('train')} --layers {','.join(without)}`"


def _measured(one: Measured, form: str) -> str:
    """A figure with its interval: 91.2 [90, 92] %."""
    if one.low is None or one.high is None:
        return f"{one.value:{form}}"
    if form.endswith("%"):
        value, low, high = (f"{number:{form}}".rstrip("%") for number in (one.value, one.low, one.high))
        return f"{value} [{low}, {high}]"
    return f"{one.value:{form}} [{one.low:{form}}, {one.high:{form}}]"


def compare_lines(file: ControlsFile) -> Iterator[str]:
    """An SAE beside its baselines and its other seeds, and the claims that fail, as text tables."""
    sizes = [probe.k for probe in file.controls[0].probing]
    head = "".join(f"{_probe_size(k):>22}" for k in sizes)
    yield f"{file.size} ({file.sae_hash}) and its baselines, held-out; AUROC of probes on k units per class [95 %]:"
    yield f"{'':15}{'L0':>6}{'FVU':>7}{'unchanged':>11}{'named':>7}{head}{'macro-F1 (all)':>24}"
    for c in file.controls:
        code = f"{c.code.l0:6.1f}{c.code.fvu:7.3f}" if c.code else f"{'-':>6}{'-':>7}"
        kept = f"{c.spliced.unchanged:.1%}" if c.spliced else "-"
        named = f"{c.names.share_named:.0%}" if c.names else "-"
        probes = {probe.k: probe for probe in c.probing}
        areas = (_with_interval(p.auroc, p.auroc_interval) if (p := probes.get(k)) else "-" for k in sizes)
        shown = "".join(f"{area:>22}" for area in areas)
        f1 = _with_interval(p.macro_f1, p.macro_f1_interval) if (p := probes.get(None)) and p.macro_f1 else "-"
        yield f"{c.name:15}{code}{kept:>11}{named:>7}{shown}{f1:>24}"
    for one in file.seeds:
        areas = (_with_interval(p.auroc, p.auroc_interval) for p in one.probing)
        yield f"{f'sae, seed {one.seed}':15}{one.l0:6.1f}{one.fvu:7.3f}{one.unchanged:>11.1%}{'':7}" + "".join(
            f"{area:>22}" for area in areas
        )
    yield from _claim_lines(file.claims)
    s = file.stability
    yield (
        f"stability over seeds {', '.join(map(str, s.seeds))}: mean nearest cosine {s.mean_cosine:.3f} "
        f"(random directions {s.chance_cosine:.3f}), {s.matched_share:.1%} of features matched at 0.7"
    )


def _claim_lines(claims: Sequence[Claim]) -> Iterator[str]:
    failed = [claim for claim in claims if claim.verdict != "better"]
    if claims:
        yield f"{len(failed)} of {len(claims)} claims that the SAE is better than a baseline fail:"
    yield from (f"  fails: {claim.sentence}" for claim in failed)


def _probe_size(k: int | None) -> str:
    return "all" if k is None else f"k={k}"


def _with_interval(value: float, ends: tuple[float, float] | None) -> str:
    return f"{value:.3f} {_interval(ends, '.3f')}" if ends else f"{value:.3f}"


def family_lines(file: FamilyFile) -> Iterator[str]:
    """How many of a run's features match, split or are absent in each related SAE, and how many are stable."""
    yield f"{file.d_sae:,} features of {file.sae_hash}, on {file.n_tokens:,} tokens:"
    for member, found in zip(file.members, file.matches, strict=True):
        counts = Counter(found.verdict)
        shares = ", ".join(f"{v} {counts[v] / file.d_sae:.1%}" for v in ("match", "split", "absent"))
        yield f"  in {member.size:8} seed {member.seed}: {shares}"
    if file.stability is None:
        yield "Stability is not known, because there is one seed only; --seeds 0,1,2 trains the others."
        return
    s = file.stability
    found_in = ", ".join(f"{count:,} in {times}" for times, count in enumerate(s.found))
    seeds = ", ".join(map(str, s.seeds))
    yield f"{sum(s.found):,} features fire; found again in the seeds {seeds}: {found_in} of {len(s.seeds)}"
    chance = "" if s.chance is None else f"; of random directions {s.chance:.1%} are found in a seed"
    yield f"stable, in all of them: {s.share:.1%} [{s.low:.1%}, {s.high:.1%}]{chance}"


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
        f"{_interval(spliced.unchanged_interval, '.1%')} unchanged, accuracy change "
        f"{change:+.2%} {_interval(spliced.accuracy_change_interval, '+.2%')}"
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
        lines.append("The other answers were no explanations; the same command asks again.")
    return lines
