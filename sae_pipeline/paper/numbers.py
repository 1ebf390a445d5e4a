"""Every number of a paper, by name, with its interval and how it is checked."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import scipy

from sae_pipeline.arrays import Ints
from sae_pipeline.intervals import share_interval
from sae_pipeline.paper.sources import Sources
from sae_pipeline.runs.multiplicity import tests_in
from sae_pipeline.schema.controls import ControlsFile
from sae_pipeline.schema.paper import Check, Number
from sae_pipeline.schema.reports import ClassifierReport, SpliceReport
from sae_pipeline.schema.run import MetricColumn
from sae_pipeline.study.layout import SaeRecord

_RESAMPLES = 1000
SEED_FIGURES = ("l0/train", "l0/held_out", "fvu/train", "fvu/held_out", "dead", "unchanged", "accuracy_change", "kl")
LAYER_FIGURES = ("probe_words", "probe_cls", "changed_words", "changed_cls")


def numbers_of(sources: Sources, n_features: int) -> dict[str, Number]:
    """All numbers of a paper about a run, by name; `n_features` are listed per class."""
    found = [
        *classifier_numbers(sources.classifier.test),
        *(number for size, record in sources.saes.items() for number in sae_numbers(size, record)),
        *(number for size in sources.saes for number in _seed_numbers(size, sources.seeds[size])),
        *(number for size, file in sources.controls.items() for number in _control_numbers(size, file)),
        *_layer_numbers(sources),
        *run_numbers(sources),
        *feature_numbers(sources, n_features),
        *_name_numbers(sources),
        *_contrast_numbers(sources),
        *_causal_numbers(sources),
        *_sealed_numbers(sources),
    ]
    return {number.name: number for number in found}


def _recorded(
    name: str, value: float, n: int | None = None, ends: tuple[float | None, float | None] | None = None
) -> Number:
    """A number of a record, which only a training makes anew."""
    low, high = ends or (None, None)
    return Number(name=name, value=value, low=low, high=high, n=n, check="record")


def _share(name: str, share: float, n: int, check: Check) -> Number:
    low, high = share_interval(round(share * n), n)
    return Number(name=name, value=share, low=low, high=high, n=n, check=check)


def classifier_numbers(report: ClassifierReport | None, prefix: str = "classifier") -> Iterator[Number]:
    """The scores of a classifier; none where its headlines have no labels."""
    if report is None:
        return
    n = report.n_headlines
    yield _share(f"{prefix}/accuracy", report.accuracy, n, "headlines")
    low, high = _macro_f1_interval(np.array(report.confusion))
    yield Number(name=f"{prefix}/macro_f1", value=report.macro_f1, low=low, high=high, n=n, check="headlines")
    yield Number(name=f"{prefix}/majority_accuracy", value=report.majority_accuracy, n=n, check="headlines")
    for place, score in enumerate(report.per_class):
        for what in ("precision", "recall", "f1"):
            yield Number(
                name=f"{prefix}/class/{place}/{what}", value=getattr(score, what), n=score.support, check="headlines"
            )


def _macro_f1_interval(confusion: Ints) -> tuple[float, float]:
    """The 95 % percentile interval of macro-F1 over resamples of the headlines, from counts [true][predicted]."""
    n = int(confusion.sum())
    draws = np.random.default_rng(0).multinomial(n, confusion.ravel() / n, _RESAMPLES).reshape(-1, *confusion.shape)
    right = draws.diagonal(axis1=1, axis2=2)
    f1 = 2 * right / np.maximum(draws.sum(1) + draws.sum(2), 1)
    low, high = np.quantile(f1.mean(1), [0.025, 0.975])
    return float(low), float(high)


def sae_numbers(size: str, record: SaeRecord) -> Iterator[Number]:
    """The quality of an SAE."""
    r, at = record.report, f"sae/{size}"
    for split, quality, check in (("train", r.train, "train"), ("held_out", r.held_out, "weights")):
        yield Number(name=f"{at}/l0/{split}", value=quality.l0, n=quality.n_tokens, check=check)
        yield Number(name=f"{at}/fvu/{split}", value=quality.fvu, n=quality.n_tokens, check=check)
    yield Number(name=f"{at}/dead", value=r.dead_share, n=record.config.d_sae, check="train")
    yield from splice_numbers(at, r.spliced, "weights")
    yield _recorded(f"{at}/seconds", r.seconds)


def splice_numbers(at: str, spliced: SpliceReport, check: Check) -> Iterator[Number]:
    """What happens to predictions when a reconstruction replaces the activations."""
    n, change = spliced.n_headlines, spliced.accuracy_change_interval
    yield _share(f"{at}/unchanged", spliced.unchanged, n, check)
    yield Number(
        name=f"{at}/accuracy_change",
        value=spliced.accuracy_spliced - spliced.accuracy_clean,
        low=change[0] if change else None,
        high=change[1] if change else None,
        n=n,
        check=check,
    )
    yield Number(name=f"{at}/mcnemar_p", value=spliced.mcnemar_p, n=n, check=check)
    yield Number(name=f"{at}/kl", value=spliced.mean_kl, n=n, check=check)
    for baseline in spliced.baselines:
        yield Number(name=f"{at}/recovered/{baseline.kind}", value=baseline.recovered_loss, n=n, check=check)


def _seed_numbers(size: str, records: Sequence[SaeRecord]) -> Iterator[Number]:
    """Means over trainings that differ by their seed, with Student's interval; none for a single seed."""
    if len(records) < 2:
        return
    reports = [{number.name: number.value for number in sae_numbers(size, record)} for record in records]
    for figure in SEED_FIGURES:
        low, mean, high = student_interval([report[f"sae/{size}/{figure}"] for report in reports])
        yield _recorded(f"seeds/{size}/{figure}", mean, len(records), (low, high))


