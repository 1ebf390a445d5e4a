"""The verbs that judge SAEs beyond their report: evidence (controls, probing, stability), finish, family."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification

from . import controls, pipeline
from . import end_to_end as ends
from .activations import read_activations
from .artefacts import alias, file_hash, settings_hash, write_json
from .batches import HeldTokens
from .checkpoints import unfinished
from .classifier import Classifier
from .config import EvidenceConfig, FamilyConfig, FinishConfig
from .errors import UserError
from .evaluation import HeldOut, code_quality
from .family import match_features, stability
from .headlines import Split
from .kernels import Lists
from .layout import Layout, SaeRecord, read_sae_record, record_size
from .runs import find_run, read_run
from .sae import SparseAutoencoder
from .schema.common import SCHEMA_VERSION, PositionKind
from .schema.evidence import FAMILY, Control, EvidenceFile, FamilyFile, FamilyMember
from .store import open_store
from .training import Job, train_saes

_CHUNK = 4096  # tokens


def present_sae(root: Path, layer: int, size: str, device: torch.device) -> tuple[SparseAutoencoder, SaeRecord, str]:
    """The newest SAE of a size: weights, record, hash. Raises UserError when there is none."""
    layout = Layout(root)
    path = layout.sae_alias(layer, size)
    sae = SparseAutoencoder.load(path, device)
    sae_hash = file_hash(path)
    return sae, read_sae_record(layout.store / sae_hash), sae_hash


# --- finish --------------------------------------------------------------------------------------------


def finish(config: FinishConfig, layer: int, root: Path, device: torch.device) -> SaeRecord:
    """Finish an SAE end to end, evaluate it, alias it as `layer_<L>_<size>-e2e.pt`; an equal one is reused."""
    layout = Layout(root)
    _, record, sae_hash = present_sae(root, layer, config.sae_size, device)
    if record.finish is not None:
        raise UserError(f"{config.sae_size} is finished already; name the SAE it was made from.")
    folder = finish_folder(config, layout.store / sae_hash, root, device)
    made = read_sae_record(folder)
    alias(folder / "sae.pt", layout.sae_alias(layer, record_size(made)))
    return made


def finish_folder(config: FinishConfig, folder: Path, root: Path, device: torch.device) -> Path:
    """The same for an SAE in the store, without the alias: the finished one's folder."""
    layout, record = Layout(root), read_sae_record(folder)
    inputs = settings_hash(folder.name, config.model_copy(update={"sae_size": record_size(record)}).model_dump())
    found = pipeline.find_sae(layout, inputs)
    if found is not None:
        return found
    tokens = open_store(layout.activations / record.activations)  # an SAE that was trained from a stream has none
    sae, texts = SparseAutoencoder.load(folder / "sae.pt", device), pipeline.same_headlines(root).train.texts
    done, seconds = ends.finish(sae, pipeline.load_classifier(root, device), texts, config)
    judge = pipeline.held_out(root, sae.config.hookpoint.layer, device)
    report = judge.report(done, tokens, seconds, config.epochs * tokens.n_tokens / seconds)
    update = {"inputs_hash": inputs, "report": report, "finish": config}
    with unfinished(layout.checkpoints, "finish", inputs) as work:
        return pipeline.publish_sae(layout, work.folder / "sae", done, record.model_copy(update=update))


# --- evidence ------------------------------------------------------------------------------------------


def evidence(config: EvidenceConfig, layer: int, root: Path, device: torch.device) -> EvidenceFile:
    """Hold an SAE against controls and against its own other seeds; write `finbert_sae/evidence/<sae_hash>.json`."""
    started = time.perf_counter()
    layout = Layout(root)
    sae, record, sae_hash = present_sae(root, layer, config.sae_size, device)
    saes = [sae if seed == record.train.seed else _other_seed(record, seed, root, device) for seed in config.seeds]
    judge = pipeline.held_out(root, layer, device)
    classifier, headlines = pipeline.load_classifier(root, device), pipeline.same_headlines(root)
    bench = _Bench(classifier, judge, headlines.train, headlines.test, sae.config.positions, config.probe_sizes)
    train = bench.read(classifier, headlines.train)
    test = bench.read(classifier, headlines.test)
    k = max(1, round(record.report.held_out.l0))
    rivals = {
        "sae": sae,
        "pca": controls.pca(train[0], sae, min(k, sae.config.d_in)),
        "neurons": controls.neurons(sae, k),
    }
    found = [bench.control(name, rival, train, test, spliced=True) for name, rival in rivals.items()]
    found.append(bench.random_model(sae, record))
    acts = judge.acts("words")
    file = EvidenceFile(
        schema_version=SCHEMA_VERSION,
        sae_hash=sae_hash,
        size=record_size(record),
        seconds=round(time.perf_counter() - started, 2),
        controls=found,
        stability=stability(config.seeds, [s.W_dec for s in saes], [live(s, acts) for s in saes]),
    )
    write_json(layout.evidence(sae_hash), file.model_dump())
    return file


def _other_seed(record: SaeRecord, seed: int, root: Path, device: torch.device) -> SparseAutoencoder:
    extraction = open_store(Layout(root).activations / record.activations).manifest.extract
    config = record.train.model_copy(update={"seed": seed})
    folder = pipeline.train_folders(extraction, [config], root, device)[0]
    if record.finish is not None:
        folder = finish_folder(record.finish, folder, root, device)
    return SparseAutoencoder.load(folder / "sae.pt", device)


