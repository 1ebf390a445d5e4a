"""Make what a study lacks: activations, SAEs, finished SAEs. What is there already is reused."""

from collections.abc import Sequence
from pathlib import Path

import torch
from tqdm.auto import tqdm

from sae_pipeline.activations.extraction import extract_layers
from sae_pipeline.activations.manifest import Manifest, store_inputs_hash
from sae_pipeline.activations.store import ActivationStore, open_store, whole_store
from sae_pipeline.activations.stream import ActivationStream
from sae_pipeline.artefacts.checkpoints import discard, unfinished
from sae_pipeline.artefacts.writing import settings_hash
from sae_pipeline.classifier import classifier as classifiers
from sae_pipeline.classifier import finetuning
from sae_pipeline.classifier.classifier import ClassifierRecord
from sae_pipeline.config import ExtractConfig, FinetuneConfig, FinishConfig, TrainConfig
from sae_pipeline.machine.processes import ONE_PROCESS, Ranks
from sae_pipeline.sae.autoencoder import SaeConfig
from sae_pipeline.sae.finish import finish
from sae_pipeline.sae.kinds import nested_prefixes
from sae_pipeline.sae.recommended import sentence, settled
from sae_pipeline.sae.training import REVISION, Job, sparsity_weight, train_saes
from sae_pipeline.schema.common import PER_HEADLINE
from sae_pipeline.schema.kinds import KINDS
from sae_pipeline.study.layout import Layout, SaeRecord, classifier_folder, read_sae_record, record_size
from sae_pipeline.study.places import remember_file
from sae_pipeline.study.present import (
    extra_text,
    extraction_of,
    find_classifier,
    find_sae,
    headlines_of,
    held_out,
    kernel_backend,
    load_classifier,
    publish_sae,
    same_headlines,
    stored_sae,
)
from sae_pipeline.tracking import Tracking, no_tracking


def ensure_activations(config: ExtractConfig, root: Path, device: torch.device) -> ActivationStore:
    """The activations of the config's layer over the training headlines; see `ensure_layers`."""
    return ensure_layers(config, (config.layer,), root, device)[0]


def ensure_layers(
    config: ExtractConfig, layers: Sequence[int], root: Path, device: torch.device, ranks: Ranks = ONE_PROCESS
) -> list[ActivationStore]:
    """The activations of several layers over the training headlines; those that are missing are read in one pass.

    Raises UserError when there is no classifier or when its headlines have changed since.
    """
    layout = Layout(root)
    folder = classifier_folder(root)
    data_hash = classifiers.classifier_record(folder).data_hash
    configs = [config.model_copy(update={"layer": layer}) for layer in layers]
    extra = extra_text(config, root)
    if extra and ranks.first:
        remember_file(config.extra_text, root)
    names = [store_inputs_hash(folder.name, data_hash, one, extra.record if extra else None) for one in configs]
    whole = [whole_store(layout.activations / name, ranks) for name in names]
    if ranks.first:
        for name, is_whole in zip(names, whole, strict=True):
            if is_whole:
                discard(layout.checkpoints, name)
    if all(whole):
        return [open_store(layout.activations / name) for name in names]
    if extra and ranks.first:
        tqdm.write(extra.record.line(str(config.extra_text)))
    return extract_layers(extraction_of(config, root, device), layers, layout.activations, layout.checkpoints, ranks)


def join_training(
    extraction: ExtractConfig, config: TrainConfig, root: Path, device: torch.device, ranks: Ranks
) -> None:
    """Do a further rank's share of each training step while rank 0 is in `ensure_saes`."""
    ranks.wait()  # rank 0 extracts first
    tokens = _tokens(extraction, config, root, device)
    jobs = _jobs(tokens, [_settled(config, tokens.manifest)])
    missing = ranks.broadcast([""])
    jobs = [job for job in jobs if job.name in missing]
    if jobs:
        train_saes(tokens, tokens.mean, tokens.scale, jobs, device, None, ranks)


def ensure_saes(
    extraction: ExtractConfig,
    configs: Sequence[TrainConfig],
    root: Path,
    device: torch.device,
    ranks: Ranks = ONE_PROCESS,
    tracking: Tracking = no_tracking,
) -> list[Path]:
    """The folders of the SAEs of every size of every config; those that are missing are trained and judged together.

    Rank 0 calls it, and the other ranks call `join_training`.
    """
    layout = Layout(root)
    tokens = _tokens(extraction, configs[0], root, device)
    ranks.wait()
    jobs = _jobs(tokens, [_settled(config, tokens.manifest, tell=True) for config in configs])
    work = ("train", *(job.name for job in jobs))
    found = {job.name: find_sae(layout, job.name) for job in jobs}
    if None in found.values():
        with unfinished(layout.checkpoints, *work) as checkpoint:
            found = {job.name: find_sae(layout, job.name) for job in jobs}  # made meanwhile elsewhere?
            missing = [job for job in jobs if found[job.name] is None]
            ranks.broadcast([job.name for job in missing])
            trained = train_saes(tokens, tokens.mean, tokens.scale, missing, device, checkpoint, ranks, tracking)
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
                    finish=None,
                    backend=result.backend,
                    device=str(device),
                )
                found[job.name] = publish_sae(layout, checkpoint.folder / job.name, result.sae, record)
    else:
        ranks.broadcast([""])
    discard(layout.checkpoints, *work)
    return [folder for job in jobs if (folder := found[job.name]) is not None]


