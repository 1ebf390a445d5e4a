"""What a study has: its classifier, headlines and SAEs, found and checked."""

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import orjson
import torch

from sae_pipeline.activations.extraction import Extraction
from sae_pipeline.artefacts.checksums import (
    MissingError,
    check_files,
    check_sealed,
    file_hash,
    file_sums,
    passing_over_damage,
    write_record,
)
from sae_pipeline.artefacts.writing import publish
from sae_pipeline.classifier import classifier as classifiers
from sae_pipeline.classifier.adoption import own_labels
from sae_pipeline.classifier.classifier import Classifier, ClassifierRecord
from sae_pipeline.classifier.support import check_first_position
from sae_pipeline.config import ExtractConfig, StudyConfig
from sae_pipeline.errors import DamageError, UserError, command
from sae_pipeline.evaluation.held_out import HeldOut
from sae_pipeline.headlines.dataset import Headlines, Split, load_headlines
from sae_pipeline.headlines.extra import ExtraText, read_extra
from sae_pipeline.kernels import choose as choose_kernels
from sae_pipeline.runs.folders import list_runs
from sae_pipeline.runs.run_files import ADDED_BY
from sae_pipeline.sae.autoencoder import SparseAutoencoder, size_name
from sae_pipeline.schema.common import PROMPTS
from sae_pipeline.schema.kinds import listed
from sae_pipeline.schema.names import NAMES
from sae_pipeline.schema.run import RunMetadata
from sae_pipeline.study.layout import (
    SAE,
    SAE_RECORD,
    Layout,
    SaeRecord,
    aliased_saes,
    check_sae,
    check_sae_record,
    classifier_folder,
    classifier_folders,
    damaged_sae,
    present_classifier,
    sae_folders,
)
from sae_pipeline.study.places import located, located_file, recorded_file


def load_classifier(root: str | Path = ".", device: str | torch.device = "cpu") -> Classifier:
    """The newest classifier of the study in the folder `root`. Raises UserError when there is none."""
    return classifiers.load_classifier(classifier_folder(Path(root)), torch.device(device))


def extraction_of(config: ExtractConfig, root: Path, device: torch.device) -> Extraction:
    """The present classifier and its training headlines, ready to extract.

    Raises UserError for the positions `cls` where the classifier's head does not read the first token.
    """
    classifier = load_classifier(root, device)
    if config.positions == "cls":
        check_first_position(classifier.model, classifier.tokenizer)
    headlines, extra = same_headlines(root), extra_text(config, root)
    return Extraction(
        classifier.model,
        classifier.tokenize([*headlines.train.texts, *(extra.texts if extra else [])]),
        classifier.tokenizer.pad_token_id,
        config.model_copy(update={"extra_text": recorded_file(config.extra_text, root)}),
        classifier.hash,
        classifier.record.data_hash,
        extra.record if extra else None,
    )


def extra_text(config: ExtractConfig, root: Path) -> ExtraText | None:
    """The extra text of an extraction; None where it names none. Raises UserError when it cannot be read."""
    if config.extra_text is None:
        return None
    headlines = same_headlines(root)
    return read_extra(located_file(config.extra_text, root), headlines, present_classifier(root).headlines.text_column)


def chosen_layers(study: StudyConfig, root: Path) -> tuple[int, ...]:
    """The layers that --layers names, in ascending order; the one of --layer where it names none.

    Raises UserError for layers that the present classifier does not have.
    """
    if not study.layers.layers:
        return (study.extract.layer,)
    return study.layers.numbers(classifiers.classifier_record(classifier_folder(root)).n_layers)


def same_headlines(root: Path) -> Headlines:
    """The headlines that the present classifier was fine-tuned or adopted with.

    Where they have no labels, their labels are the classifier's predictions. Raises UserError when their source has
    changed since.
    """
    present, folder = present_classifier(root), classifier_folder(root)
    record = classifiers.classifier_record(folder)
    is_adopted = record.finetune is None
    headlines = load_headlines(located(present.headlines, root), record.labels if is_adopted else ())
    if headlines.data_hash != record.data_hash:
        raise UserError(
            f"The headlines in {present.headlines.source} have changed since the classifier was made; "
            f"run `{command('adopt' if is_adopted else 'finetune')}` again."
        )
    return headlines if record.labelled else headlines.with_labels(own_labels(folder))


def headlines_of(record: ClassifierRecord, root: Path) -> Headlines:
    """The headlines that a classifier of the study was made with. Raises UserError when the study has others now."""
    headlines = same_headlines(root)
    if headlines.data_hash != record.data_hash:
        raise UserError(
            f"Classifier {record.name} was made with other headlines than the study has now; make it present again by "
            f"`{command('adopt' if record.finetune is None else 'finetune')}` with its settings."
        )
    return headlines