@torch.no_grad()
def live(sae: SparseAutoencoder, acts: Tensor) -> Tensor:
    """bool [d_sae]: which features fire on acts [n, d_in]."""
    fired = torch.zeros(sae.config.d_sae, dtype=torch.bool, device=sae.W_dec.device)
    for chunk in acts.split(_CHUNK):
        fired[sae.encode_lists(chunk.float()).cols.long()] = True
    return fired


class _Bench:
    """The same judgement for the SAE and for every control."""

    def __init__(
        self, classifier: Classifier, judge: HeldOut, train: Split, test: Split, positions: PositionKind,
        probe_sizes: Sequence[int],
    ) -> None:  # fmt: skip
        self.classifier, self.judge, self.train, self.test = classifier, judge, train, test
        self.positions, self.probe_sizes = positions, probe_sizes

    def read(self, classifier: Classifier, split: Split) -> tuple[Tensor, Tensor]:
        """Activations [n_tokens, d_in] at the counted positions and every token's headline [n_tokens]."""
        parts = list(
            read_activations(
                classifier.model, classifier.tokenize(split.texts), classifier.tokenizer.pad_token_id,
                self.judge.layer, self.positions, precision="auto",
            )
        )  # fmt: skip
        return torch.cat([p.acts for p in parts]), torch.cat([p.headlines for p in parts])

    def control(
        self, name: Any, sae: SparseAutoencoder, train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor],
        spliced: bool,
    ) -> Control:  # fmt: skip
        """Code quality on test, predictions where they can be compared, and probes."""
        maxima = [
            controls.headline_maxima(sae, *part, len(split)) for part, split in ((train, self.train), (test, self.test))
        ]
        return Control(
            name=name,
            code=code_quality(sae, "test", test[0].split(_CHUNK), len(test[0])),
            spliced=self.judge.splice_report(sae, "words") if spliced else None,
            probing=controls.probe_scores(maxima[0], self.train.labels, maxima[1], self.test.labels, self.probe_sizes),
        )

    def random_model(self, sae: SparseAutoencoder, record: SaeRecord) -> Control:
        """An SAE trained in the same way on the same layer of the same network with random weights."""
        device = sae.W_dec.device
        torch.manual_seed(record.train.seed)
        network: Any = AutoModelForSequenceClassification.from_config(self.classifier.model.config).to(device).eval()
        blank = replace(self.classifier, model=network)
        train, test = self.read(blank, self.train), self.read(blank, self.test)
        mean = train[0].mean(0)
        scale = (train[0] - mean).square().mean().sqrt()
        template = sae.config.model_copy(update={"classifier_hash": "random"})
        (trained,) = train_saes(
            HeldTokens(train[0]), mean, scale, [Job("random model", template, record.train)], device
        )
        return self.control("random model", trained.sae, train, test, spliced=False)


# --- family --------------------------------------------------------------------------------------------


def family(config: FamilyConfig, root: Path, device: torch.device) -> FamilyFile:
    """Write `family.json` into a run's folder: its SAE's features in the other sizes and seeds.

    Raises UserError when there is no other SAE on the same activations.
    """
    layout = Layout(root)
    run = read_run(find_run(layout.runs, config.run))
    classifier, sae = pipeline.run_parts(root, run.metadata, device)
    own = read_sae_record(layout.store / run.metadata.sae_hash)
    relatives = {f: r for f, r in _relatives(layout, own) if f.name != run.metadata.sae_hash}
    if not relatives:
        raise UserError("There is no other SAE on the same activations; train other sizes or seeds first.")
    tokenized = classifier.tokenize([prompt.text for prompt in run.prompts])
    pad_id, place = classifier.tokenizer.pad_token_id, sae.config.hookpoint.layer
    acts = torch.cat(
        [b.acts for b in read_activations(classifier.model, tokenized, pad_id, place, sae.config.positions)]
    )
    own_lists = _lists(sae, acts)
    members, matches = [], []
    for folder, record in relatives.items():
        other = SparseAutoencoder.load(folder / "sae.pt", device)
        matches.append(match_features(sae.W_dec, other.W_dec, own_lists, _lists(other, acts)))
        members.append(
            FamilyMember(
                size=record_size(record), sae_hash=folder.name, seed=record.train.seed, kind=record.config.kind
            )
        )
    file = FamilyFile(
        schema_version=SCHEMA_VERSION,
        sae_hash=run.metadata.sae_hash,
        d_sae=sae.config.d_sae,
        n_tokens=len(acts),
        members=members,
        matches=matches,
    )
    write_json(run.folder / FAMILY, file.model_dump())
    return file


def _relatives(layout: Layout, own: SaeRecord) -> Iterator[tuple[Path, SaeRecord]]:
    """SAEs trained like `own` but for size and seed, and finished ones of them; smallest first."""
    free = {"latent_dims": (1,), "seed": 0}
    found = []
    for path in layout.store.glob("*/sae.json"):
        record = read_sae_record(path.parent)
        same = record.train.model_copy(update=free) == own.train.model_copy(update=free)
        if same and record.activations == own.activations and record.finish in (None, own.finish):
            found.append((path.parent, record))
    yield from sorted(found, key=lambda pair: (pair[1].config.d_sae, pair[1].train.seed, pair[0].name))


def _lists(sae: SparseAutoencoder, acts: Tensor) -> Lists:
    return sae.encode_lists(acts.float())
