"""The study, verb by verb: finetune → extract → train → analyze. Artefact in, artefact out.

Each verb reads what the one before it wrote under `root` and reuses its own output when nothing that goes into it
has changed. `root` holds `finbert_sae/` (classifier, activations, SAEs) and `analysis_data/` (runs).
"""

import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from tqdm.auto import tqdm

from sae_pipeline.activations.store import ActivationStore
from sae_pipeline.analysis.analyze import analyze_headlines
from sae_pipeline.analysis.metrics import FEATURE_METRICS, Metric
from sae_pipeline.artefacts.checkpoints import discard
from sae_pipeline.artefacts.writing import alias, file_hash, write_file, write_json
from sae_pipeline.causal.gather import gather
from sae_pipeline.causal.probe import Probe
from sae_pipeline.classifier import classifier as classifiers
from sae_pipeline.classifier import finetuning
from sae_pipeline.classifier.classifier import Classifier, ClassifierRecord
from sae_pipeline.config import LABELS, ExtractConfig, InterveneConfig, StudyConfig, SweepConfig, TrainConfig
from sae_pipeline.errors import UserError
from sae_pipeline.headlines.dataset import Split, load_headlines
from sae_pipeline.machine.processes import ONE_PROCESS, Ranks
from sae_pipeline.runs.compact_json import NotFiniteError, array
from sae_pipeline.runs.drafts import RunPart, new_run
from sae_pipeline.runs.folders import find_run, list_runs, read_run
from sae_pipeline.runs.index import index_run
from sae_pipeline.sae.autoencoder import SaeConfig, SparseAutoencoder, size_name
from sae_pipeline.schema.causes import FEATURE_EFFECTS, INTERVENTIONS, InterventionsFile
from sae_pipeline.schema.common import SCHEMA_VERSION
from sae_pipeline.schema.dicts import ProvenanceDict
from sae_pipeline.schema.run import ClassifierInfo, SaeInfo
from sae_pipeline.study.layout import (
    Layout,
    PresentClassifier,
    SaeRecord,
    made_from,
    read_sae_record,
    record_size,
    sae_family,
)
from sae_pipeline.study.making import ensure_activations, ensure_saes
from sae_pipeline.study.present import check_fit, kernel_backend, load_classifier, run_parts, same_headlines

_PACKAGES = ("transformers", "datasets", "numpy")


# --- finetune ------------------------------------------------------------------------------------------


def finetune(study: StudyConfig, root: Path, device: torch.device) -> ClassifierRecord:
    """Fine-tune the classifier, or reuse the one made from the same headlines and settings."""
    layout = Layout(root)
    headlines = load_headlines(study.headlines)
    for line in headlines.report.lines():
        tqdm.write(line)
    wanted = classifiers.inputs_hash(headlines, study.headlines, study.finetune)
    folder = next(
        (f.parent for f in layout.store.glob("*/classifier.json") if made_from(f, wanted)),
        None,
    )
    if folder is None:
        folder = finetuning.finetune(
            headlines, study.headlines, study.finetune, layout.store, layout.checkpoints, device
        )
    discard(layout.checkpoints, wanted)
    present = PresentClassifier(classifier_hash=folder.name, preset=study.preset, headlines=study.headlines)
    write_json(layout.classifier_alias, present.model_dump())
    return classifiers.read_record(folder)


# --- extract -------------------------------------------------------------------------------------------


def extract(config: ExtractConfig, root: Path, device: torch.device, ranks: Ranks = ONE_PROCESS) -> ActivationStore:
    """Write the layer's activations over the training headlines, or reuse the store made from the same."""
    return ensure_activations(config, root, device, ranks)


# --- train ---------------------------------------------------------------------------------------------


def train(
    extraction: ExtractConfig,
    config: TrainConfig,
    root: Path,
    device: torch.device,
    ranks: Ranks = ONE_PROCESS,
) -> dict[str, SaeRecord]:
    """Train the SAEs that are missing, evaluate them, alias all as `finbert_sae/layer_<L>_<size>.pt`.

    Returns the records by size name, in the order of `latent_dims`. Rank 0 calls it, the others
    `join_training`; they share each step and read one activation store, so all must see `root`.
    """
    records = {}
    for folder in ensure_saes(extraction, [config], root, device, ranks):
        record = read_sae_record(folder)
        size = size_name(record.config.d_sae)
        alias(folder / "sae.pt", Layout(root).sae_alias(record.config.hookpoint.layer, size))
        records[size] = record
    return records


def sweep(
    extraction: ExtractConfig, config: TrainConfig, over: SweepConfig, root: Path, device: torch.device
) -> list[SaeRecord]:
    """Train every size at every setting of a sweep, from one reading of the activations.

    They are kept in the store and not aliased. A setting that was trained before, by whatever command, is reused.
    """
    return [read_sae_record(folder) for folder in ensure_saes(extraction, over.settings(config), root, device)]


# --- analyze -------------------------------------------------------------------------------------------