def publish_sae(layout: Layout, whole: Path, sae: SparseAutoencoder, record: SaeRecord) -> Path:
    """Write an SAE and its record into the folder `whole` and move it into the store. Returns the new folder."""
    sae.save(whole / SAE)
    files = file_sums(whole, [SAE])
    write_record(whole / SAE_RECORD, record.model_copy(update={"files": files}))
    return publish(whole, layout.store / file_hash(whole / SAE), check_sae)


def find_sae(layout: Layout, inputs_hash: str) -> Path | None:
    """The folder of the SAE that was made from these inputs, if there is one; a damaged one is none."""
    for folder in sae_folders(layout):
        with passing_over_damage(folder):
            if check_sae_record(folder).inputs_hash == inputs_hash:
                check_sae(folder)
                return folder
    return None


def find_classifier(layout: Layout, inputs_hash: str) -> Path | None:
    """The folder of the classifier that was made from these inputs, if there is one; a damaged one is none."""
    for folder in classifier_folders(layout):
        with passing_over_damage(folder):
            if classifiers.check_record(folder).inputs_hash == inputs_hash:
                classifiers.check_classifier(folder)
                return folder
    return None


def held_out(root: Path, layer: int, device: torch.device) -> HeldOut:
    """The judge of the present classifier's SAEs: the test split, read once up to the layer."""
    split = same_headlines(root).test
    return HeldOut.read(load_classifier(root, device), "test", split.texts, split.labels, layer)


def kernel_backend(device: torch.device) -> str:
    """The name of the kernels that encode on this device."""
    kernels = choose_kernels(device=device)
    return "reference" if kernels is None else kernels.name


def check_fit(sae: SparseAutoencoder, classifier: Classifier, path: Path) -> None:
    """Raise UserError unless the SAE that was read from `path` belongs to the classifier."""
    if sae.config.classifier_hash != classifier.hash:
        raise UserError(
            f"{path} was trained on classifier {sae.config.classifier_hash}, not on the present one "
            f"({classifier.hash}); run `{command('train')}` again."
        )
    if sae.config.d_in != classifier.record.d_model:
        raise UserError(
            f"{path} expects activations of width {sae.config.d_in}, the classifier has {classifier.record.d_model}; "
            f"run `{command('train')}` again."
        )


def run_parts(root: Path, metadata: RunMetadata, device: torch.device) -> tuple[Classifier, SparseAutoencoder]:
    """The classifier and the SAE that a run was made with. Raises UserError when they are gone or have changed."""
    store = Layout(root).store
    for folder, check in (
        (store / metadata.classifier_hash, classifiers.check_classifier),
        (store / metadata.sae_hash, check_sae),
    ):
        try:
            check(folder)
        except DamageError as error:
            if not folder.exists():
                raise UserError(f"{metadata.run_id} was made with {folder}, which is gone; analyse again.") from error
            raise UserError(
                f"{metadata.run_id} was made with {folder}, which is damaged: {error}; "
                "make it again with the same settings, or analyse again."
            ) from error
    classifier = classifiers.load_classifier(store / metadata.classifier_hash, device)
    path = store / metadata.sae_hash / SAE
    sae = SparseAutoencoder.load(path, device)
    check_fit(sae, classifier, path)
    return classifier, sae


def stored_sae(folder: Path, device: torch.device) -> SparseAutoencoder:
    """The SAE in a folder of the store. Raises UserError when it is damaged."""
    try:
        check_sae(folder)
    except DamageError as error:
        raise damaged_sae(folder, error) from error
    return SparseAutoencoder.load(folder / SAE, device)


def load_sae(
    root: Path, layer: int, size: str | None, device: torch.device, classifier: Classifier | None = None
) -> tuple[SparseAutoencoder, SaeRecord, str]:
    """The newest SAE of a size, with its record and its hash; without a size, of the one that was trained last.

    Raises UserError when there is none, when it is damaged, and when it does not belong to `classifier`.
    """
    layout = Layout(root)
    path = layout.sae_alias(layer, size or trained_size(root, layer))
    sae = SparseAutoencoder.load(path, device)
    if classifier is not None:
        check_fit(sae, classifier, path)
    sae_hash = file_hash(path)
    try:
        record = check_sae_record(layout.store / sae_hash)
        if record.config != sae.config:
            raise DamageError(f"{SAE_RECORD} belongs to another SAE")
        return sae, record, sae_hash
    except MissingError as error:
        raise UserError(
            f"{path} is not an SAE of this study: {layout.store} has none with its hash ({sae_hash}); "
            f"`{command('train')}` makes it again."
        ) from error
    except DamageError as error:
        raise damaged_sae(layout.store / sae_hash, error) from error


