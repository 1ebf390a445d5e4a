"""What the verbs about SAEs print, as text tables: sweeps, imported SAEs, layers, baselines, other sizes and seeds."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from sae_pipeline.errors import command
from sae_pipeline.schema.controls import Claim, ControlsFile
from sae_pipeline.schema.family import FamilyFile
from sae_pipeline.schema.layers import LayersFile, Measured
from sae_pipeline.study.layout import SaeRecord, record_size


def bracketed(ends: tuple[float, float] | None, form: str) -> str:
    """An interval in brackets, each end in the format `form`; [-] where there is none."""
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
    return f"{value:.3f} {bracketed(ends, '.3f')}" if ends else f"{value:.3f}"


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
    chance = "" if s.chance is None else f"; by chance {s.chance:.1%} of random directions are found in a seed"
    yield f"stable, in all of them: {s.share:.1%} [{s.low:.1%}, {s.high:.1%}]{chance}"
