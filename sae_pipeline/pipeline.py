"""The study, verb by verb: finetune (or adopt) → extract → train → analyze → intervene. Artefact in, artefact out.

Each verb reads what the one before it wrote under `root` and reuses its own output when nothing that it depends on has
changed. `root` holds `finbert_sae/` (classifier, activations, SAEs) and `analysis_data/` (runs). The verbs about how
good an SAE is stand in `quality`.
"""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from tqdm.auto import tqdm

from sae_pipeline.activations.store import ActivationStore
from sae_pipeline.analysis.analyze import analyze_headlines
from sae_pipeline.analysis.feature_map import feature_map
from sae_pipeline.analysis.meaning import make_meaning
from sae_pipeline.analysis.metrics import FEATURE_METRICS, ClassMetric, Metric, metrics_of
from sae_pipeline.artefacts.checkpoints import discard
from sae_pipeline.artefacts.checksums import fields_of, write_record
from sae_pipeline.artefacts.writing import alias
from sae_pipeline.causal.files import write_findings
from sae_pipeline.causal.gather import gather, hardest
from sae_pipeline.causal.probe import Probe
from sae_pipeline.causal.word_effects import WordAttributions
from sae_pipeline.classifier import adoption, finetuning
from sae_pipeline.classifier import classifier as classifiers
from sae_pipeline.classifier.classifier import ClassifierRecord
from sae_pipeline.classifier.pretrained import recorded_model
from sae_pipeline.classifier.sentences import SentenceEncoder
from sae_pipeline.config import ExtractConfig, InterveneConfig, MapConfig, StudyConfig, SweepConfig, TrainConfig
from sae_pipeline.errors import DamageError, NoEncoderError, UserError, command
from sae_pipeline.headlines.dataset import load_headlines
from sae_pipeline.headlines.labels import given_names
from sae_pipeline.machine.memory import readable_memory_errors
from sae_pipeline.machine.processes import ONE_PROCESS, Ranks
from sae_pipeline.runs.added_files import add_file
from sae_pipeline.runs.drafts import RunPart, new_run
from sae_pipeline.runs.fit import RunShape
from sae_pipeline.runs.folders import find_run, read_run
from sae_pipeline.runs.index import index_new_run, index_run
from sae_pipeline.sae.autoencoder import size_name
from sae_pipeline.schema.causes import InterventionsFile
from sae_pipeline.schema.map import MAP, MapFile
from sae_pipeline.scoring.record import ScoreRecord
from sae_pipeline.scoring.score import score_table
from sae_pipeline.scoring.source import Source
from sae_pipeline.study import present
from sae_pipeline.study.layout import (
    SAE,
    Layout,
    PresentClassifier,
    SaeRecord,
    read_sae_record,
    remember_layer,
    remember_size,
)
from sae_pipeline.study.making import ensure_layers, ensure_saes
from sae_pipeline.study.places import recorded, remember
from sae_pipeline.study.provenance import provenance
from sae_pipeline.study.seals import closed_keys, keep_sealed
from sae_pipeline.tracking import Tracking, no_tracking


@readable_memory_errors("fine-tuning")
def finetune(
    study: StudyConfig, root: Path, device: torch.device, tracking: Tracking = no_tracking
) -> ClassifierRecord:
    """Fine-tune the classifier, or reuse the one that was made from the same headlines and settings."""
    layout, study = Layout(root), _with_names(study)
    headlines = load_headlines(study.headlines)
    keep_sealed(layout, headlines)
    for line in headlines.report.lines():
        tqdm.write(line)
    inputs_hash = classifiers.inputs_hash(headlines, study.headlines, study.finetune)
    folder = present.find_classifier(layout, inputs_hash)
    data = recorded(study.headlines, root)
    if folder is None:
        settings = study.finetune.model_copy(update={"model": recorded_model(study.finetune.model)})
        log = tracking(f"classifier-{inputs_hash}", settings.model_dump(mode="json"))
        folder = finetuning.finetune(headlines, data, study.finetune, layout.store, layout.checkpoints, device, log)
    discard(layout.checkpoints, inputs_hash)
    return _made_present(folder, study, root)


@readable_memory_errors("the classifier")
def adopt(study: StudyConfig, root: Path, device: torch.device) -> ClassifierRecord:
    """Take a fine-tuned classifier as it is, or reuse the one that was taken with the same headlines.

    Its weights are copied unchanged, and it is scored where the headlines have labels.
    """
    layout, study = Layout(root), _with_names(study)
    pretrained = adoption.load_adopted(study.adopt.model, study.headlines.label_names)
    headlines = load_headlines(study.headlines, pretrained.labels)
    keep_sealed(layout, headlines)
    for line in headlines.report.lines():
        tqdm.write(line)
    inputs_hash = classifiers.inputs_hash(headlines, study.headlines, study.adopt)
    folder = present.find_classifier(layout, inputs_hash)
    if folder is None:
        data = recorded(study.headlines, root)
        folder = adoption.adopt(pretrained, headlines, data, study.adopt, layout.store, layout.checkpoints, device)
    discard(layout.checkpoints, inputs_hash)
    return _made_present(folder, study, root)


