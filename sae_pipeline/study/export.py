"""The verb export: an SAE or a run in a format that others read.

A format is a function that takes the config, the layer and the study's folder, writes, and returns what it wrote.
Packages above the library add theirs as entry points of the group `sae_pipeline.formats`.
"""

import re
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import cast

import torch

from sae_pipeline.artefacts.checksums import file_hash
from sae_pipeline.artefacts.writing import make_folder, readable_os_errors, write_file, write_json
from sae_pipeline.causal.mended_card import mended_card
from sae_pipeline.causal.mended_files import CLASSIFIER, EDITS, LOADER, edits_bytes, ids_without_words, loader_bytes
from sae_pipeline.config import ExportConfig
from sae_pipeline.errors import DamageError, UserError, command
from sae_pipeline.runs.decoder import check_decoder, decoder_rows
from sae_pipeline.runs.fit import column_problems
from sae_pipeline.runs.fit_added import (
    effects_problems,
    family_problems,
    headline_effects_problems,
    interventions_problems,
    mending_problems,
)
from sae_pipeline.runs.folders import Run, find_run, read_run
from sae_pipeline.runs.neuronpedia import neuronpedia_files
from sae_pipeline.runs.parquet_tables import parquet_files
from sae_pipeline.runs.run_files import added_limit, check, damaged, read_added
from sae_pipeline.sae.autoencoder import SparseAutoencoder
from sae_pipeline.sae.formats import FORMATS, foreign_files
from sae_pipeline.sae.formats.plain import Recorded
from sae_pipeline.schema.causes import (
    FEATURE_EFFECTS,
    INTERVENTIONS,
    FeatureEffectsFile,
    InterventionsFile,
    WordEffects,
)
from sae_pipeline.schema.common import PER_HEADLINE
from sae_pipeline.schema.family import FAMILY, FamilyFile
from sae_pipeline.schema.mending import MENDING, MendingFile
from sae_pipeline.schema.run import DECODER
from sae_pipeline.study.layout import Layout, check_sae_record
from sae_pipeline.study.present import run_parts, trained_size

_CARD = "README.md"
_MOST_READ = 10_000  # headlines of a run that show which tokens belong to words
Writer = Callable[[ExportConfig, int, Path], Path]


def export(config: ExportConfig, layer: int, root: Path) -> Path:
    """Write an SAE of a layer, or a run, of the study in `root`. Returns the file or folder.

    Raises UserError when there is no such SAE or run, when it does not fit the format, or when the place cannot be
    written.
    """
    return _writer(config.to)(config, layer, root)


def _writer(name: str) -> Writer:
    if name in _WRITERS:
        return _WRITERS[name]
    found = next(iter(entry_points(group="sae_pipeline.formats", name=name)), None)
    if found is None:
        raise UserError(f"The format {name} is not installed here; install this package again (pip install -e .).")
    return cast(Writer, found.load())


def export_sae(config: ExportConfig, layer: int, root: Path) -> Path:
    """Export the newest SAE of a size to another library; see sae/formats/. Returns the folder.

    Raises UserError when there is no study or no such SAE, when the format cannot hold it, or when the folder's path is
    a file.
    """
    layout = Layout(root)
    if config.sae_size is None and not layout.classifier_alias.is_file():
        raise UserError(f"There is no study in {root}; make one with `{command('study')}`.")
    size = config.sae_size or trained_size(root, layer)
    path = layout.sae_alias(layer, size)
    if not path.is_file() and not layout.classifier_alias.is_file():
        raise UserError(f"There is no SAE at {path}, and no study in {root}; make one with `{command('study')}`.")
    sae = SparseAutoencoder.load(path)
    folder = Path(config.out) if config.out else layout.weights / config.to / f"layer_{layer}_{size}"
    files = foreign_files(sae, config.to, _measured(layout, path))
    _prepare(folder, files.__contains__, list(files)[-1])
    for name, content in files.items():
        if isinstance(content, bytes):
            write_file(folder / name, content, "--out")
        else:
            write_json(folder / name, content, "--out")
    return folder


def _prepare(folder: Path, is_ours: Callable[[str], object], last: str) -> None:
    """Make a folder for an export whose file `last` is written last; an older one goes before others are replaced.

    Raises UserError when there are files of others in it, when the path is a file, or when it cannot be written.
    """
    make_folder(folder, "--out")
    _check_ours(folder, is_ours)
    with readable_os_errors(folder, "--out"):
        (folder / last).unlink(missing_ok=True)


def _check_ours(folder: Path, is_ours: Callable[[str], object]) -> None:
    if others := sorted(entry.name for entry in folder.iterdir() if entry.name[0] != "." and not is_ours(entry.name)):
        raise UserError(
            f"{folder} holds {others[0]}, which is of another kind; choose a new or an empty folder with --out."
        )


def export_parquet(config: ExportConfig, layer: int, root: Path) -> Path:
    """Write a run as three Parquet tables; see runs/parquet_tables.py. Returns the folder.

    Raises UserError when there is no such run, when it is damaged, or when the folder's path is a file.
    """
    run = _run(config, root)
    folder = Path(config.out or f"{run.metadata.run_id}-parquet")
    _prepare(folder, lambda name: name.endswith(".parquet"), "headlines.parquet")
    for name, content in parquet_files(run, _effects(run), _family(run), _word_effects(run)):
        write_file(folder / name, content, "--out")
    return folder


