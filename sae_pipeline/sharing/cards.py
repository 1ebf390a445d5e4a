"""The card of a repository: what it holds, how it was made, how good it is, its limits, and how to load it."""

import re
from collections.abc import Iterable, Iterator, Sequence

from huggingface_hub import EvalResult, ModelCardData

from sae_pipeline import __version__
from sae_pipeline.classifier.classifier import ClassifierRecord
from sae_pipeline.config import HeadlinesConfig, PushConfig
from sae_pipeline.intervals import share_interval
from sae_pipeline.schema.controls import Control, ControlsFile, ProbeScore
from sae_pipeline.schema.kinds import listed
from sae_pipeline.schema.reports import ClassifierReport, SpliceReport
from sae_pipeline.sharing.contents import RUNS, Contents
from sae_pipeline.study.layout import SaeRecord

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_EMBEDDED = {"minilm": "sentence-transformers/all-MiniLM-L6-v2"}  # the hub id of what the package holds
_TAGS = ["text-classification", "sparse-autoencoder", "mechanistic-interpretability", "interpretability", "saelens"]
_LIMITS = """\
- A feature is a direction that the SAE found in one layer of one classifier. Its name is what a reader makes of the
  headlines it fires on, and other seeds find other features.
- The figures hold for headlines like those above. On other texts the classifier and the SAEs have not been measured.
- Replacing activations by the reconstruction changes some predictions; the tables above say how many.
- The classifier sorts headlines. It gives no advice about investments."""
_CITATION = """\
```bibtex
@software{{finbert_sae_explorer,
  title   = {{FinBERT SAE Explorer}},
  author  = {{{{FinBERT SAE Explorer contributors}}}},
  version = {{{version}}},
  license = {{MIT}}
}}
```"""


def card(contents: Contents, config: PushConfig) -> str:
    """The text of README.md, with its YAML header."""
    name = config.to.rpartition("/")[2] or "study"
    sections = [
        _title(contents, name),
        "## The classifier",
        *_classifier(contents.classifier),
        *(["## The sparse autoencoders", *_saes(contents.saes)] if contents.saes else []),
        *_controls(contents.controls),
        *(["## Runs", *_runs(contents)] if contents.runs else []),
        "## Limits",
        _LIMITS,
        "## How to load it",
        *_loading(contents, config.to or "USER/NAME"),
        "## License",
        _license(contents, config),
        "## Citation",
        _CITATION.format(version=__version__),
    ]
    return f"---\n{_header(contents, config, name)}\n---\n\n" + "\n\n".join(sections) + "\n"


# --- the header ----------------------------------------------------------------------------------------


def _header(contents: Contents, config: PushConfig, name: str) -> str:
    record = contents.classifier
    data = ModelCardData(
        base_model=_hub_id(_EMBEDDED.get(record.model, record.model)),
        datasets=[found] if (found := _hub_id(record.headlines.source)) else None,
        license=config.license,
        library_name="transformers" if contents.has_classifier else "saelens",
        pipeline_tag="text-classification" if contents.has_classifier else None,
        tags=[tag for tag in _TAGS if contents.has_classifier or tag != _TAGS[0]],
        metrics=["accuracy", "f1"] if record.test else None,
        model_name=name,
        eval_results=list(_results(record)) or None,
    )
    return str(data.to_yaml())


def _hub_id(name: str) -> str | None:
    """A name that can be an id on the hub; records name a local file or folder as `name@hash`."""
    return name if _HUB_ID.fullmatch(name) and not re.search(r"\.\w{2,7}$", name) else None


def _results(record: ClassifierRecord) -> Iterator[EvalResult]:
    if record.test is None:
        return
    for metric, title, value in (
        ("accuracy", "accuracy", record.test.accuracy),
        ("f1", "macro F1", record.test.macro_f1),
    ):
        yield EvalResult(
            task_type="text-classification",
            dataset_type=_hub_id(record.headlines.source) or "headlines",
            dataset_name=_data_name(record.headlines),
            dataset_split="test",
            dataset_revision=record.data_revision,
            metric_type=metric,
            metric_name=title,
            metric_value=round(value, 4),
        )


# --- the text ------------------------------------------------------------------------------------------


