"""The study, verb by verb: finetune → extract → train → analyze. Artefact in, artefact out.

Each verb reads what the one before it wrote under `root` and reuses its own output when nothing that goes into it
has changed. `root` holds `finbert_sae/` (classifier, activations, SAEs) and `analysis_data/` (runs).
"""

import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from tqdm.auto import tqdm

from . import classifier as classifiers
from . import finetuning
from .analysis import analyze_headlines
from .artefacts import alias, file_hash, publish, settings_hash, write_file, write_json
from .causal import gather
from .checkpoints import discard, unfinished
from .classifier import Classifier, ClassifierRecord
from .compact_json import NotFiniteError, array
from .config import LABELS, ExtractConfig, InterveneConfig, StudyConfig, SweepConfig, TrainConfig
from .errors import UserError
from .evaluation import HeldOut
from .features import FEATURE_METRICS, Metric
from .headlines import Headlines, Split, load_headlines
from .interventions import Probe
from .kernels import choose as choose_kernels
from .kinds import ALONE as NO_RANKS
from .kinds import Group, nested_prefixes
from .layout import (
    Layout,
    PresentClassifier,
    SaeRecord,
    classifier_folder,
    made_from,
    present_classifier,
    read_sae_record,
    record_size,
    sae_family,
)
from .processes import ALONE, World
from .run_drafts import RunPart, new_run
from .run_index import index_run
from .runs import find_run, list_runs, read_run
from .sae import SaeConfig, SparseAutoencoder, size_name
from .schema.causes import FEATURE_EFFECTS, INTERVENTIONS, InterventionsFile
from .schema.common import SCHEMA_VERSION
from .schema.run import ClassifierInfo, RunMetadata, SaeInfo
from .store import ActivationStore, ActivationStream, Extraction, Manifest, open_store, store_inputs_hash
from .store import extract as extract_activations
from .training import REVISION, Job, sparsity_weight, train_saes

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


def load_classifier(root: Path, device: torch.device) -> Classifier:
    """The newest classifier under `root`. Raises UserError when there is none."""
    return classifiers.load_classifier(classifier_folder(root), device)


# --- extract -------------------------------------------------------------------------------------------


def extract(config: ExtractConfig, root: Path, device: torch.device, here: World = ALONE) -> ActivationStore:
    """Write the layer's activations over the training headlines, or reuse the store made from the same."""
    layout = Layout(root)
    folder = classifier_folder(root)
    name = store_inputs_hash(folder.name, classifiers.read_record(folder).data_hash, config)
    if (layout.activations / name / "manifest.json").is_file():
        discard(layout.checkpoints, name)
        found = open_store(layout.activations / name)
        if (found.name, found.manifest.classifier_hash) != (name, folder.name):
            raise UserError(
                f"{found.folder} holds the activations of classifier {found.manifest.classifier_hash}, not of "
                f"{folder.name}; delete it and run `python -m sae_pipeline extract`."
            )
        return found
    return extract_activations(_extraction(config, root, device), layout.activations, layout.checkpoints, here)


def _extraction(config: ExtractConfig, root: Path, device: torch.device) -> Extraction:
    """The present classifier before its training headlines."""
    classifier = load_classifier(root, device)
    return Extraction(
        classifier.model,
        classifier.tokenize(same_headlines(root).train.texts),
        classifier.tokenizer.pad_token_id,
        config,
        classifier.hash,
        classifier.record.data_hash,
    )


def same_headlines(root: Path) -> Headlines:
    """The headlines the present classifier was fine-tuned on. Raises UserError when they have changed since."""
    config = present_classifier(root).headlines
    headlines = load_headlines(config)
    if headlines.data_hash != classifiers.read_record(classifier_folder(root)).data_hash:
        raise UserError(
            f"The headlines in {config.source} have changed since the classifier was fine-tuned; "
            "run `python -m sae_pipeline finetune` again."
        )
    return headlines


# --- train ---------------------------------------------------------------------------------------------


def train(
    extraction: ExtractConfig,
    config: TrainConfig,
    root: Path,
    device: torch.device,
    group: Group = NO_RANKS,
) -> dict[str, SaeRecord]:
    """Train the SAEs that are missing, evaluate them, alias all as `finbert_sae/layer_<L>_<size>.pt`.

    Returns the records by size name, in the order of `latent_dims`. Rank 0 of `group` calls it, the others
    `join_training`; they share each step and read one activation store, so all must see `root`.
    """
    records = {}
    for folder in train_folders(extraction, [config], root, device, group):
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
    return [read_sae_record(folder) for folder in train_folders(extraction, over.settings(config), root, device)]