def _with_names(study: StudyConfig) -> StudyConfig:
    """A study whose `label_names` are names and no file, so that its records need no such file."""
    names = given_names(study.headlines.label_names)
    return study.model_copy(update={"headlines": study.headlines.model_copy(update={"label_names": names})})


def _made_present(folder: Path, study: StudyConfig, root: Path) -> ClassifierRecord:
    """Make a classifier of the store the one that the later verbs work on."""
    layout, record = Layout(root), classifiers.classifier_record(folder)
    before = fields_of(layout.classifier_alias)
    is_same = before.get("classifier_hash") == folder.name and isinstance(before.get("layer"), int)
    newest = PresentClassifier(
        classifier_hash=folder.name,
        preset=study.preset,
        headlines=recorded(study.headlines, root),
        layer=before["layer"] if is_same else None,
        sae_size=before.get("sae_size") if is_same else None,
    )
    remember(study.headlines, root)
    write_record(layout.classifier_alias, newest)
    return record


def extract(config: ExtractConfig, root: Path, device: torch.device, ranks: Ranks = ONE_PROCESS) -> ActivationStore:
    """Write the layer's activations over the training headlines, or reuse the store that was made from the same."""
    return extract_layers(config, (config.layer,), root, device, ranks)[0]


@readable_memory_errors("extracting activations")
def extract_layers(
    config: ExtractConfig, layers: Sequence[int], root: Path, device: torch.device, ranks: Ranks = ONE_PROCESS
) -> list[ActivationStore]:
    """The stores of several layers, in their order. The classifier reads once for all that are missing.

    The study's layer is then `config.layer` if it is among them, else the last one. Raises UserError for layers that
    do not exist.
    """
    stores = ensure_layers(config, layers, root, device, ranks)
    if ranks.first:
        remember_layer(root, config.layer if config.layer in layers else layers[-1])
    return stores


@readable_memory_errors("training and judging these SAEs")
def train(
    extraction: ExtractConfig,
    config: TrainConfig,
    root: Path,
    device: torch.device,
    ranks: Ranks = ONE_PROCESS,
    tracking: Tracking = no_tracking,
) -> dict[str, SaeRecord]:
    """Train and evaluate the SAEs that are missing; alias all as `finbert_sae/layer_<L>_<size>.pt`.

    Returns the records by size name, in the order of `latent_dims`. Rank 0 calls it, the other ranks `join_training`;
    they share each step and read one activation store, so all must see `root`.
    """
    records = _train(extraction, config, root, device, ranks, tracking)
    remember_layer(root, extraction.layer)
    return records


def _train(
    extraction: ExtractConfig, config: TrainConfig, root: Path, device: torch.device, ranks: Ranks, tracking: Tracking
) -> dict[str, SaeRecord]:
    records = {}
    for folder in ensure_saes(extraction, [config], root, device, ranks, tracking):
        record = read_sae_record(folder)
        size = size_name(record.config.d_sae, record.config.positions)
        alias(folder / SAE, Layout(root).sae_alias(record.config.hookpoint.layer, size))
        records[size] = record
    remember_size(root, list(records)[-1])
    return records


@readable_memory_errors("training and judging these SAEs")
def train_layers(
    extraction: ExtractConfig,
    layers: Sequence[int],
    config: TrainConfig,
    root: Path,
    device: torch.device,
    ranks: Ranks = ONE_PROCESS,
    tracking: Tracking = no_tracking,
) -> dict[int, dict[str, SaeRecord]]:
    """Train the SAEs of several layers, one layer after the other; see `train` and `extract_layers`.

    Returns the records by layer and size name. The activations of all layers are read in one pass first; from a stream
    each layer reads the classifier by itself. Rank 0 calls it, the other ranks `join_training` for each layer. The
    study's layer changes when all are trained, so that a command that was killed goes on as it began.
    """
    if not config.stream:
        ensure_layers(extraction, layers, root, device)
    records = {}
    for layer in layers:
        at_layer = extraction.model_copy(update={"layer": layer})
        records[layer] = _train(at_layer, config, root, device, ranks, tracking)
    remember_layer(root, extraction.layer if extraction.layer in layers else layers[-1])
    return records


@readable_memory_errors("training and judging these SAEs")
def sweep(
    extraction: ExtractConfig,
    config: TrainConfig,
    over: SweepConfig,
    root: Path,
    device: torch.device,
    tracking: Tracking = no_tracking,
) -> list[SaeRecord]:
    """Train every size at every setting of a sweep, from one reading of the activations.

    The SAEs are kept in the store and not aliased. A setting that any command has trained before is reused.
    """
    folders = ensure_saes(extraction, over.settings(config), root, device, tracking=tracking)
    return [read_sae_record(folder) for folder in folders]