def _title(contents: Contents, name: str) -> str:
    record, parts = contents.classifier, []
    if contents.has_classifier:
        parts.append("a classifier of headlines")
    if contents.saes:
        layers = sorted({sae.config.hookpoint.layer for sae in contents.saes.values()})
        parts.append(f"sparse autoencoders (SAEs) on its layer {listed(layers, 'and')}")
    if contents.runs:
        parts.append("what their features mean")
    return (
        f"# {name}\n\nThis repository holds {listed(parts, 'and')}. The classes are "
        f"{listed(record.labels, 'and')}. It was made with FinBERT SAE Explorer {__version__}."
    )


def _data_name(headlines: HeadlinesConfig) -> str:
    if headlines.source == "sample":
        return "built-in sample of generated headlines"
    return headlines.source.partition("@")[0]


def _at(name: str, revision: str | None) -> str:
    return f"{name} at {revision}" if revision else name


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def _classifier(record: ClassifierRecord) -> Iterator[str]:
    trained = record.finetune
    rows: list[tuple[str, object]] = [
        ("base model", _at(_EMBEDDED.get(record.model, record.model), record.model_revision)),
        ("headlines", _at(_data_name(record.headlines), record.data_revision)),
        ("layers, width", f"{record.n_layers}, {record.d_model}"),
        ("longest headline", f"{record.max_length} tokens"),
    ]
    if trained is None:
        rows.append(("training", "none: the model was taken as it is"))
    else:
        rows += [
            ("epochs (the best on dev is kept)", trained.epochs),
            ("batch size", trained.batch_size),
            ("learning rate", f"{trained.learning_rate:g}"),
            ("label smoothing", f"{trained.label_smoothing:g}"),
            ("seed", trained.seed),
            ("precision, device", f"{record.precision}, {record.device.partition(':')[0]}"),
        ]
    yield _table(["setting", "value"], rows)
    if record.test is None:
        yield "The headlines have no labels, so the classifier was not scored."
        return
    yield from _scores(record.test)


def _scores(test: ClassifierReport) -> Iterator[str]:
    right = round(test.accuracy * test.n_headlines)
    low, high = share_interval(right, test.n_headlines)
    yield (
        f"On {test.n_headlines:,} test headlines, accuracy is {test.accuracy:.3f} (95 % interval {low:.3f} to "
        f"{high:.3f}) and macro F1 {test.macro_f1:.3f}. Always naming the commonest class gives "
        f"{test.majority_accuracy:.3f} and {test.majority_macro_f1:.3f}."
    )
    yield _table(
        ["class", "precision", "recall", "F1", "test headlines"],
        [(s.label, f"{s.precision:.3f}", f"{s.recall:.3f}", f"{s.f1:.3f}", s.support) for s in test.per_class],
    )


def _saes(saes: dict[str, SaeRecord]) -> Iterator[str]:
    yield "How they were trained:"
    yield _table(
        ["folder", "features", "kind", "sparsity", "passes", "batch", "seed", "positions", "finished end to end"],
        [
            (
                f"`{name}`",
                f"{r.config.d_sae:,}",
                r.config.kind,
                *_training(r),
                r.config.positions,
                "yes" if r.finish else "no",
            )
            for name, r in sorted(saes.items())
        ],
    )
    yield (
        "How good they are on the test split. L0 is the mean number of active features per token, FVU the share of "
        "variance that the reconstruction leaves out (0 is perfect, 1 predicts the mean). The last columns say what "
        "happens to predictions when the reconstruction replaces the activations."
    )
    yield _table(
        ["folder", "L0", "FVU", "dead features", "same prediction [95 %]", "accuracy change [95 %]", "mean KL (nats)"],
        [(f"`{name}`", *_quality(r)) for name, r in sorted(saes.items())],
    )
    yield (
        "The controls replace the activations by zeros, by their mean, or by those of another headline. Recovered loss "
        "is 0 for the control and 1 for the unchanged classifier."
    )
    yield _table(
        ["folder", "control", "accuracy of the control", "accuracy with the SAE", "recovered loss"],
        [
            (
                f"`{name}`",
                b.kind,
                f"{b.accuracy:.3f}",
                f"{r.report.spliced.accuracy_spliced:.3f}",
                f"{b.recovered_loss:.3f}",
            )
            for name, r in sorted(saes.items())
            for b in r.report.spliced.baselines
        ],
    )