def join_training(
    extraction: ExtractConfig, config: TrainConfig, root: Path, device: torch.device, group: Group
) -> None:
    """What the further ranks of `group` do while rank 0 is in `train`: their share of every step."""
    group.wait()  # for rank 0's extraction
    tokens = _tokens(extraction, config, root, device)
    missing = group.broadcast([""])
    jobs = [job for job in _jobs(tokens, [config]) if job.name in missing]
    if jobs:
        train_saes(tokens, tokens.mean, tokens.scale, jobs, device, None, group)


def train_folders(
    extraction: ExtractConfig, configs: Sequence[TrainConfig], root: Path, device: torch.device, group: Group = NO_RANKS
) -> list[Path]:
    """The folders of the SAEs of every size of every config; those that are missing are trained together."""
    layout = Layout(root)
    tokens = _tokens(extraction, configs[0], root, device)
    group.wait()
    jobs = _jobs(tokens, configs)
    work = ("train", *(job.name for job in jobs))
    found = {job.name: find_sae(layout, job.name) for job in jobs}
    if None in found.values():
        with unfinished(layout.checkpoints, *work) as checkpoint:
            found = {job.name: find_sae(layout, job.name) for job in jobs}  # another process may have made them
            missing = [job for job in jobs if found[job.name] is None]
            group.broadcast([job.name for job in missing])
            trained = train_saes(tokens, tokens.mean, tokens.scale, missing, device, checkpoint, group)
            judge = held_out(root, extraction.layer, device)
            for job, result in zip(missing, trained, strict=True):
                report = judge.report(result.sae, tokens, result.seconds, result.tokens_per_second)
                record = SaeRecord(
                    inputs_hash=job.name,
                    activations=tokens.name,
                    config=result.sae.config,
                    train=job.config,
                    report=report,
                    curve=result.curve,
                )
                found[job.name] = publish_sae(layout, checkpoint.folder / job.name, result.sae, record)
    else:
        group.broadcast([""])
    discard(layout.checkpoints, *work)
    return [folder for job in jobs if (folder := found[job.name]) is not None]


def _tokens(
    extraction: ExtractConfig, config: TrainConfig, root: Path, device: torch.device
) -> ActivationStore | ActivationStream:
    if config.stream:
        return ActivationStream.open(_extraction(extraction, root, device))
    return extract(extraction, root, device)


def _jobs(tokens: ActivationStore | ActivationStream, configs: Sequence[TrainConfig]) -> list[Job]:
    return [_job(tokens, config, d_sae) for config in configs for d_sae in config.latent_dims]


def _job(tokens: ActivationStore | ActivationStream, config: TrainConfig, d_sae: int) -> Job:
    config = config.model_copy(update={"latent_dims": (d_sae,)})
    template = _sae_config(tokens.manifest, config, d_sae)
    name = settings_hash(REVISION, tokens.name, config.model_dump(), template.model_dump())
    return Job(name, template, config)


def publish_sae(layout: Layout, whole: Path, sae: SparseAutoencoder, record: SaeRecord) -> Path:
    """Write an SAE and its record into the folder `whole` and move that into the store; returns the new place."""
    sae.save(whole / "sae.pt")
    write_json(whole / "sae.json", record.model_dump())
    layout.store.mkdir(parents=True, exist_ok=True)
    return publish(whole, layout.store / file_hash(whole / "sae.pt"))


def find_sae(layout: Layout, inputs_hash: str) -> Path | None:
    """The SAE made from these inputs, if there is one."""
    return next((f.parent for f in layout.store.glob("*/sae.json") if made_from(f, inputs_hash)), None)


def _sae_config(manifest: Manifest, config: TrainConfig, d_sae: int) -> SaeConfig:
    return SaeConfig(
        d_in=manifest.d_in,
        d_sae=d_sae,
        kind=config.kind,
        k=config.active,
        prefixes=nested_prefixes(d_sae) if config.kind == "matryoshka" else (),
        recipe=config.recipe,
        l1_coefficient=config.l1_coefficient,
        sparsity_weight=sparsity_weight(config.recipe, config.l1_coefficient, manifest.d_in, d_sae, config.kind),
        positions=manifest.positions,
        hookpoint=manifest.hookpoint,
        classifier_hash=manifest.classifier_hash,
        data_hash=manifest.data_hash,
    )


def held_out(root: Path, layer: int, device: torch.device) -> HeldOut:
    """The test split, read once up to the layer: the judge of the present classifier's SAEs."""
    split: Split = same_headlines(root).test
    return HeldOut.read(load_classifier(root, device), "test", split.texts, split.labels, layer)