@readable_memory_errors("the analysis")
def analyze(
    study: StudyConfig,
    root: Path,
    device: torch.device,
    metrics: Sequence[Metric | ClassMetric] = FEATURE_METRICS,
    ranks: Ranks = ONE_PROCESS,
) -> Path:
    """Read the test headlines through classifier and SAE and write a run. Returns the run's folder, on every rank.

    Raises UserError when the SAE is missing or belongs to another classifier, and when the run contradicts itself.
    """
    layout, study = Layout(root), present.with_size(study, root)
    config, classifier = study.analyze, present.load_classifier(root, device)
    sae, record, sae_hash = present.load_sae(root, study.extract.layer, config.sae_size, device, classifier)
    split = present.same_headlines(root).test.first(config.max_samples)
    of_run = metrics_of(metrics, classifier.record.labels)
    parts = (classifier, sae, split, config, of_run)
    neighbours = layout.store / sae_hash / "neighbours.safetensors"
    if not ranks.first:
        with TemporaryDirectory() as folder:
            analyze_headlines(*parts, RunPart(Path(folder)), neighbours, ranks)
        return ranks.broadcast(Path())
    made_of = provenance(study, classifier, sae.config, record, layout, list(split.columns))
    with new_run(layout.runs, {"classifier_hash": classifier.hash, "sae_hash": sae_hash}) as draft:
        if ranks.size == 1:  # several processes write their records apart
            draft.index_headlines(RunShape(made_of["labels"], made_of["columns"], made_of["labelled"], made_of["sae"]))
        totals = analyze_headlines(*parts, draft, neighbours, ranks)
        assert totals is not None
        run = draft.finish(
            {
                **made_of,
                "device": str(device),
                "backend": present.kernel_backend(sae.W_dec.device),
                "dtype": "fp32",
                "processes": ranks.size,
                "metrics": [metric.info(sae.config.positions) for metric in of_run],
                "totals": totals,
            }
        )
    index_new_run(run, draft.index)
    return ranks.broadcast(run)


@readable_memory_errors("scoring")
def score(study: StudyConfig, root: Path, device: torch.device, ranks: Ranks = ONE_PROCESS) -> ScoreRecord:
    """Read a table through classifier and SAE and write it again, with predictions and features, into a folder.

    Equal scores that the folder holds are kept. Raises UserError when the table or the SAE cannot be read.
    """
    config = study.score
    source = Source.open(config, closed_keys(Layout(root)))
    classifier = present.load_classifier(root, device)
    sae, _, sae_hash = present.load_sae(root, study.extract.layer, config.sae_size, device, classifier)
    return score_table(source, classifier, sae, sae_hash, config, ranks)


@readable_memory_errors("interventions")
def intervene(config: InterveneConfig, root: Path, device: torch.device) -> InterventionsFile:
    """Gather causal findings about a run and write them into its folder; its other files are only read.

    Raises UserError when the run, its classifier or its SAE cannot be read.
    """
    run = read_run(find_run(Layout(root).runs, config.run))
    classifier, sae = present.run_parts(root, run.metadata, device)
    for feature in config.ablate:
        if feature >= sae.config.d_sae:
            raise UserError(f"There is no feature {feature}; this SAE has features 0 to {sae.config.d_sae - 1}.")
    numbers = hardest(run.prompts, config.max_headlines)
    prompts = [run.prompts[number] for number in numbers]
    probe = Probe.of(classifier.model, sae, classifier.tokenizer.pad_token_id, config.tokens_per_batch)
    in_words, in_pairs = (set(hardest(prompts, n)) for n in (config.word_headlines, config.interaction_headlines))
    findings = gather(
        probe,
        classifier.tokenize([prompt.text for prompt in prompts]),
        [prompt.label for prompt in prompts],
        numbers,
        [prompt.headline_id for prompt in prompts],
        run.metadata.labels,
        config,
        WordAttributions(probe, classifier.tokenizer, in_words, config.steps),
        in_pairs,
    )
    file = write_findings(run, sae.config.d_sae, findings)
    index_run(run.folder)
    return file


def map_features(config: MapConfig, root: Path) -> MapFile:
    """Place a run's live features in the plane and write `map.json` into its folder; its other files are only read.

    The regions are named with the sentence encoder, where it is installed. Raises UserError when the run cannot be
    read.
    """
    run = read_run(find_run(Layout(root).runs, config.run))
    meaning = encoder = None
    try:
        encoder = SentenceEncoder()
        with tqdm(total=len(run.prompts), desc="sentences", unit="headline", delay=1, leave=False) as bar:
            meaning = make_meaning(run.folder, encoder, progress=lambda done, _: bar.update(done - bar.n))
    except NoEncoderError as error:
        tqdm.write(f"The regions are named by counts of words alone. {error}")
    try:
        file = feature_map(run, config.seed, meaning, encoder)
    except DamageError as error:
        again = f"run `{command('analyze')}` for a new run"
        raise UserError(f"The decoder rows of {run.folder.name} are missing or damaged: {error}; {again}.") from error
    add_file(run, MAP, file.model_dump_json().encode())
    index_run(run.folder)
    return file
