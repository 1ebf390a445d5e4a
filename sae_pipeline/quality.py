"""The verbs about how good an SAE is: finish it end to end, compare it with controls, match it with its family."""

import time
from collections.abc import Iterator
from pathlib import Path

import torch
from tqdm.auto import tqdm

from sae_pipeline.activations.reading import read_activations
from sae_pipeline.artefacts.checksums import write_record
from sae_pipeline.artefacts.writing import alias
from sae_pipeline.config import CompareConfig, FamilyConfig, FinishConfig
from sae_pipeline.errors import DamageError, UserError
from sae_pipeline.evaluation import controls
from sae_pipeline.evaluation.family import match_features, stability
from sae_pipeline.evaluation.rivals import Comparison, live_features, random_model
from sae_pipeline.runs.added_files import add_file, made_from
from sae_pipeline.runs.folders import find_run, read_run
from sae_pipeline.schema.common import SCHEMA_VERSION
from sae_pipeline.schema.controls import ControlsFile
from sae_pipeline.schema.family import FAMILY, FamilyFile, FamilyMember
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
from sae_pipeline.study.present import load_sae
from sae_pipeline.tracking import Tracking, no_tracking

# --- finish --------------------------------------------------------------------------------------------


def finish(
    config: FinishConfig, layer: int, root: Path, device: torch.device, tracking: Tracking = no_tracking
) -> SaeRecord:
    """Finish an SAE end to end, evaluate it and alias it as `layer_<L>_<size>-e2e.pt`; an equal one is reused."""
    layout = Layout(root)
    _, record, sae_hash = load_sae(root, layer, config.sae_size, device)
    if record.finish is not None:
        raise UserError(f"{config.sae_size} is finished already; name the SAE it was made from.")
    folder = ensure_finished(config, layout.store / sae_hash, root, device, tracking)
    made = read_sae_record(folder)
    alias(folder / SAE, layout.sae_alias(layer, record_size(made)))
    return made


# --- compare -------------------------------------------------------------------------------------------


def compare(config: CompareConfig, layer: int, root: Path, device: torch.device) -> ControlsFile:
    """Compare an SAE with controls and with its own other seeds; write `finbert_sae/evidence/<sae_hash>.json`."""
    started = time.perf_counter()
    layout = Layout(root)
    sae, record, sae_hash = load_sae(root, layer, config.sae_size, device)
    own_seed = record.training.seed
    others = [sae if seed == own_seed else other_seed(record, seed, root, device) for seed in config.seeds]
    judge = present.held_out(root, layer, device)
    classifier, headlines = present.load_classifier(root, device), present.same_headlines(root)
    comparison = Comparison.read(classifier, headlines, sae, config.probe_sizes)
    k = max(1, round(record.report.held_out.l0))
    rivals = {
        "sae": sae,
        "pca": controls.pca(comparison.train.acts, sae, min(k, sae.config.d_in)),
        "neurons": controls.neurons(sae, k),
    }
    judged = [comparison.judge(name, rival, judge) for name, rival in rivals.items()]
    judged.append(random_model(classifier, headlines, sae, record.training, config.probe_sizes))
    acts = judge.acts("words")
    live = [live_features(other, acts) for other in others]
    file = ControlsFile(
        schema_version=SCHEMA_VERSION,
        sae_hash=sae_hash,
        size=record_size(record),
        seconds=round(time.perf_counter() - started, 2),
        controls=judged,
        stability=stability(config.seeds, [other.W_dec for other in others], live),
    )
    write_record(layout.controls(sae_hash), file)
    return file


# --- family --------------------------------------------------------------------------------------------


def family(config: FamilyConfig, root: Path, device: torch.device) -> FamilyFile:
    """Find the features of a run's SAE in its other sizes and seeds; write `family.json` into the run's folder.

    Raises UserError when there is no other SAE on the same activations.
    """
    layout = Layout(root)
    run = read_run(find_run(layout.runs, config.run))
    classifier, sae = present.run_parts(root, run.metadata, device)
    own = read_sae_record(layout.store / run.metadata.sae_hash)
    relatives = {f: r for f, r in _relatives(layout, own) if f.name != run.metadata.sae_hash}
    if not relatives:
        raise UserError("There is no other SAE on the same activations; train other sizes or seeds first.")
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
                size=record_size(record), sae_hash=folder.name, seed=record.training.seed, kind=record.config.kind
            )
        )
    file = FamilyFile(
        **made_from(run),
        d_sae=sae.config.d_sae,
        n_tokens=len(acts),
        members=members,
        matches=matches,
    )
    add_file(run, FAMILY, file.model_dump_json().encode())
    return file


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
