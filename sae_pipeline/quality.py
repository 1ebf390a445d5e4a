"""The verbs about how good an SAE is: finish it end to end, compare it with controls, other layers and its family."""

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from tqdm.auto import tqdm

from sae_pipeline.activations.reading import read_activations
from sae_pipeline.activations.store import open_store
from sae_pipeline.artefacts.checksums import content_hash, write_record
from sae_pipeline.artefacts.writing import alias
from sae_pipeline.config import CompareConfig, FamilyConfig, FinishConfig, LayersConfig
from sae_pipeline.errors import DamageError, UserError
from sae_pipeline.evaluation import controls
from sae_pipeline.evaluation.baselines import frozen_saes
from sae_pipeline.evaluation.bootstrap import N_RESAMPLES
from sae_pipeline.evaluation.claims import claims
from sae_pipeline.evaluation.family import chance_of_match, match_features, stability
from sae_pipeline.evaluation.layers import compare_layers
from sae_pipeline.evaluation.rivals import Comparison, ScoredProbe, live_features, random_model
from sae_pipeline.evaluation.which_layer import which_layer
from sae_pipeline.machine.memory import readable_memory_errors
from sae_pipeline.runs.added_files import add_file, made_from
from sae_pipeline.runs.folders import find_run, read_run
from sae_pipeline.runs.seed_stability import in_other_seeds, seed_stability
from sae_pipeline.sae.autoencoder import SparseAutoencoder
from sae_pipeline.schema.common import SCHEMA_VERSION, statistics_positions
from sae_pipeline.schema.controls import ControlsFile, RivalName, SeedScores
from sae_pipeline.schema.family import FAMILY, FamilyFile, FamilyMember
from sae_pipeline.schema.layers import LayerSae, LayersFile, Measured
from sae_pipeline.study import present
from sae_pipeline.study.layout import (
    SAE,
    Layout,
    SaeRecord,
    check_sae_record,
    read_sae_record,
    record_size,
    sae_folders,
)
from sae_pipeline.study.making import ensure_finished, other_seed
from sae_pipeline.study.present import load_sae, stored_sae
from sae_pipeline.tracking import Tracking, no_tracking

# --- finish --------------------------------------------------------------------------------------------


@readable_memory_errors("finishing the SAE")
def finish(
    config: FinishConfig, layer: int, root: Path, device: torch.device, tracking: Tracking = no_tracking
) -> SaeRecord:
    """Finish an SAE end to end, evaluate it and alias it as `layer_<L>_<size>-e2e.pt`; an equal one is reused."""
    layout = Layout(root)
    _, record, sae_hash = load_sae(root, layer, config.sae_size, device)
    if record.finish is not None:
        raise UserError(f"{record_size(record)} is finished already; name the SAE it was made from.")
    folder = ensure_finished(config, layout.store / sae_hash, root, device, tracking)
    made = read_sae_record(folder)
    alias(folder / SAE, layout.sae_alias(layer, record_size(made)))
    return made


# --- compare -------------------------------------------------------------------------------------------