def student_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """The lower end, the mean and the upper end of Student's 95 % interval of two or more values."""
    mean = float(np.mean(values))
    half = float(scipy.stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)))
    return mean - half, mean, mean + half


def _control_numbers(size: str, file: ControlsFile) -> Iterator[Number]:
    for control in file.controls:
        at = f"controls/{size}/{control.name}"
        if control.code is not None:
            yield _recorded(f"{at}/l0", control.code.l0, control.code.n_tokens)
            yield _recorded(f"{at}/fvu", control.code.fvu, control.code.n_tokens, control.fvu_interval)
        if control.spliced:
            yield _share(f"{at}/unchanged", control.spliced.unchanged, control.spliced.n_headlines, "record")
        for probe in control.probing:
            yield _recorded(f"{at}/auroc/{probe.k or 'all'}", probe.auroc, file.n_test, probe.auroc_interval)
    for claim in file.claims:
        name = f"claims/{size}/{claim.against}/{claim.measure}/{claim.k or 'all'}/{claim.rival_k or 'all'}"
        yield _recorded(name, claim.gain, file.n_test, claim.interval)
    at, stable = f"controls/{size}/stability", file.stability
    yield _recorded(f"{at}/cosine", stable.mean_cosine, len(stable.seeds))
    yield _recorded(f"{at}/chance", stable.chance_cosine, len(stable.seeds))
    yield _recorded(f"{at}/matched", stable.matched_share, len(stable.seeds))


def _layer_numbers(sources: Sources) -> Iterator[Number]:
    if sources.layers is None:
        return
    for one in sources.layers.layers:
        figures = {what: getattr(one, what) for what in LAYER_FIGURES}
        if one.sae:
            figures |= {"fvu": one.sae.fvu, "unchanged": one.sae.unchanged, "l0": one.sae.l0}
        for what, found in figures.items():
            name = f"layers/{one.layer}/{what}"
            yield _recorded(name, found.value, sources.layers.n_headlines, (found.low, found.high))