def _tokens(
    extraction: ExtractConfig, config: TrainConfig, root: Path, device: torch.device
) -> ActivationStore | ActivationStream:
    """The activations to train on: from the classifier itself where the config asks for a stream, else from a store."""
    if config.stream:
        return ActivationStream.open(extraction_of(extraction, root, device))
    return ensure_activations(extraction, root, device)


def _settled(config: TrainConfig, manifest: Manifest, tell: bool = False) -> TrainConfig:
    """A config with the sizes and passes that are recommended where it names none; with `tell` they are printed."""
    what = "headlines" if manifest.positions in PER_HEADLINE else "tokens"
    whole = settled(config, manifest.n_tokens, what)
    if tell and not config.latent_dims:
        tqdm.write(sentence(whole, manifest.n_tokens, what))
    return whole


def _jobs(tokens: ActivationStore | ActivationStream, configs: Sequence[TrainConfig]) -> list[Job]:
    return [_job(tokens, config, d_sae) for config in configs for d_sae in config.latent_dims]


def _job(tokens: ActivationStore | ActivationStream, config: TrainConfig, d_sae: int) -> Job:
    """One SAE to train, named by everything that it depends on."""
    config = config.model_copy(update={"latent_dims": (d_sae,)})
    template = sae_config(tokens.manifest, config, d_sae)
    name = settings_hash(REVISION, tokens.name, config.model_dump(), template.model_dump())
    return Job(name, template, config)


def sae_config(manifest: Manifest, config: TrainConfig, d_sae: int) -> SaeConfig:
    """The config of an SAE that is trained on the activations of a manifest."""
    return SaeConfig(
        d_in=manifest.d_in,
        d_sae=d_sae,
        kind=config.kind,
        k=config.active,
        prefixes=nested_prefixes(d_sae) if KINDS[config.kind].nested else (),
        recipe=config.recipe,
        l1_coefficient=config.l1_coefficient,
        sparsity_weight=sparsity_weight(config.recipe, config.l1_coefficient, manifest.d_in, d_sae, config.kind),
        positions=manifest.positions,
        hookpoint=manifest.hookpoint,
        classifier_hash=manifest.classifier_hash,
        data_hash=manifest.data_hash,
    )


def ensure_finished(
    config: FinishConfig, folder: Path, root: Path, device: torch.device, tracking: Tracking = no_tracking
) -> Path:
    """The folder of the finished SAE that is made from the SAE in `folder`; an equal one is reused."""
    layout, record = Layout(root), read_sae_record(folder)
    inputs = settings_hash(folder.name, config.model_copy(update={"sae_size": record_size(record)}).model_dump())
    found = find_sae(layout, inputs)
    if found is not None:
        return found
    tokens = open_store(layout.activations / record.activations)  # an SAE that was trained from a stream has no store
    sae, texts = stored_sae(folder, device), same_headlines(root).train.texts
    name = f"layer_{sae.config.hookpoint.layer}_{record_size(record)}-e2e-{inputs}"
    log = tracking(name, config.model_dump(mode="json"))
    finished, seconds = finish(sae, load_classifier(root, device), texts, config, log)
    judge = held_out(root, sae.config.hookpoint.layer, device)
    report = judge.report(finished, tokens, seconds, config.epochs * tokens.n_tokens / seconds)
    made_on = {"backend": kernel_backend(device), "device": str(device)}
    update = {"inputs_hash": inputs, "report": report, "finish": config, **made_on}
    with unfinished(layout.checkpoints, "finish", inputs) as work:
        return publish_sae(layout, work.folder / "sae", finished, record.model_copy(update=update))


def other_seed(record: SaeRecord, seed: int, root: Path, device: torch.device) -> Path:
    """The folder of the SAE that differs from `record` by its seed alone, finished end to end if `record` is.

    It is trained where it is missing. Raises UserError for an SAE that was imported.
    """
    extraction = open_store(Layout(root).activations / record.activations).manifest.extract
    config = record.training.model_copy(update={"seed": seed})
    folder = ensure_saes(extraction, [config], root, device)[0]
    if record.finish is not None:
        folder = ensure_finished(record.finish, folder, root, device)
    return folder


def other_classifier(record: ClassifierRecord, config: FinetuneConfig, root: Path, device: torch.device) -> Path:
    """The folder of the classifier that is fine-tuned from the headlines of `record` in another way.

    It is made where it is missing, and the present classifier stays present. Raises UserError when the headlines have
    changed since.
    """
    layout, headlines = Layout(root), headlines_of(record, root)
    inputs = classifiers.inputs_hash(headlines, record.headlines, config)
    folder = find_classifier(layout, inputs)
    if folder is None:
        log = no_tracking(f"classifier-{inputs}", {})
        folder = finetuning.finetune(headlines, record.headlines, config, layout.store, layout.checkpoints, device, log)
    discard(layout.checkpoints, inputs)
    return folder