# --- analyze -------------------------------------------------------------------------------------------


def analyze(
    study: StudyConfig,
    root: Path,
    device: torch.device,
    metrics: Sequence[Metric] = FEATURE_METRICS,
    here: World = ALONE,
) -> Path:
    """Read the test headlines through classifier and SAE and write a run. Returns the run's folder, on every rank.

    Raises UserError when the SAE is missing or belongs to another classifier.
    """
    layout, config = Layout(root), study.analyze
    classifier = load_classifier(root, device)
    sae_path = layout.sae_alias(study.extract.layer, config.sae_size)
    sae = SparseAutoencoder.load(sae_path, device)
    _check_fit(sae, classifier, sae_path)
    sae_hash = file_hash(sae_path)
    record = read_sae_record(layout.store / sae_hash)
    split = _first(same_headlines(root).test, config.max_samples)
    parts = (classifier, sae, split, config, metrics)
    neighbours = layout.store / sae_hash / "neighbours.safetensors"
    if not here.first:
        with TemporaryDirectory() as folder:
            analyze_headlines(*parts, RunPart(Path(folder)), neighbours, here)
        return here.broadcast(Path())
    with new_run(layout.runs) as draft:
        totals = analyze_headlines(*parts, draft, neighbours, here)
        assert totals is not None
        run = draft.finish(
            {
                **_provenance(study, classifier, sae.config, record, layout),
                "sae_hash": sae_hash,
                "device": str(device),
                "backend": kernel_backend(sae.W_dec.device),
                "dtype": "fp32",
                "processes": here.size,
                "metrics": [metric.info.model_dump() for metric in metrics],
                "totals": totals.model_dump(),
            }
        )
    index_run(run)
    return here.broadcast(run)


def kernel_backend(device: torch.device) -> str:
    """Which kernels encode on this device."""
    kernels = choose_kernels(device=device)
    return "reference" if kernels is None else kernels.name


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
) -> dict[str, Any]:
    """The part of a run's metadata that says what it was made from."""
    made_by = classifier.record
    return {
        "preset": study.preset,
        "labels": list(LABELS),
        "classifier_hash": classifier.hash,
        "data_hash": made_by.data_hash,
        "hookpoint": sae.hookpoint.model_dump(),
        "classifier": ClassifierInfo(
            model=made_by.model, n_layers=made_by.n_layers, d_model=made_by.d_model, report=made_by.test
        ).model_dump(),
        "sae": SaeInfo(
            size=record_size(record),
            **sae.model_dump(include=set(SaeInfo.model_fields) & set(SaeConfig.model_fields)),
            report=record.report,
        ).model_dump(),
        "sae_family": {size: r.report.model_dump() for size, r in sae_family(layout, record).items()},
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


def _check_fit(sae: SparseAutoencoder, classifier: Classifier, path: Path) -> None:
    if sae.config.classifier_hash != classifier.hash:
        raise UserError(
            f"{path} was trained on classifier {sae.config.classifier_hash}, not on the present one "
            f"({classifier.hash}); run `python -m sae_pipeline train` again."
        )
    if sae.config.d_in != classifier.record.d_model:
        raise UserError(
            f"{path} expects activations of width {sae.config.d_in}, the classifier has {classifier.record.d_model}; "
            "run `python -m sae_pipeline train` again."
        )


def _first(split: Split, n: int | None) -> Split:
    return split if n is None else Split(split.texts[:n], split.labels[:n], split.ids[:n])


# --- intervene -----------------------------------------------------------------------------------------


def run_parts(root: Path, metadata: RunMetadata, device: torch.device) -> tuple[Classifier, SparseAutoencoder]:
    """The very classifier and SAE that a run was made with. Raises UserError when they are gone or have changed."""
    store = Layout(root).store
    folder, sae_path = store / metadata.classifier_hash, store / metadata.sae_hash / "sae.pt"
    for path in (folder / "model.safetensors", sae_path):
        if not path.is_file():
            raise UserError(f"{metadata.run_id} was made with {path}, which is gone; analyse again.")
    record = classifiers.read_record(folder)
    found = settings_hash(file_hash(folder / "model.safetensors"), record.inputs_hash)
    if found != metadata.classifier_hash or file_hash(sae_path) != metadata.sae_hash:
        raise UserError(f"The classifier or the SAE of {metadata.run_id} has been changed since; analyse again.")
    classifier, sae = classifiers.load_classifier(folder, device), SparseAutoencoder.load(sae_path, device)
    _check_fit(sae, classifier, sae_path)
    return classifier, sae


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