@readable_memory_errors("comparing the SAE")
def compare(config: CompareConfig, layer: int, root: Path, device: torch.device) -> ControlsFile:
    """Compare an SAE with baselines and with its own other seeds; write `finbert_sae/evidence/<sae_hash>.json`."""
    started = time.perf_counter()
    layout = Layout(root)
    sae, record, sae_hash = load_sae(root, layer, config.sae_size, device)
    own = record.training.seed
    folders = {own: layout.store / sae_hash}
    folders |= {seed: other_seed(record, seed, root, device) for seed in config.seeds if seed != own}
    saes = {seed: sae if seed == own else stored_sae(folder, device) for seed, folder in folders.items()}
    judge = present.held_out(root, layer, device)
    classifier, headlines = present.load_classifier(root, device), present.same_headlines(root)
    comparison = Comparison.read(classifier, headlines, sae, config.probe_sizes)
    k = max(1, round(record.report.held_out.l0))
    tokens = open_store(layout.activations / record.activations)
    rivals: dict[RivalName, SparseAutoencoder] = {
        "sae": sae,
        **frozen_saes(tokens, sae, record.training, record.report.train.l0),
        "pca": controls.pca(comparison.train.acts, sae, min(k, sae.config.d_in)),
        "neurons": controls.neurons(sae, k),
    }
    judged = [comparison.judge(name, rival, judge) for name, rival in rivals.items()]
    judged.append(random_model(classifier, headlines, sae, record.training, config.probe_sizes))
    judged += comparison.without_sae(headlines)
    probes = {seed: judged[0].probes if seed == own else comparison.probes(other) for seed, other in saes.items()}
    acts = judge.acts(statistics_positions(sae.config.positions))
    live = [live_features(other, acts) for other in saes.values()]
    file = ControlsFile(
        schema_version=SCHEMA_VERSION,
        sae_hash=sae_hash,
        size=record_size(record),
        seconds=round(time.perf_counter() - started, 2),
        controls=[one.control for one in judged],
        stability=stability(list(saes), [other.W_dec for other in saes.values()], live),
        seeds=[_seed_scores(seed, folders[seed], probes[seed]) for seed in saes],
        claims=claims(judged, list(probes.values())),
        n_test=len(headlines.test),
        n_resamples=N_RESAMPLES,
    )
    write_record(layout.controls(sae_hash), file)
    return file


def _seed_scores(seed: int, folder: Path, probes: Mapping[int | None, ScoredProbe]) -> SeedScores:
    """The figures of the SAE in a folder of the store."""
    report = read_sae_record(folder).report
    return SeedScores(
        seed=seed,
        sae_hash=folder.name,
        l0=report.held_out.l0,
        fvu=report.held_out.fvu,
        unchanged=report.spliced.unchanged,
        accuracy_spliced=report.spliced.accuracy_spliced,
        probing=[one.record() for one in probes.values()],
    )


# --- layers --------------------------------------------------------------------------------------------


@readable_memory_errors("comparing the layers")
def layers(config: LayersConfig, root: Path, device: torch.device) -> LayersFile:
    """Compare layers of the present classifier, and the SAEs that they have; write `finbert_sae/layers.json`.

    Raises UserError for layers that do not exist, and for a size of which no layer has an SAE.
    """
    started = time.perf_counter()
    layout, classifier = Layout(root), present.load_classifier(root, device)
    numbers = config.numbers(classifier.record.n_layers)
    records = present.saes_of_layers(layout, classifier.hash, numbers, config.sae_size)
    hashes = {layer: content_hash(record.files[SAE]) for layer, record in records.items()}
    saes = {layer: present.stored_sae(layout.store / sae_hash, device) for layer, sae_hash in hashes.items()}
    found = compare_layers(classifier, present.same_headlines(root), numbers, saes)
    judged = {layer: _layer_sae(records[layer], hashes[layer], *code) for layer, code in found.codes.items()}
    figures = [one.model_copy(update={"sae": judged.get(layer)}) for layer, one in found.layers.items()]
    file = LayersFile(
        schema_version=SCHEMA_VERSION,
        classifier_hash=classifier.hash,
        model=classifier.record.model,
        n_layers=classifier.record.n_layers,
        labelled=classifier.record.labelled,
        split="test",
        n_headlines=found.n_headlines,
        n_train=found.n_train,
        accuracy=found.accuracy,
        majority=found.majority,
        seconds=round(time.perf_counter() - started, 2),
        device=str(device),
        layers=figures,
        answer=list(which_layer(figures)),
    )
    write_record(layout.layers, file)
    return file