def analyze(
    study: StudyConfig,
    root: Path,
    device: torch.device,
    metrics: Sequence[Metric] = FEATURE_METRICS,
    ranks: Ranks = ONE_PROCESS,
) -> Path:
    """Read the test headlines through classifier and SAE and write a run. Returns the run's folder, on every rank.

    Raises UserError when the SAE is missing or belongs to another classifier.
    """
    layout, config = Layout(root), study.analyze
    classifier = load_classifier(root, device)
    sae_path = layout.sae_alias(study.extract.layer, config.sae_size)
    sae = SparseAutoencoder.load(sae_path, device)
    check_fit(sae, classifier, sae_path)
    sae_hash = file_hash(sae_path)
    record = read_sae_record(layout.store / sae_hash)
    split = _first(same_headlines(root).test, config.max_samples)
    parts = (classifier, sae, split, config, metrics)
    neighbours = layout.store / sae_hash / "neighbours.safetensors"
    if not ranks.first:
        with TemporaryDirectory() as folder:
            analyze_headlines(*parts, RunPart(Path(folder)), neighbours, ranks)
        return ranks.broadcast(Path())
    with new_run(layout.runs) as draft:
        totals = analyze_headlines(*parts, draft, neighbours, ranks)
        assert totals is not None
        run = draft.finish(
            {
                **_provenance(study, classifier, sae.config, record, layout),
                "sae_hash": sae_hash,
                "device": str(device),
                "backend": kernel_backend(sae.W_dec.device),
                "dtype": "fp32",
                "processes": ranks.size,
                "metrics": [metric.info for metric in metrics],
                "totals": totals,
            }
        )
    index_run(run)
    return ranks.broadcast(run)


def check_size(study: StudyConfig, root: Path) -> None:
    """Raise UserError where a study's analysis would want an SAE that is neither to be trained nor there yet."""
    sizes, wanted = [size_name(d_sae) for d_sae in study.train.latent_dims], study.analyze.sae_size
    if wanted not in sizes and not Layout(root).sae_alias(study.extract.layer, wanted).is_file():
        raise UserError(f"No {wanted} SAE is to be trained; choose --sae-size from {', '.join(sizes)}.")


def equal_run(study: StudyConfig, root: Path) -> Path | None:
    """The newest run made with the present SAE and these settings, if there is one."""
    layout = Layout(root)
    path = layout.sae_alias(study.extract.layer, study.analyze.sae_size)
    if not path.is_file():
        return None
    wanted = (file_hash(path), study.analyze.model_dump())
    for entry in list_runs(layout.runs):
        found = entry.metadata
        if found is not None and (found.sae_hash, found.configs.get("analyze")) == wanted:
            return entry.folder
    return None


def _provenance(
    study: StudyConfig, classifier: Classifier, sae: SaeConfig, record: SaeRecord, layout: Layout
) -> ProvenanceDict:
    """The part of a run's metadata that says what it was made from."""
    made_by = classifier.record
    return {
        "preset": study.preset,
        "labels": list(LABELS),
        "classifier_hash": classifier.hash,
        "data_hash": made_by.data_hash,
        "hookpoint": sae.hookpoint,
        "classifier": ClassifierInfo(
            model=made_by.model, n_layers=made_by.n_layers, d_model=made_by.d_model, report=made_by.test
        ),
        "sae": SaeInfo(
            size=record_size(record),
            **sae.model_dump(include=set(SaeInfo.model_fields) & set(SaeConfig.model_fields)),
            report=record.report,
        ),
        "sae_family": {size: r.report for size, r in sae_family(layout, record).items()},
        "configs": {
            "headlines": made_by.headlines.model_dump(),
            "finetune": made_by.finetune.model_dump(),
            "extract": study.extract.model_dump(),
            "train": record.train.model_dump(mode="json"),
            "analyze": study.analyze.model_dump(),
        },
        "versions": {
            "sae_pipeline": version("finbert-sae-explorer"),
            "python": platform.python_version(),
            **{package: version(package) for package in _PACKAGES},
            "torch": str(torch.__version__),  # also says what it was built for
        },
    }


def _first(split: Split, n: int | None) -> Split:
    return split if n is None else Split(split.texts[:n], split.labels[:n], split.ids[:n])


# --- intervene -----------------------------------------------------------------------------------------


def intervene(config: InterveneConfig, root: Path, device: torch.device) -> InterventionsFile:
    """Gather causal evidence for a run and write `feature_effects.json` and `interventions.json` into its folder.

    Each file appears whole or not at all; the run's other files are only read. Raises UserError when the run, its
    classifier or its SAE cannot be read.
    """
    run = read_run(find_run(Layout(root).runs, config.run))
    classifier, sae = run_parts(root, run.metadata, device)
    for feature in config.ablate:
        if feature >= sae.config.d_sae:
            raise UserError(f"There is no feature {feature}; this SAE has features 0 to {sae.config.d_sae - 1}.")
    evidence = gather(
        Probe.of(classifier.model, sae, classifier.tokenizer.pad_token_id, config.tokens_per_batch),
        classifier.tokenize([prompt.text for prompt in run.prompts]),
        [prompt.label for prompt in run.prompts],
        [prompt.headline_id for prompt in run.prompts],
        run.metadata.labels,
        config,
    )
    made_from = {
        "schema_version": SCHEMA_VERSION,
        **run.metadata.model_dump(include={"run_id", "classifier_hash", "sae_hash"}),
    }
    effects = {
        **made_from,
        "d_sae": sae.config.d_sae,
        "n_headlines": len(run.prompts),
        "metrics": [metric.model_dump() for metric in evidence.metrics],
    }
    try:
        files = {
            FEATURE_EFFECTS: b"".join(array(effects, "columns", evidence.columns)),
            INTERVENTIONS: b"".join(array({**made_from, **evidence.summary}, "headlines", evidence.headlines)),
        }
    except NotFiniteError as error:
        raise UserError(f"The effects are not finite ({error}); nothing was saved.") from error
    for name, data in files.items():
        write_file(run.folder / name, data)
    index_run(run.folder)
    return InterventionsFile.model_validate_json(files[INTERVENTIONS])
