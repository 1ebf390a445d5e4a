"""The methods of a study in LaTeX: what was done, with its formulas and the settings in use."""

from collections.abc import Iterator

from sae_pipeline.config import DEFAULT_DATA
from sae_pipeline.latex import latex_text
from sae_pipeline.paper.numbers import n_tests
from sae_pipeline.paper.references import KIND_KEYS, cite, model_keys
from sae_pipeline.paper.sources import Sources
from sae_pipeline.schema.kinds import listed
from sae_pipeline.schema.paper import Number
from sae_pipeline.study.layout import SaeRecord

_CODES = {
    "relu": r"f=\mathrm{relu}(z)",
    "topk": r"f_i=\mathrm{relu}(z_i)\text{ where }z_i\text{ is among the $k$ largest of the token, else }0",
    "batchtopk": r"f_i=z_i\text{ where }z_i>\theta,\text{ else }0\text{ ($k$ active on average)}",
    "jumprelu": r"f_i=z_i\text{ where }z_i>\theta_i,\text{ else }0",
    "gated": r"f_i=\mathrm{relu}(e^{r_i}g_i+s_i)\text{ where }g_i=\mathrm{relu}(z_i)>0,\text{ else }0",
    "matryoshka": r"f_i=z_i\text{ where }z_i>\theta,\text{ else }0",
}
_LOSSES = {
    "relu": r"\lVert x-\hat x\rVert^2+\lambda\sum_i f_i",
    "topk": r"\lVert x-\hat x\rVert^2",
    "batchtopk": r"\lVert x-\hat x\rVert^2",
    "jumprelu": r"\lVert x-\hat x\rVert^2+\lambda\,\mathrm{L0}(f)",
    "gated": r"\lVert x-\hat x(f)\rVert^2+\lambda\sum_i g_i+\lVert x-\hat x(g)\rVert^2",
    "matryoshka": r"\textstyle\sum_m\lVert x-\hat x_{1..m}\rVert^2\text{ over nested dictionaries}",
}
_WHERE = {
    "words": "of every token of a word",
    "all": "of every token",
    "cls": "of the first token of each headline",
    "mean": "averaged over the words of each headline",
}


def methods(sources: Sources, numbers: dict[str, Number]) -> str:
    """The paragraphs about data, classifier, SAEs, measures and tests."""
    parts = [
        ("Data.", _data(sources)),
        ("Classifier.", _classifier(sources)),
        ("Sparse autoencoders.", _saes(sources)),
        ("Fidelity.", _fidelity(sources)),
        ("Features.", _features(sources, numbers)),
        ("Causes.", _causes(sources)),
        ("Sealed test.", _seal(sources)),
    ]
    return "".join(f"\\paragraph{{{title}}} {' '.join(said)}\n\n" for title, found in parts if (said := list(found)))


def data_name(source: str) -> str:
    """The data of a study, for a sentence."""
    return "the built-in sample of generated headlines" if source == "sample" else source.partition("@")[0]


def model_name(model: str) -> str:
    """The name of a model as a reader finds it: its hub id, or the name of a local folder."""
    return "sentence-transformers/all-MiniLM-L6-v2" if model == "minilm" else model.partition("@")[0]


def is_tweets(source: str) -> bool:
    """Whether the headlines are those of Twitter Financial News Sentiment, from the hub or from its files."""
    return source == DEFAULT_DATA or "sent_train" in source


def _data(sources: Sources) -> Iterator[str]:
    record, test = sources.classifier, sources.classifier.test
    headlines = record.headlines
    key = cite(["tweets"]) if is_tweets(headlines.source) else ""
    revision = f" at revision {latex_text(record.data_revision)}" if record.data_revision else ""
    yield f"The headlines are {latex_text(data_name(headlines.source))}{key}{revision}, with the classes"
    yield f"{listed(map(latex_text, record.labels), 'and')}."
    yield (
        "Headlines without a label, empty ones, copies, and copies with contradictory labels were removed, and a train "
        "headline that is also in test was removed from train."
    )
    if headlines.test_source is None:
        how = (
            f"the latest 20\\,\\% by {latex_text(headlines.split_by)}"
            if headlines.split_by
            else "20\\,\\% of the headlines, drawn by a hash of their text"
        )
        yield f"Test is {how}; dev is 10\\,\\% of the rest."
    else:
        yield "Test is a table of its own; dev is 10\\,\\% of train, drawn by a hash of the text."
    if test:
        yield f"Test has {test.n_headlines:,} headlines."


def _classifier(sources: Sources) -> Iterator[str]:
    record, tuned = sources.classifier, sources.classifier.finetune
    name = f"{latex_text(model_name(record.model))}{cite(model_keys(record.model))}"
    yield f"The classifier is {name}, with {record.n_layers} layers of width {record.d_model}."
    if tuned is None:
        yield "It was taken as it is, without training."
        return
    yield (
        f"It was fine-tuned for {tuned.epochs} epochs with AdamW{cite(['adamw'])}, batches of {tuned.batch_size}, "
        f"learning rate {_power(tuned.learning_rate)}, label smoothing {tuned.label_smoothing:g}, seed {tuned.seed}; "
        f"the epoch with the best macro-F1 on dev was kept. Headlines were cut to {record.max_length} tokens."
    )