def _layer_sae(record: SaeRecord, sae_hash: str, l0: Measured, fvu: Measured) -> LayerSae:
    spliced = record.report.spliced
    low, high = spliced.unchanged_interval or (None, None)
    return LayerSae(
        sae_hash=sae_hash,
        size=record_size(record),
        **record.config.model_dump(include={"kind", "d_sae", "positions"}),
        l0=l0,
        fvu=fvu,
        unchanged=Measured(value=spliced.unchanged, low=low, high=high),
    )


# --- family --------------------------------------------------------------------------------------------


@readable_memory_errors("finding features in other SAEs")
def family(config: FamilyConfig, root: Path, device: torch.device) -> FamilyFile:
    """Find the features of a run's SAE in its other sizes and seeds; write `family.json` into the run's folder.

    SAEs of `config.seeds` that are missing are trained. Raises UserError when there is no other SAE on the same
    activations, and where the only seed that is named is the run's own.
    """
    layout = Layout(root)
    run = read_run(find_run(layout.runs, config.run))
    classifier, sae = present.run_parts(root, run.metadata, device)
    own = read_sae_record(layout.store / run.metadata.sae_hash)
    if config.seeds:
        _train_seeds(config.seeds, own, root, device)
    here = record_size(own), own.training.seed  # also those of an older program are the run's own training, not others
    relatives = {f: r for f, r in _relatives(layout, own) if (record_size(r), r.training.seed) != here}
    if not relatives:
        raise UserError(
            "There is no other SAE on the same activations; --seeds 0,1,2 trains the same one with other seeds."
        )
    tokenized = classifier.tokenize([prompt.text for prompt in run.prompts])
    place = sae.config.hookpoint.layer, sae.config.positions
    acts, _ = read_activations(classifier.model, tokenized, classifier.tokenizer.pad_token_id, *place)
    own_lists = sae.encode_lists(acts)
    members, matches = [], []
    for folder, record in relatives.items():
        other = present.stored_sae(folder, device)
        matches.append(match_features(sae.W_dec, other.W_dec, own_lists, other.encode_lists(acts)))
        members.append(
            FamilyMember(
                size=record_size(record),
                sae_hash=folder.name,
                seed=record.training.seed,
                kind=record.config.kind,
                chance=chance_of_match(sae.W_dec, other.W_dec),
            )
        )
    live = np.array(run.feature_stats.headline_counts) > 0
    file = FamilyFile(
        **made_from(run),
        d_sae=sae.config.d_sae,
        n_tokens=len(acts),
        members=members,
        matches=matches,
        stability=seed_stability(in_other_seeds(members, matches, run.metadata.sae.size), live),
    )
    add_file(run, FAMILY, file.model_dump_json().encode())
    return file


def _train_seeds(seeds: Sequence[int], own: SaeRecord, root: Path, device: torch.device) -> None:
    """Train the SAEs that differ from `own` by these seeds alone, where they are missing."""
    others = [seed for seed in dict.fromkeys(seeds) if seed != own.training.seed]
    if not others:
        raise UserError(
            f"Stability needs a seed beside the run's own, which is {own.training.seed}; name others with --seeds, for "
            f"example {own.training.seed + 1},{own.training.seed + 2}."
        )
    for seed in others:
        other_seed(own, seed, root, device)


def _relatives(layout: Layout, own: SaeRecord) -> Iterator[tuple[Path, SaeRecord]]:
    """The SAEs that differ from `own` by size and seed alone, finished ones among them; smallest first."""
    free = {"latent_dims": (1,), "seed": 0}
    found = []
    for folder in sae_folders(layout):
        try:
            record = check_sae_record(folder)
        except DamageError as error:
            tqdm.write(f"The SAE in {folder} is damaged and left out: {error}; train it again or move it away.")
            continue
        if record.train is None:
            continue
        same = record.train.model_copy(update=free) == own.training.model_copy(update=free)
        if same and record.activations == own.activations and record.finish in (None, own.finish):
            found.append((folder, record))
    yield from sorted(found, key=lambda pair: (pair[1].config.d_sae, pair[1].training.seed, pair[0].name))