def export_neuronpedia(config: ExportConfig, layer: int, root: Path) -> Path:
    """Write the features of a run in Neuronpedia's form; see runs/neuronpedia.py. Returns the folder.

    Raises UserError when there is no such run, when it is damaged, or when the folder's path is a file.
    """
    run = _run(config, root)
    if run.metadata.sae.positions in PER_HEADLINE:
        raise UserError(
            f"Neuronpedia shows activations on tokens, and {run.metadata.run_id} has one vector per headline; "
            "export it as parquet, html or site."
        )
    folder = Path(config.out or f"{run.metadata.run_id}-neuronpedia")
    has_decoder = (run.folder / DECODER).exists() and DECODER in run.metadata.files
    if has_decoder:
        check_decoder(run.folder, run.metadata.files[DECODER], run.metadata)
    decoder = decoder_rows(run.folder, 0, run.metadata.sae.d_sae) if has_decoder else None
    _prepare(folder, re.compile(r"batch-\d+\.json").fullmatch, "batch-0.json")
    for older in folder.glob("batch-*.json"):  # of a run with more features
        older.unlink()
    for name, content in neuronpedia_files(run, _effects(run), decoder):
        write_json(folder / name, content, "--out")
    return folder


def export_classifier(config: ExportConfig, layer: int, root: Path) -> Path:
    """Write a run's classifier with the edits that `mend` kept; see causal/mended_files.py. Returns the folder.

    Raises UserError when there is no such run, when it has no edits, when its classifier or SAE is gone or damaged, and
    when the folder holds something else.
    """
    run = _run(config, root)
    mending = _mending(run)
    classifier, sae = run_parts(root, run.metadata, torch.device("cpu"))
    read = classifier.tokenize([prompt.text for prompt in run.prompts[:_MOST_READ]])
    without_words, n_unlike = ids_without_words(classifier.tokenizer, read)
    folder = Path(config.out or f"{run.metadata.run_id}-classifier")
    if (folder / CLASSIFIER).is_dir():
        _check_ours(folder / CLASSIFIER, classifier.record.files.__contains__)
    _prepare(folder, {_CARD, MENDING, LOADER, CLASSIFIER, EDITS, "__pycache__"}.__contains__, EDITS)
    make_folder(folder / CLASSIFIER, "--out")
    for name in classifier.record.files:
        write_file(folder / CLASSIFIER / name, (classifier.folder / name).read_bytes(), "--out")
    card = mended_card(run, mending, classifier, n_unlike, len(read))
    write_file(folder / _CARD, card.encode(), "--out")
    write_file(folder / MENDING, (run.folder / MENDING).read_bytes(), "--out")
    write_file(folder / LOADER, loader_bytes(), "--out")
    factors = {edit.feature: edit.factor for edit in mending.edits}
    write_file(folder / EDITS, edits_bytes(classifier, sae, factors, without_words), "--out")
    return folder


def _mending(run: Run) -> MendingFile:
    """What `mend` found. Raises UserError where it has not run or kept no edit, and for a damaged file."""
    found, name = read_added(run.folder, MENDING, MendingFile), run.metadata.run_id
    if found is None:
        raise UserError(f"{name} has no {MENDING}; find edits with `{command('mend')} --run {name}` first.")
    check(run.folder, MENDING, "", mending_problems(found, run.metadata, run.checksum))
    if not found.edits:
        raise UserError(f"mend kept no edit for {name}, so there is nothing to export; give edits with mend --edits.")
    return found


def _run(config: ExportConfig, root: Path) -> Run:
    return read_run(find_run(Layout(root).runs, config.run))


def _effects(run: Run) -> FeatureEffectsFile | None:
    """What `intervene` measured of a run's features; None where it has not. Raises UserError for a damaged file."""
    effects = read_added(run.folder, FEATURE_EFFECTS, FeatureEffectsFile)
    if effects is None:
        return None
    check(run.folder, FEATURE_EFFECTS, "", effects_problems(effects, run.metadata, run.checksum))
    for column in effects.columns:
        check(run.folder, FEATURE_EFFECTS, "columns ", column_problems(column, run.metadata.sae.d_sae))
    return effects


def _family(run: Run) -> FamilyFile | None:
    """What `family` found of a run's features; None where it has not. Raises UserError for a damaged file."""
    family = read_added(run.folder, FAMILY, FamilyFile)
    if family is not None:
        check(run.folder, FAMILY, "", family_problems(family, run.metadata, run.checksum))
    return family


def _word_effects(run: Run) -> dict[int, WordEffects]:
    """The word effects of the headlines that have some, by headline. Raises UserError for a damaged file."""
    found = read_added(run.folder, INTERVENTIONS, InterventionsFile, added_limit(run.metadata))
    if found is None:
        return {}
    check(run.folder, INTERVENTIONS, "", interventions_problems(found, run.metadata, run.checksum))
    for n, record in enumerate(found.headlines):
        prompt = run.prompts[record.headline] if record.headline < len(run.prompts) else None
        if prompt is None or prompt.headline_id != record.headline_id:
            raise damaged(run.folder, INTERVENTIONS, f"headlines.{n}.headline", "is none of the run's headlines")
        sizes = len(prompt.tokens), max(prompt.words, default=-1) + 1
        check(run.folder, INTERVENTIONS, f"headlines.{n}.", headline_effects_problems(record, run.metadata, *sizes))
    return {record.headline: record.word_effects for record in found.headlines if record.word_effects}


def _measured(layout: Layout, path: Path) -> Recorded:
    """L0 and FVU on held-out headlines of the SAE at `path`, where the study has its record."""
    try:
        report = check_sae_record(layout.store / file_hash(path)).report.held_out
    except DamageError:
        return Recorded()
    return Recorded(l0=report.l0, fvu=report.fvu)


_WRITERS: dict[str, Writer] = {
    **dict.fromkeys(FORMATS, export_sae),
    "parquet": export_parquet,
    "neuronpedia": export_neuronpedia,
    "classifier": export_classifier,
}
