"""What checklists of conferences ask for: parameters, computing time, seeds, packages, licences, revisions."""

import math
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

from safetensors import SafetensorError, safe_open

from sae_pipeline.classifier.classifier import WEIGHTS
from sae_pipeline.config import DEFAULT_DATA
from sae_pipeline.latex import latex_text
from sae_pipeline.paper.methods import data_name, is_tweets, model_name
from sae_pipeline.paper.references import cite
from sae_pipeline.paper.sources import Sources, hash_of
from sae_pipeline.sae.autoencoder import SaeConfig
from sae_pipeline.study.layout import Layout

_LICENCES = {  # as their pages on the hub state them
    "sentence-transformers/all-MiniLM-L6-v2": "Apache-2.0",
    "sentence-transformers/all-mpnet-base-v2": "Apache-2.0",
    DEFAULT_DATA: "MIT",
}
_UNKNOWN = "\\textbf{not recorded: look it up and state it here}"


def facts(sources: Sources) -> str:
    """The facts as a list in LaTeX."""
    items = [
        ("Parameters", _parameters(sources)),
        ("Computing time", _hours(sources)),
        ("Seeds", _seeds(sources)),
        ("Packages", _packages(sources)),
        ("Licences", _licences(sources)),
        ("Revisions and hashes", _revisions(sources)),
        ("Texts", "The archive of this paper holds the texts of the test headlines; check whether their licence allows "
         "passing them on."),
    ]  # fmt: skip
    lines = "\n".join(f"\\item \\textbf{{{title}.}} {text}" for title, text in items)
    return f"\\begin{{itemize}}\n{lines}\n\\end{{itemize}}\n"


def count_parameters(weights: Path) -> int | None:
    """How many parameters a safetensors file holds, from its header alone; None if it cannot be read."""
    try:
        with safe_open(weights, framework="numpy") as file:
            shapes: list[list[int]] = [file.get_slice(name).get_shape() for name in file.keys()]  # noqa: SIM118
    except (OSError, SafetensorError):
        return None
    return sum(map(math.prod, shapes))


def sae_parameters(config: SaeConfig) -> int:
    """How many trained parameters an SAE has: encoder, decoder, biases and thresholds."""
    return 2 * config.d_in * config.d_sae + 2 * config.d_sae + config.d_in


def _parameters(sources: Sources) -> str:
    n = count_parameters(Layout(sources.root).store / sources.run.metadata.classifier_hash / WEIGHTS)
    classifier = "not recorded" if n is None else f"{n / 1e6:,.1f} million"
    saes = ", ".join(
        f"{latex_text(size)} {sae_parameters(record.config) / 1e6:,.1f} million"
        for size, record in sources.saes.items()
    )
    return f"Classifier: {classifier}. SAEs: {saes}."


def _hours(sources: Sources) -> str:
    device = latex_text(sources.classifier.device)
    made = [record for records in sources.seeds.values() for record in records]
    tuned = sources.classifier.seconds if sources.classifier.finetune else 0.0
    trained = sum(record.report.seconds for record in made)
    parts = [f"fine-tuning {_time(tuned)}" if tuned else "no fine-tuning", f"{len(made)} SAEs {_time(trained)}"]
    if sources.interventions:
        parts.append(f"causal effects {_time(sources.interventions.seconds)}")
    parts += [f"baselines {_time(file.seconds)}" for file in sources.controls.values()]
    return f"{', '.join(parts)}, on {device} ({latex_text(sources.classifier.precision)})."


def _time(seconds: float) -> str:
    return f"{seconds / 3600:.2f} h" if seconds >= 360 else f"{seconds:.0f} s"


def _seeds(sources: Sources) -> str:
    tuned = sources.classifier.finetune
    saes = {
        size: ", ".join(str(record.train.seed) for record in records if record.train)
        for size, records in sources.seeds.items()
    }
    first = "" if tuned is None else f"Fine-tuning: {tuned.seed}. "
    return (
        first + "SAEs: " + "; ".join(f"{latex_text(size)}: {found or 'imported'}" for size, found in saes.items()) + "."
    )


def _packages(sources: Sources) -> str:
    versions = sources.run.metadata.versions
    said = [f"{latex_text(name)} {latex_text(version)}" for name, version in versions.items()]
    return f"{', '.join(said)}{cite(['pytorch', 'transformers', 'explorer'])}."


def _licences(sources: Sources) -> str:
    record = sources.classifier
    data = "MIT" if is_tweets(record.headlines.source) else _LICENCES.get(record.headlines.source)
    if record.headlines.source == "sample":
        data = "MIT (part of this program)"
    said = [
        f"model {latex_text(model_name(record.model))}: {_LICENCES.get(model_name(record.model), _UNKNOWN)}",
        f"headlines {latex_text(data_name(record.headlines.source))}: {data or _UNKNOWN}",
        "this program: MIT",
        *(f"{name}: {latex_text(found)}" for name in ("torch", "transformers") if (found := _licence(name))),
    ]
    return "; ".join(said) + "."


def _licence(package: str) -> str:
    try:
        about = metadata(package)
    except PackageNotFoundError:
        return ""
    found = next((about[key] for key in ("License-Expression", "License") if key in about), "").strip()
    return found if 0 < len(found) < 60 else ""


def _revisions(sources: Sources) -> str:
    record, run = sources.classifier, sources.run.metadata
    hub = [
        f"{what} {latex_text(revision)}"
        for what, revision in (("model", record.model_revision), ("data", record.data_revision))
        if revision
    ]
    hashes = ", ".join(f"{latex_text(size)} \\texttt{{{hash_of(one)}}}" for size, one in sources.saes.items())
    at = "; ".join(hub) if hub else "neither the model nor the headlines came from the hub"
    return (
        f"Hub: {at}. Classifier \\texttt{{{run.classifier_hash}}}, headlines \\texttt{{{run.data_hash}}}, "
        f"SAEs {hashes}, {latex_text(run.run_id)} of {latex_text(run.created_at)}."
    )