def _controls(controls: dict[str, ControlsFile]) -> Iterator[str]:
    for name, file in sorted(controls.items()):
        sizes = [probe.k for probe in file.controls[0].probing]
        yield (
            f"`{name}` beside baselines with as many active features: SAEs whose decoder or encoder stays random, an "
            "SAE of a model with random weights, principal components and the layer's own neurons; and probes on the "
            "mean activations and on the words. AUROC is that of probes of the classes on so many units per class."
        )
        yield _table(
            ["units", "L0", "FVU", "same prediction", *(f"AUROC, {'all' if k is None else k}" for k in sizes)],
            [
                (
                    c.name,
                    f"{c.code.l0:.1f}" if c.code else "–",
                    f"{c.code.fvu:.3f}" if c.code else "–",
                    f"{c.spliced.unchanged:.1%}" if c.spliced else "not measured",
                    *(f"{p.auroc:.3f}" if (p := _probe(c, k)) else "–" for k in sizes),
                )
                for c in file.controls
            ],
        )
        failed = [claim.sentence for claim in file.claims if claim.verdict != "better"]
        if failed:
            yield f"Of {len(file.claims)} claims that the SAE is better, {len(failed)} fail:"
            yield "\n".join(f"- {sentence}" for sentence in failed)


def _probe(control: Control, k: int | None) -> ProbeScore | None:
    return next((probe for probe in control.probing if probe.k == k), None)


def _training(record: SaeRecord) -> tuple[object, ...]:
    """The sparsity, passes over the data, batch size and seed of an SAE's training."""
    train = record.train
    if train is None:
        return "as imported", "not known", "not known", "not known"
    target = f"L0 {train.target_l0:g}" if train.target_l0 else f"L1 {train.l1_coefficient:g}"
    return f"k = {train.active}" if train.active else target, train.num_epochs, train.tokens_per_step, train.seed


def _quality(record: SaeRecord) -> Iterator[str]:
    r, spliced = record.report, record.report.spliced
    yield f"{r.held_out.l0:.1f}"
    yield f"{r.held_out.fvu:.3f}"
    yield f"{r.dead_share:.1%}"
    yield f"{spliced.unchanged:.1%} {_interval(spliced.unchanged_interval, '.1%')}"
    yield f"{_change(spliced):+.1%} {_interval(spliced.accuracy_change_interval, '+.1%')}"
    yield f"{spliced.mean_kl:.4f}"


def _change(spliced: SpliceReport) -> float:
    return spliced.accuracy_spliced - spliced.accuracy_clean


def _interval(ends: tuple[float, float] | None, form: str) -> str:
    return f"[{ends[0]:{form}}, {ends[1]:{form}}]" if ends else "[too few headlines]"


def _runs(contents: Contents) -> Iterator[str]:
    yield (
        "A run says for every feature on which words and headlines it fires, and for every headline which features "
        "were active. **Runs hold the texts of the headlines.**"
    )
    yield _table(
        ["folder", "SAE", "headlines", "features that fire", "columns beside the text"],
        [
            (
                f"`{RUNS}/{name}`",
                m.sae.size,
                f"{m.totals.n_headlines:,}",
                f"{m.totals.n_live_features:,}",
                ", ".join(m.columns) or "none",
            )
            for name, m in sorted(contents.runs.items())
        ],
    )


def _loading(contents: Contents, repository: str) -> Iterator[str]:
    yield (
        "Everything, with FinBERT SAE Explorer. Each file is compared with its checksum:\n\n"
        f"```bash\nsae-explorer pull {repository} --root study\nsae-explorer serve --root study\n```"
    )
    if contents.has_classifier:
        yield (
            "The classifier, with transformers:\n\n```python\nfrom transformers import pipeline\n\n"
            f'classify = pipeline("text-classification", model="{repository}")\n```'
        )
    if contents.saes:
        name, record = next(iter(sorted(contents.saes.items())))
        yield (
            f"An SAE, with SAELens. It reads the output of `{record.config.hookpoint.module}`:\n\n"
            "```python\nfrom sae_lens import SAE\n\n"
            f'sae = SAE.from_pretrained("{repository}", "{name}", device="cpu")\n```'
        )


def _license(contents: Contents, config: PushConfig) -> str:
    named = "not stated" if config.license == "unknown" else f"`{config.license}`"
    texts = " The texts in the runs belong to their authors and keep their own terms." if contents.runs else ""
    return (
        f"The license of these files is {named}. The base model and the headlines have licenses of their own, which "
        f"also hold for what is derived from them.{texts}"
    )