def _saes(sources: Sources) -> Iterator[str]:
    own = sources.saes[sources.size]
    config = own.config
    yield (
        f"We read the output of layer {config.hookpoint.layer} "
        f"(\\texttt{{{latex_text(config.hookpoint.module)}}}) {_WHERE[config.positions]}, and normalise it, "
        f"$x=(a-m)/s$, so that $\\lVert x\\rVert^2={config.d_in}$ on average."
    )
    for kind in dict.fromkeys(record.config.kind for record in sources.saes.values()):
        yield (
            f"The {latex_text(kind)} SAE{cite(KIND_KEYS.get(kind, []))} computes $z=W_\\mathrm{{enc}}^\\top x+"
            f"b_\\mathrm{{enc}}$, ${_CODES.get(kind, 'f=f(z)')}$, and $\\hat x=W_\\mathrm{{dec}}^\\top f+"
            f"b_\\mathrm{{dec}}$ with decoder rows of length 1; its loss per activation is "
            f"${_LOSSES.get(kind, _LOSSES['topk'])}$."
        )
    for settings, sizes in _trainings(sources).items():
        yield f"{listed(map(latex_text, sizes), 'and')}: {settings}."
    if extra := sources.run.metadata.configs.get("extract", {}).get("extra_text"):
        yield f"They were also trained on the texts of {latex_text(str(extra).partition('@')[0])}, without labels."
    seeds = sorted({one.train.seed for records in sources.seeds.values() for one in records if one.train})
    if seeds:
        yield f"Seeds: {', '.join(map(str, seeds))}."


def _trainings(sources: Sources) -> dict[str, list[str]]:
    """The sizes that were trained with the same settings, by the sentence that says them."""
    found: dict[str, list[str]] = {}
    for size, record in sources.saes.items():
        found.setdefault(_training(record), []).append(size)
    return found


def _training(record: SaeRecord) -> str:
    train, config = record.train, record.config
    if train is None:
        name = record.origin.format if record.origin else "another library"
        return f"imported from {latex_text(name)}"
    rate = "" if train.learning_rate is None else f", learning rate {_power(train.learning_rate)}"
    if train.active:
        sparsity = f"$k={train.active}$"
    elif train.target_l0:
        sparsity = f"$\\lambda$ steered to L0 {train.target_l0:g}"
    else:
        sparsity = f"$\\lambda={config.sparsity_weight:.3g}$ (coefficient {train.l1_coefficient:g})"
    finish = "" if record.finish is None else f", then finished end to end for {record.finish.epochs} passes"
    return (
        f"{train.num_epochs} passes with Adam{cite(['adam'])}, batches of {train.tokens_per_step:,}, {sparsity}"
        f"{rate}{finish}"
    )


def _fidelity(sources: Sources) -> Iterator[str]:
    yield (
        r"L0 is the mean number of active features. The fraction of variance unexplained is "
        r"$\mathrm{FVU}=\sum\lVert x-\hat x\rVert^2/\sum\lVert x-\bar x\rVert^2$, with $\bar x$ the mean of the "
        r"evaluated activations. To splice, $\hat x$ replaces $x$ and the classifier goes on from there. We report the "
        f"share of predictions unchanged, with Wilson's interval{cite(['wilson'])}; the change of accuracy with the "
        f"interval for matched pairs{cite(['agresti'])} and the exact McNemar test{cite(['mcnemar'])}; the mean "
        r"$\mathrm{KL}(p\Vert p_\mathrm{spliced})$ in nats; and recovered loss, "
        r"$(\mathrm{CE}_\mathrm{removed}-\mathrm{CE}_\mathrm{spliced})/(\mathrm{CE}_\mathrm{removed}-"
        r"\mathrm{CE}_\mathrm{clean})$."
    )
    if sources.controls:
        yield (
            f"Baselines at the same sparsity and $k$-sparse probes{cite(['gurnee'])} use the same splits; stability is "
            f"the cosine of a decoder row and the nearest one of another seed{cite(['paulo'])}."
        )


def _features(sources: Sources, numbers: dict[str, Number]) -> Iterator[str]:
    yield (
        "A feature's value in a headline is its maximum over the headline. Its AUROC for a class is the probability "
        "that it is higher in a headline of the class than in another. A hash of the text divides the "
        f"{sources.run.metadata.totals.n_headlines:,} headlines in two halves: one half ranks the features, and the "
        f"other half alone gives the reported AUROC, its bootstrap interval and the Mann--Whitney test"
        f"{cite(['mannwhitney'])}. {n_tests(numbers):,} tests were made; $q$ is the false-discovery rate over the "
        f"features of one metric{cite(['benjamini'])}."
    )
    if not sources.run.metadata.labelled:
        yield "The headlines have no labels: a headline's class is the classifier's own prediction."
    if sources.contrast:
        yield f"Small changes of texts follow behavioural testing{cite(['checklist'])}."


def _causes(sources: Sources) -> Iterator[str]:
    if sources.interventions is None:
        return
    nodes = sources.interventions.config.get("steps", 8)
    yield (
        f"The effect of a feature on a class is estimated by integrated gradients{cite(['sundararajan'])} of the "
        f"centred logit along the joint path of all features to zero ({nodes} nodes), "
        "and compared with true ablation, in which the feature is set to 0 and the reconstruction error is kept."
    )


def _seal(sources: Sources) -> Iterator[str]:
    seal = sources.seal
    if seal is None:
        return
    yield f"Before anything was looked at, {seal.n_headlines:,} further test headlines were sealed."
    if seal.opened is None:
        yield "They have not been opened."
        return
    yield (
        f"They were opened once, on {latex_text(seal.opened.opened_at[:10])}, for claims that had been recorded "
        f"before; $p$-values are corrected for the number of claims{cite(['holm'])}."
    )


def _power(number: float) -> str:
    mantissa, exponent = f"{number:.2e}".split("e")
    return f"${float(mantissa):g}\\cdot10^{{{int(exponent)}}}$"
