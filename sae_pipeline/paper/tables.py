"""The tables of a paper in LaTeX, with the rules of the package booktabs."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from sae_pipeline.latex import latex_text
from sae_pipeline.paper.numbers import LAYER_FIGURES, auroc_columns, leading, n_tests
from sae_pipeline.paper.sources import Sources
from sae_pipeline.schema.kinds import listed
from sae_pipeline.schema.paper import Number
from sae_pipeline.study.layout import SaeRecord

Numbers = Mapping[str, Number]
_NONE = "--"


def tables_of(sources: Sources, numbers: Numbers, n_features: int) -> dict[str, str]:
    """All tables as LaTeX, by the name of their file."""
    made = {
        "classifier": _classifier(sources, numbers),
        "saes": _saes(sources, numbers),
        "spliced": _spliced(sources, numbers),
        "baselines": _baselines(sources, numbers),
        "layers": _layers(sources, numbers),
        "features": _features(sources, numbers, n_features),
        "contrast": _contrast(sources, numbers),
        "sealed": _sealed(sources, numbers),
    }
    return {f"table-{name}.tex": text for name, text in made.items() if text}


# --- cells ---------------------------------------------------------------------------------------------


def decimal(number: Number | None, digits: int = 3) -> str:
    """A number as text; a dash where there is none."""
    return _NONE if number is None else _minus(f"{number.value:.{digits}f}")


def percent(number: Number | None, digits: int = 1, sign: str = "") -> str:
    """A share, times 100."""
    return _NONE if number is None else _minus(f"{100 * number.value:{sign}.{digits}f}")


def interval(number: Number | None, digits: int, factor: float = 1.0, sign: str = "") -> str:
    """The 95 % interval of a number in brackets; nothing where it has none."""
    if number is None or number.low is None or number.high is None:
        return ""
    return "[{}, {}]".format(*(_minus(f"{factor * end:{sign}.{digits}f}") for end in (number.low, number.high)))


def over_seeds(numbers: Numbers, size: str, figure: str, digits: int, factor: float = 1.0) -> str:
    """The mean over seeds ± half of its interval; the number of the one SAE where there is a single seed."""
    mean = numbers.get(f"seeds/{size}/{figure}")
    if mean is None or mean.high is None:
        return _minus(f"{factor * numbers[f'sae/{size}/{figure}'].value:.{digits}f}")
    half = factor * (mean.high - mean.value)
    return f"{_minus(f'{factor * mean.value:.{digits}f}')} $\\pm$ {half:.{digits}f}"


def probability(number: Number | None) -> str:
    """A p, a q or a KL with two significant digits."""
    if number is None:
        return _NONE
    if number.value and number.value < 1e-3:
        mantissa, exponent = f"{number.value:.1e}".split("e")
        return f"${mantissa}\\cdot10^{{{int(exponent)}}}$"
    return f"{number.value:.2g}"


def _minus(text: str) -> str:
    return text.replace("-", "$-$")


def _table(
    label: str, caption: str, header: Sequence[str], rows: Iterable[Sequence[str]], layout: str, wide: bool = False
) -> str:
    """A table whose cells are LaTeX already."""
    kind = "table*" if wide else "table"
    body = "\n".join(" & ".join(row) + r" \\" for row in rows)
    return (
        f"\\begin{{{kind}}}[t]\n\\caption{{{caption}}}\n\\label{{tab:{label}}}\n"
        f"\\centering\\footnotesize\\setlength{{\\tabcolsep}}{{3pt}}\n"
        f"\\begin{{tabular}}{{@{{}}{layout}@{{}}}}\n\\toprule\n{' & '.join(header)} \\\\\n\\midrule\n{body}\n"
        f"\\bottomrule\n\\end{{tabular}}\n\\end{{{kind}}}\n"
    )


def _shortened(text: str, most: int) -> str:
    return latex_text(text if len(text) <= most else text[: most - 1] + "…")


# --- tables --------------------------------------------------------------------------------------------


def _classifier(sources: Sources, numbers: Numbers) -> str:
    report = sources.classifier.test
    if report is None:
        return ""
    rows = [
        [
            _shortened(score.label, 28),
            *(decimal(numbers[f"classifier/class/{place}/{what}"]) for what in ("precision", "recall", "f1")),
            f"{score.support:,}",
        ]
        for place, score in enumerate(report.per_class)
    ]
    accuracy, macro = numbers["classifier/accuracy"], numbers["classifier/macro_f1"]
    caption = (
        f"The classifier on {report.n_headlines:,} test headlines: accuracy {decimal(accuracy)} "
        f"{interval(accuracy, 3)}, macro-F1 {decimal(macro)} {interval(macro, 3)}. Always giving the commonest class "
        f"has accuracy {decimal(numbers['classifier/majority_accuracy'])}."
    )
    return _table("classifier", caption, ["class", "precision", "recall", "F1", "headlines"], rows, "lrrrr")


def _seeds_said(sources: Sources) -> str:
    counts = sorted({len(records) for records in sources.seeds.values()})
    if counts == [1]:
        return "One seed each."
    which = listed((f"{n}" for n in counts), "or")
    return f"Mean $\\pm$ half of Student's 95\\,\\% interval over {which} seeds (one seed: no interval)."


def setting(record: SaeRecord) -> str:
    """What keeps an SAE sparse, as LaTeX."""
    train = record.train
    if train is None:
        return "imported"
    if train.active:
        return f"$k={train.active}$"
    return f"L0 $\\to$ {train.target_l0:g}" if train.target_l0 else f"$c={train.l1_coefficient:g}$"


def _saes(sources: Sources, numbers: Numbers) -> str:
    rows = [
        [
            latex_text(size),
            f"{record.config.d_sae:,}",
            latex_text(record.config.kind),
            setting(record),
            *(over_seeds(numbers, size, f"l0/{split}", 1) for split in ("train", "held_out")),
            *(over_seeds(numbers, size, f"fvu/{split}", 3) for split in ("train", "held_out")),
            over_seeds(numbers, size, "dead", 1, 100),
            str(len(sources.seeds[size])),
        ]
        for size, record in sources.saes.items()
    ]
    caption = (
        "Sparsity (L0, active features per token) and unexplained variance (FVU) of the SAEs, on train and held-out "
        f"headlines. Dead: features silent over one pass of train. {_seeds_said(sources)}"
    )
    header = ["SAE", "features", "kind", "sparsity", "L0 train", "held-out", "FVU train", "held-out", "dead (\\%)"]
    return _table("saes", caption, [*header, "seeds"], rows, "lrllrrrrrr", wide=True)


def _spliced(sources: Sources, numbers: Numbers) -> str:
    rows = []
    for size in sources.saes:
        at = f"sae/{size}"
        unchanged, change = numbers[f"{at}/unchanged"], numbers[f"{at}/accuracy_change"]
        rows.append(
            [
                latex_text(size),
                f"{percent(unchanged)} {interval(unchanged, 1, 100)}",
                f"{percent(change, 2, '+')} {interval(change, 2, 100, '+')}",
                probability(numbers[f"{at}/mcnemar_p"]),
                probability(numbers[f"{at}/kl"]),
                *(decimal(numbers.get(f"{at}/recovered/{kind}")) for kind in ("zero", "mean", "resample")),
            ]
        )
    spliced = sources.run.metadata.sae.report.spliced
    caption = (
        f"Predictions on {spliced.n_headlines:,} test headlines when the reconstruction replaces the activations "
        f"({latex_text(spliced.positions)}): share unchanged (\\%, Wilson 95\\,\\% interval over headlines), change of "
        "accuracy (points, paired interval), exact McNemar test, mean KL (nats), and recovered loss against zero, mean "
        "and resample ablation. The SAE of the first seed."
    )
    header = ["SAE", "unchanged (\\%)", "accuracy change", "$p$", "KL", "recovered: zero", "mean", "resample"]
    return _table("spliced", caption, header, rows, "lllrrrrr", wide=True)


def _baselines(sources: Sources, numbers: Numbers) -> str:
    file = sources.shown_controls
    if file is None:
        return ""
    at = f"controls/{file.size}"
    sizes = list(dict.fromkeys(probe.k for control in file.controls for probe in control.probing))
    failed = {claim.against for claim in file.claims if claim.verdict != "better"}
    rows = []
    for control in file.controls:
        probes = [numbers.get(f"{at}/{control.name}/auroc/{k or 'all'}") for k in sizes]
        mark = "$^\\dagger$" if control.name in failed else ""
        rows.append(
            [
                latex_text(control.name) + mark,
                decimal(numbers.get(f"{at}/{control.name}/l0"), 1),
                decimal(numbers.get(f"{at}/{control.name}/fvu")),
                percent(numbers.get(f"{at}/{control.name}/unchanged")),
                *(f"{decimal(probe)} {interval(probe, 3)}".strip() for probe in probes),
            ]
        )
    stable = (
        f"Over {len(file.stability.seeds)} seeds the nearest decoder row of a feature has a cosine of "
        f"{decimal(numbers[f'{at}/stability/cosine'])} on average (random directions "
        f"{decimal(numbers[f'{at}/stability/chance'])}); {percent(numbers[f'{at}/stability/matched'])}\\,\\% reach 0.7."
    )
    dagger = " $^\\dagger$: the SAE is not better by at least one measure (paired bootstrap)." if failed else ""
    caption = (
        f"The SAE {latex_text(file.size)} and its baselines on held-out headlines: AUROC of the labels from the $k$ "
        f"best units of each class, with 95\\,\\% intervals over headlines where they were measured.{dagger} {stable}"
    )
    header = ["", "L0", "FVU", "unch. (\\%)", *(f"AUROC, $k={k}$" if k else "AUROC, all" for k in sizes)]
    return _table("baselines", caption, header, rows, "lrrr" + "l" * len(sizes), wide=True)


def _layers(sources: Sources, numbers: Numbers) -> str:
    if sources.layers is None:
        return ""
    rows = []
    for one in sources.layers.layers:
        found = {what: numbers.get(f"layers/{one.layer}/{what}") for what in (*LAYER_FIGURES, "l0", "fvu", "unchanged")}
        shares = [found[what] for what in LAYER_FIGURES]
        rows.append(
            [
                str(one.layer),
                *(f"{percent(share)} {interval(share, 1, 100)}".strip() for share in shares),
                decimal(found["l0"], 1),
                decimal(found["fvu"]),
                percent(found["unchanged"]),
            ]
        )
    caption = (
        f"The layers of the classifier on {sources.layers.n_headlines:,} test headlines: accuracy of a dense probe on "
        "words and on [CLS] (\\%), and predictions that change when either is mean-ablated (\\%), each with Wilson's "
        "95\\,\\% interval; L0, FVU and unchanged predictions (\\%) of the layer's SAE."
    )
    header = ["layer", "probe: words (\\%)", "[CLS]", "changed: words (\\%)", "[CLS]", "L0", "FVU", "unch. (\\%)"]
    return _table("layers", caption, header, rows, "rllllrrr", wide=True)


def feature_name(sources: Sources, feature: int) -> str:
    """The found name of a feature, or the word on which it is strongest in quotation marks, or nothing."""
    found = sources.run.found_names.get(feature)
    if found is not None and found.name:
        return found.name
    words = sources.run.words(feature)
    return f"“{words[0]}”" if words else ""


def _features(sources: Sources, numbers: Numbers, n_features: int) -> str:
    rows = list(_feature_rows(sources, numbers, n_features))
    if not rows:
        return ""
    label = "label" if sources.run.metadata.labelled else "label (here the classifier's own prediction)"
    caption = (
        f"Features that lead each {label}. They were chosen by AUROC on one half of the headlines, and AUROC, its "
        f"95\\,\\% bootstrap interval and $q$ (Benjamini--Hochberg within a class) are of the other half, where the "
        f"feature fires in $n$ headlines. {n_tests(numbers):,} tests were made in all."
    )
    header = ["class", "feature", "name or ``word''", "chosen", "AUROC [95\\,\\%]", "$q$", "$n$"]
    return _table("features", caption, header, rows, "lrlrlrr", wide=True)


def _feature_rows(sources: Sources, numbers: Numbers, n_features: int) -> Iterator[list[str]]:
    for place, column in enumerate(auroc_columns(sources)):
        for feature in leading(column, n_features):
            at = f"feature/{place}/{feature}"
            tested = numbers.get(f"{at}/tested")
            yield [
                _shortened(sources.run.metadata.labels[place], 20),
                str(feature),
                _shortened(feature_name(sources, feature), 44),
                decimal(numbers[f"{at}/chosen"], 2),
                f"{decimal(tested, 2)} {interval(tested, 2)}",
                probability(numbers.get(f"{at}/q")),
                str(tested.n if tested else 0),
            ]


def _contrast(sources: Sources, numbers: Numbers) -> str:
    if sources.contrast is None:
        return ""
    rows = []
    for kind in sources.contrast.kinds:
        changed, expected = (
            numbers[f"contrast/{kind.kind}/{kind.source}/{what}"] for what in ("changed", "as_expected")
        )
        rows.append(
            [
                _shortened(kind.label, 34),
                latex_text(kind.source),
                f"{kind.n_pairs:,}",
                f"{percent(changed)} {interval(changed, 1, 100)}",
                latex_text(kind.expectation),
                f"{percent(expected)} {interval(expected, 1, 100)}",
            ]
        )
    caption = (
        "Small changes of texts: share of predictions that change, and share of pairs that do what is expected (\\%, "
        "Wilson 95\\,\\% intervals over pairs)."
    )
    header = ["change", "texts", "pairs", "prediction changes", "expected", "as expected"]
    return _table("contrast", caption, header, rows, "llrlll", wide=True)


def _sealed(sources: Sources, numbers: Numbers) -> str:
    seal = sources.seal
    if seal is None or seal.opened is None or seal.result is None:
        return ""
    named = [
        ("accuracy", "sealed/classifier/accuracy", 3, 1.0),
        ("macro-F1", "sealed/classifier/macro_f1", 3, 1.0),
        ("L0", "sealed/l0", 1, 1.0),
        ("FVU", "sealed/fvu", 3, 1.0),
        ("unchanged (\\%)", "sealed/unchanged", 1, 100.0),
        ("accuracy change (points)", "sealed/accuracy_change", 2, 100.0),
    ]
    rows = [
        [what, _minus(f"{factor * numbers[name].value:.{digits}f}"), interval(numbers[name], digits, factor), ""]
        for what, name, digits, factor in named
    ]
    for claim in seal.result.claims:
        label = _shortened(sources.run.metadata.labels[claim.label], 16)
        auroc = numbers.get(f"sealed/feature/{claim.feature}/auroc")
        p = probability(numbers.get(f"sealed/feature/{claim.feature}/p"))
        rows.append([f"AUROC, feature {claim.feature}, {label}", decimal(auroc, 2), interval(auroc, 2), p])
    looks = "" if seal.opened.looks is None else f" {seal.opened.looks:,} features had been looked at before."
    caption = (
        f"The {seal.n_headlines:,} sealed headlines, opened once, on {latex_text(seal.opened.opened_at[:10])}, for "
        f"{latex_text(seal.opened.run_id)}. $p$: Mann--Whitney, corrected for the number of claims (Holm).{looks}"
    )
    return _table("sealed", caption, ["figure", "value", "95\\,\\%", "$p$"], rows, "lrlr")