def run_numbers(sources: Sources) -> Iterator[Number]:
    """Sizes of the run, and how many tests were made on it."""
    totals = sources.run.metadata.totals
    yield Number(name="run/headlines", value=totals.n_headlines, check="headlines")
    yield Number(name="run/tokens", value=totals.n_counted_tokens, check="headlines")
    yield _recorded("run/live_features", totals.n_live_features)
    for metric, n in tests_in(sources.run.folder).items():
        yield _recorded(f"tests/{metric}", n)


def n_tests(numbers: Mapping[str, Number]) -> int:
    """The number of statistical tests that were made on the run."""
    return sum(int(number.value) for name, number in numbers.items() if name.startswith("tests/"))


def auroc_columns(sources: Sources) -> list[MetricColumn]:
    """The AUROC of every feature, a column for each class."""
    columns = {column.name: column for column in sources.run.feature_stats.metrics}
    names = (f"auroc_{label.lower()}" for label in sources.run.metadata.labels)
    return [columns[name] for name in names if name in columns]


def leading(column: MetricColumn, n: int) -> list[int]:
    """The n features with the highest AUROC on the choosing half, of those above chance there that were tested."""
    tested = column.tested or [None] * len(column.values)
    return [feature for feature in column.top if tested[feature] is not None and column.values[feature] > 0.5][:n]


def feature_numbers(sources: Sources, n_features: int) -> Iterator[Number]:
    """The AUROC of the features that lead each class: on the half that chose them, and on the half that did not."""
    for place, column in enumerate(auroc_columns(sources)):
        for feature in leading(column, n_features):
            at = f"feature/{place}/{feature}"
            tested, low, high, q = (
                values[feature] if values else None for values in (column.tested, column.low, column.high, column.q)
            )
            n = column.n[feature] if column.n else None
            yield Number(name=f"{at}/chosen", value=column.values[feature], check="weights")
            if tested is not None:
                yield Number(name=f"{at}/tested", value=tested, low=low, high=high, n=n, check="weights")
            if q is not None:
                yield _recorded(f"{at}/q", q)


def _name_numbers(sources: Sources) -> Iterator[Number]:
    for scores in sources.run.names.scores if sources.run.names else ():
        yield _recorded(f"names/{scores.kind}/named", scores.share_named, scores.n_features)
        if scores.quartiles:
            yield _recorded(f"names/{scores.kind}/median", scores.quartiles[2], scores.n_scored)


def _contrast_numbers(sources: Sources) -> Iterator[Number]:
    for kind in sources.contrast.kinds if sources.contrast else ():
        for what, share in (("changed", kind.changed), ("as_expected", kind.as_expected)):
            name = f"contrast/{kind.kind}/{kind.source}/{what}"
            yield _recorded(name, share.share, kind.n_pairs, (share.low, share.high))


def _causal_numbers(sources: Sources) -> Iterator[Number]:
    file = sources.interventions
    if file is None:
        return
    for one in file.agreement:
        at = f"causes/agreement/{one.estimate}/{one.chosen}"
        yield _recorded(f"{at}/pearson", one.pearson, one.n_pairs)
        yield _recorded(f"{at}/spearman", one.spearman, one.n_pairs)
    if file.flips_searched:
        share = file.flips_found / file.flips_searched
        yield _share("causes/flipped", share, file.flips_searched, "record")


def _sealed_numbers(sources: Sources) -> Iterator[Number]:
    result = sources.seal and sources.seal.result
    if not result:
        return
    for number in classifier_numbers(result.classifier, "sealed/classifier"):
        yield number.model_copy(update={"check": "record"})
    yield _recorded("sealed/l0", result.held_out.l0, result.held_out.n_tokens)
    yield _recorded("sealed/fvu", result.held_out.fvu, result.held_out.n_tokens)
    yield from splice_numbers("sealed", result.spliced, "record")
    for claim in result.claims:
        if claim.auroc is not None:
            at = f"sealed/feature/{claim.feature}"
            yield _recorded(f"{at}/auroc", claim.auroc, claim.n, (claim.low, claim.high))
            yield _recorded(f"{at}/p", claim.p or 0.0)
