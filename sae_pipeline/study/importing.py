"""The verb import: an SAE that another library wrote becomes one of the study's.

It is kept like a trained one, and its L0 and FVU are measured on the study's own headlines. Its size has the format in
its name ("4k-saelens"), so its alias, the file `layer_<L>_<size>.pt`, never replaces that of an SAE
that was trained here.
"""

from collections.abc import Iterator
from pathlib import Path

import torch

from sae_pipeline.artefacts.checkpoints import unfinished
from sae_pipeline.artefacts.checksums import file_sums
from sae_pipeline.artefacts.writing import alias, settings_hash
from sae_pipeline.classifier import classifier as classifiers
from sae_pipeline.config import ExtractConfig, ImportConfig
from sae_pipeline.errors import UserError
from sae_pipeline.sae.formats import FORMATS, read_foreign
from sae_pipeline.sae.formats.plain import PlainSae, Recorded, own_form
from sae_pipeline.sae.training import TrainingCurve
from sae_pipeline.schema.run import Origin
from sae_pipeline.study.layout import (
    SAE,
    Layout,
    SaeRecord,
    classifier_folder,
    read_sae_record,
    record_size,
    remember_layer,
)
from sae_pipeline.study.making import ensure_activations
from sae_pipeline.study.present import find_sae, held_out, publish_sae

REVISION = 1  # raised when the same files come to give another SAE
_MISFIT = 0.25  # relative difference from a recorded figure that is told; of FVU, at least 0.05


def import_sae(
    config: ImportConfig, extraction: ExtractConfig, root: Path, device: torch.device
) -> tuple[SaeRecord, list[str]]:
    """Import an SAE for a layer of the present classifier, evaluate it and give it its alias. An equal one is reused.

    Returns its record, and a sentence for each figure that differs from what the files say. Raises UserError when the
    files cannot be read, or when they are of another layer or width.
    """
    layout = Layout(root)
    name, folder, foreign = read_foreign(Path(config.place), config.from_)
    _check_fit(foreign, folder, extraction, root)
    module, recorded = FORMATS[name], foreign.recorded
    origin = Origin(
        format=name,
        name=folder.name,
        architecture=foreign.architecture,
        files=file_sums(folder, [module.WEIGHTS, module.CONFIG]),
        l0=recorded.l0,
        fvu=recorded.fvu,
    )
    tokens = ensure_activations(extraction, root, device)
    inputs = settings_hash("import", REVISION, name, origin.model_dump(include={"files"}), tokens.name)
    found = find_sae(layout, inputs)
    if found is None:
        of = tokens.manifest
        sae = own_form(foreign, tokens.mean, of.hookpoint, of.positions, of.classifier_hash, of.data_hash).to(device)
        report = held_out(root, extraction.layer, device).report(sae, tokens, 0.0, 0.0)
        record = SaeRecord(
            inputs_hash=inputs,
            activations=tokens.name,
            config=sae.config,
            train=None,
            report=report,
            curve=TrainingCurve(),
            finish=None,
            origin=origin,
        )
        with unfinished(layout.checkpoints, "import", inputs) as work:
            found = publish_sae(layout, work.folder / "sae", sae, record)
    made = read_sae_record(found)
    alias(found / SAE, layout.sae_alias(extraction.layer, record_size(made)))
    remember_layer(root, extraction.layer)
    return made, [*foreign.notes, *_misfits(made, origin, recorded)]


def _check_fit(sae: PlainSae, folder: Path, extraction: ExtractConfig, root: Path) -> None:
    """Raise UserError where the files are of another width, layer or kind of positions than the study's."""
    record, told = classifiers.classifier_record(classifier_folder(root)), sae.recorded
    if sae.d_in != record.d_model:
        raise UserError(
            f"The SAE in {folder} expects activations of width {sae.d_in}, the study's classifier has "
            f"{record.d_model}; it was made for another model."
        )
    if told.layer is not None and told.layer != extraction.layer:
        raise UserError(
            f"The config in {folder} says that the SAE reads hidden_states[{told.layer}], but the study's layer is "
            f"{extraction.layer}; use --layer {told.layer}, or correct the config if it is wrong."
        )
    if told.positions is not None and told.positions != extraction.positions:
        raise UserError(
            f"The config in {folder} says that the SAE was trained on {told.positions}; "
            f"use --positions {told.positions}."
        )


def _misfits(record: SaeRecord, origin: Origin, told: Recorded) -> Iterator[str]:
    """Sentences about measured figures that do not fit what the files say."""
    measured = record.report.held_out
    if record.origin is not None and record.origin != origin:
        yield f"The same SAE was imported before, from {record.origin.name} ({record.origin.format}); it is kept."
    doubt = "it may be of another model, layer or data"
    if told.classifier_hash not in (None, record.config.classifier_hash):
        yield f"The SAE was made for classifier {told.classifier_hash}, not for {record.config.classifier_hash}."
    if told.l0 is not None and abs(measured.l0 - told.l0) > _MISFIT * told.l0:
        yield f"L0 is {measured.l0:.1f} on held-out headlines, but the SAE's files say {told.l0:.1f}; {doubt}."
    if told.fvu is not None and abs(measured.fvu - told.fvu) > max(0.05, _MISFIT * told.fvu):
        yield f"FVU is {measured.fvu:.3f} on held-out headlines, but the SAE's files say {told.fvu:.3f}; {doubt}."
    elif measured.fvu >= 1:
        yield f"FVU is {measured.fvu:.2f}: the mean reconstructs better than this SAE; {doubt}."