def trained_size(root: Path, layer: int) -> str:
    """The size of a layer's SAE that was trained last; the layer's largest where that is not known.

    Raises UserError when the layer has no SAE of the present classifier.
    """
    layout, present = Layout(root), present_classifier(root)
    if present.sae_size is not None and layout.sae_alias(layer, present.sae_size).is_file():
        return present.sae_size
    saes = aliased_saes(layout, present.classifier_hash, layer)
    if not saes:
        raise UserError(f"There is no SAE of layer {layer}; run `{command('train')}`.")
    return max(saes, key=lambda size: (saes[size].finish is None, saes[size].config.d_sae))


def with_size(study: StudyConfig, root: Path) -> StudyConfig:
    """A study whose analysis names its SAE; see `trained_size`."""
    size = study.analyze.sae_size or trained_size(root, study.extract.layer)
    return study.model_copy(update={"analyze": study.analyze.model_copy(update={"sae_size": size})})


def saes_of_layers(
    layout: Layout, classifier_hash: str, layers: Sequence[int], size: str | None
) -> dict[int, SaeRecord]:
    """The newest SAE of a size at each of `layers` that has one; without a size, of the one that most of them have.

    Raises UserError when a size is named that none of them has.
    """
    found = {layer: aliased_saes(layout, classifier_hash, layer) for layer in layers}
    sizes = Counter(name for saes in found.values() for name in saes)
    if size is None and sizes:
        size = max(sizes, key=lambda name: sizes[name])  # the first, and so the smallest, of those that as many have
    elif size is not None and size not in sizes:
        have = f"; they have {listed(sizes, 'and')}" if sizes else ""
        train = f"{command('train')} --layers {','.join(map(str, layers))}"
        raise UserError(f"None of these layers has a {size} SAE{have}; `{train}` trains some.")
    return {layer: saes[size] for layer, saes in found.items() if size in saes}


def equal_run(study: StudyConfig, root: Path) -> Path | None:
    """The newest run that was made with the present SAE and these settings, if there is one.

    A damaged one is none, and neither is one that an earlier version made without names for its features.
    """
    layout = Layout(root)
    try:
        study = with_size(study, root)
    except UserError:  # there is no SAE yet
        return None
    path = layout.sae_alias(study.extract.layer, str(study.analyze.sae_size))
    if not path.is_file():
        return None
    wanted = (file_hash(path), study.analyze.model_dump())
    split = same_headlines(root).test.first(study.analyze.max_samples)
    for entry in list_runs(layout.runs):
        found = entry.metadata
        if found is None or NAMES not in found.files:
            continue
        if (found.sae_hash, found.configs.get("analyze")) == wanted:
            with suppress(DamageError):
                check_files(entry.folder, found.files)
                if _has_columns(entry.folder, found, split):
                    return entry.folder
    return None


def has_added(run: Path, verb: str) -> bool:
    """Whether a run has what a verb adds to it, whole, with whatever settings it was made."""
    try:
        for name, by in ADDED_BY.items():
            if by == verb:
                check_sealed(run / name)
    except DamageError:
        return False
    return True


def _has_columns(run: Path, metadata: RunMetadata, split: Split) -> bool:
    """Whether a run has the cells that the table's other columns have now; texts and labels are those of `split`."""
    if metadata.columns != list(split.columns):
        return False
    if not split.columns:
        return True
    with (run / PROMPTS).open("rb") as lines:
        stored = [orjson.loads(line)["columns"] for line in lines]
    return stored == [
        dict(zip(split.columns, cells, strict=True)) for cells in zip(*split.columns.values(), strict=True)
    ]


def check_sae_size(study: StudyConfig, root: Path) -> None:
    """Raise UserError when the analysis of a study wants an SAE that is neither trained nor to be trained."""
    wanted = study.analyze.sae_size
    if wanted is None or Layout(root).sae_alias(study.extract.layer, wanted).is_file():
        return
    sizes = [size_name(d_sae, study.extract.positions) for d_sae in study.train.latent_dims]
    if wanted not in sizes:
        way_out = f"choose --sae-size from {', '.join(sizes)}" if sizes else "name its size by --latent-dims too"
        raise UserError(f"No {wanted} SAE is to be trained; {way_out}.")
