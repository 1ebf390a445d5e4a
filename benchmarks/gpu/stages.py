"""The parts of gpu_check.py that check the stages of a study. Each starts from what study.py made on the CPU."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.differences import BF16, FP16, FP32, RECORDS, TRAINED, compare_records, compare_tensors
from benchmarks.gpu.parts import ROOT, Bench
from benchmarks.gpu.study import CPU, finbert, plan, start
from sae_pipeline import pipeline, quality
from sae_pipeline.activations.reading import read_activations
from sae_pipeline.classifier.classifier import predict
from sae_pipeline.classifier.pretrained import load_for
from sae_pipeline.config import Precision
from sae_pipeline.headlines.labels import FINANCIAL
from sae_pipeline.headlines.sample import sample_headlines
from sae_pipeline.headlines.tokens import tokenize
from sae_pipeline.runs.folders import find_run, read_run
from sae_pipeline.sae.autoencoder import SparseAutoencoder
from sae_pipeline.schema.causes import INTERVENTIONS
from sae_pipeline.study import present
from sae_pipeline.study.layout import Layout, SaeRecord
from sae_pipeline.tracking import Log
from viz_analysis.api.live_types import AuditBody, FlipBody, InterveneBody, LiveEdit, ProbeBody
from viz_analysis.live.live_model import LiveModel
from viz_analysis.runs.sources import RunFolder

OFF_RECORDS = 0.02  # share of the numbers of a record
PRECISIONS: dict[Precision, float] = {"fp32": FP32, "auto": BF16}


def check_finetuning(bench: Bench) -> None:
    """The loss of an epoch, and the logits of the fine-tuned classifier. The model has no dropout."""
    expected = present.load_classifier(start(bench, "tuned", "tuned-again"))
    tokens = expected.tokenize(present.same_headlines(bench.folder / "tuned").test.texts)
    for precision, allowed in {"fp32": TRAINED, "auto": 4 * BF16}.items():  # each step adds its rounding
        with bench.stage(f"fine-tuning, {precision}"):
            root = bench.folder / f"finetune-{precision}"
            record = pipeline.finetune(plan(bench, precision), root, torch.device(bench.device))
            found, pad = present.load_classifier(root), expected.tokenizer.pad_token_id
            values = [
                {
                    "loss": torch.tensor([epoch.train_loss for epoch in classifier.record.history]),
                    "logits": torch.as_tensor(predict(classifier.model, tokens, pad)),
                }
                for classifier in (found, expected)
            ]
            row = compare_tensors(*values, allowed)
            bench.put(f"fine-tuning, {precision}", **row, seconds=record.seconds, products=record.precision)


def check_extraction(bench: Bench) -> None:
    """The stored activations with mean and scale; and those of layer 8 of a model of FinBERT's shape."""
    study, device = plan(bench), torch.device(bench.device)
    expected = pipeline.extract(study.extract, bench.folder / "extracted", CPU)
    for precision, allowed in {"fp32": FP16, "auto": BF16}.items():
        with bench.stage(f"extraction, {precision}"):
            root = start(bench, "tuned", f"extract-{precision}")
            found = pipeline.extract(plan(bench, precision).extract, root, device)
            values = [{"acts": one.load(), "mean": one.mean, "scale": one.scale} for one in (found, expected)]
            bench.put(f"extraction, {precision}", **compare_tensors(*values, allowed))
    network, tokenizer, *_ = load_for(finbert(bench), FINANCIAL)
    texts = [text for text, _ in sample_headlines()[: 8 if bench.small else 64]]
    place = tokenize(tokenizer, texts, 128, True), tokenizer.pad_token_id, 8, "words"
    acts = {"acts": read_activations(network, *place)[0]}
    for precision, allowed in PRECISIONS.items():
        with bench.stage(f"FinBERT's shape, {precision}"):
            found = {"acts": read_activations(network.to(device), *place, precision=precision)[0]}
            bench.put(f"FinBERT's shape, {precision}", **compare_tensors(found, acts, allowed))


def trained(bench: Bench, root: Path, device: torch.device, **changes: Any) -> SaeRecord:
    """The record of the study's SAE after `train` under `root`."""
    study = plan(bench)
    (record,) = pipeline.train(study.extract, study.train.model_copy(update=changes), root, device).values()
    return record


def figures(record: SaeRecord) -> dict[str, float]:
    """What a training is judged by."""
    held_out, spliced = record.report.held_out, record.report.spliced
    return {"fvu": held_out.fvu, "l0": held_out.l0, "kl": spliced.mean_kl, "unchanged": spliced.unchanged}


def check_training(bench: Bench) -> None:
    """An SAE trained from the store and from the classifier itself; and the report of the CPU's SAE."""
    device, layer = torch.device(bench.device), plan(bench).extract.layer
    expected = trained(bench, bench.folder / "trained", CPU)
    for name, after, stream in (("training", "extracted", False), ("streaming", "tuned", True)):
        with bench.stage(name):
            found = trained(bench, start(bench, after, name), device, stream=stream)
            row = compare_records(figures(found), figures(expected), TRAINED)
            bench.put(name, **row, tokens_per_s=found.report.tokens_per_second)
    with bench.stage("evaluation"):
        root = bench.folder / "trained"
        store = pipeline.extract(plan(bench).extract, root, device)
        sae = present.load_sae(root, layer, plan(bench).analyze.sae_size, device)[0]
        report = present.held_out(root, layer, device).report(sae, store, 0.0, 0.0)
        row = compare_records(report.model_dump(), expected.report.model_dump(), RECORDS, OFF_RECORDS)
        bench.put("evaluation", **row)


def check_analysis(bench: Bench) -> None:
    """The run of the CPU's SAE: predictions, statistics of features, examples."""
    root = start(bench, "trained", "analysis")
    expected, found = (
        read_run(folder) for folder in (find_run(bench.folder / "analyzed" / "analysis_data", None),
                                        pipeline.analyze(plan(bench), root, torch.device(bench.device)))
    )  # fmt: skip
    for file in ("prompts", "feature_stats", "feature_tokens", "headline_features"):
        with bench.stage(f"analysis, {file}"):
            a, b = (_plain(getattr(run, file)) for run in (found, expected))
            bench.put(f"analysis, {file}", **compare_records(a, b, RECORDS, OFF_RECORDS))


def check_causes(bench: Bench) -> None:
    """The causal findings about the CPU's run."""
    with bench.stage("intervene"):
        root = start(bench, "analyzed", "intervene")
        found = pipeline.intervene(plan(bench).intervene, root, torch.device(bench.device))
        run = find_run(bench.folder / "whole" / "analysis_data", None)
        expected = json.loads((run / INTERVENTIONS).read_bytes())
        bench.put("intervene", **compare_records(_plain(found), expected, RECORDS, OFF_RECORDS))


def check_live(bench: Bench) -> None:
    """Live answers about a text."""
    source = RunFolder(bench.folder / "analyzed" / "analysis_data")
    run = read_run(find_run(bench.folder / "analyzed" / "analysis_data", None)).metadata
    models = [LiveModel(source, run, device) for device in (bench.device, "cpu")]
    text = "Shares of Acme rise 5% after profit beats forecast"
    strongest = [one.feature for one in models[1].probe(ProbeBody(text=text)).features[:3]]
    edits = [LiveEdit(feature=feature) for feature in strongest]
    for name, ask in {
        "probe": lambda model: model.probe(ProbeBody(text=text, steps=4, ablate=3)),
        "intervene": lambda model: model.intervene(InterveneBody(text=text, edits=edits)),
        "flip": lambda model: model.flip(FlipBody(text=text, max_size=4)),
        "audit": lambda model: model.audit(AuditBody(features=strongest, limit=16)),
    }.items():
        with bench.stage(f"live, {name}"):
            found, expected = (ask(model) for model in models)
            row = compare_records(_plain(found), _plain(expected), RECORDS, OFF_RECORDS)
            bench.put(f"live, {name}", **row, milliseconds=found.milliseconds)


def _plain(record: Any) -> Any:
    """A record, or a list of records, as plain dicts and lists."""
    return [_plain(one) for one in record] if isinstance(record, list) else record.model_dump()


def check_finish(bench: Bench) -> None:
    """The figures of an SAE that is finished end to end."""
    with bench.stage("finish"):
        study, layer = plan(bench), plan(bench).extract.layer
        expected = quality.finish(study.finish, layer, bench.folder / "whole", CPU)
        found = quality.finish(study.finish, layer, start(bench, "trained", "finish"), torch.device(bench.device))
        bench.put("finish", **compare_records(figures(found), figures(expected), TRAINED))


# --- interruptions and ranks ---------------------------------------------------------------------------


class Tracker:
    """A tracker that notes the steps it is told of, and interrupts the work at one of them."""

    def __init__(self, after: int | None = None) -> None:
        """`after` so many records the work is interrupted; None: never."""
        self.after, self.steps = after, list[int]()

    def __call__(self, name: str, settings: Mapping[str, Any]) -> Log:
        """Begin a record."""
        return self._log

    def _log(self, step: int, figures: Mapping[str, float]) -> None:
        self.steps.append(step)
        if len(self.steps) == self.after:
            raise KeyboardInterrupt


def interrupt_and_resume(work: Callable[[Tracker], object], after: int) -> None:
    """Do some work in two calls. Raises RuntimeError where the second did not go on where the first was."""
    first, second = Tracker(after), Tracker()
    with suppress(KeyboardInterrupt):
        work(first)
        raise RuntimeError(f"it ended after {len(first.steps)} records, before it could be interrupted")
    work(second)
    if second.steps[0] <= first.steps[0]:
        raise RuntimeError("it began again instead of going on from its checkpoint")


def check_resume(bench: Bench) -> None:
    """Work that was interrupted ends in the same bits as work that was not."""
    study, device = plan(bench, "auto"), torch.device(bench.device)
    extraction, size = plan(bench).extract, str(study.analyze.sae_size)
    os.environ["CHECKPOINT_SECONDS"] = "0"
    with bench.stage("resume, SAE"):
        roots = [start(bench, "extracted", f"sae-{name}") for name in ("whole", "resumed")]
        pipeline.train(extraction, study.train, roots[0], device)
        interrupt_and_resume(
            lambda tracker: pipeline.train(extraction, study.train, roots[1], device, tracking=tracker), 3
        )
        paths = [Layout(root).sae_alias(extraction.layer, size) for root in roots]
        whole, resumed = (SparseAutoencoder.load(path, "cpu").state_dict() for path in paths)
        bench.put("resume, SAE", **compare_tensors(resumed, whole, 0.0))
    with bench.stage("resume, fine-tuning"):
        roots = [bench.folder / f"finetune-{name}" for name in ("whole", "resumed")]
        pipeline.finetune(study, roots[0], device)
        interrupt_and_resume(lambda tracker: pipeline.finetune(study, roots[1], device, tracker), 2)
        whole, resumed = (present.load_classifier(root).model.state_dict() for root in roots)
        bench.put("resume, fine-tuning", **compare_tensors(resumed, whole, 0.0))


def check_shared_features(bench: Bench) -> None:
    """Two ranks that share the features, against one process."""
    _check_ranks(bench, "features")


def check_shared_tokens(bench: Bench) -> None:
    """Two ranks that share the tokens, against one process."""
    _check_ranks(bench, "tokens")


def _check_ranks(bench: Bench, split: str) -> None:
    """Train with two ranks, on a card each (NCCL) or on one (gloo). A part of its own ends them where they hang."""
    study = plan(bench)
    shared = "cuda:0" if bench.device == "cuda" and torch.cuda.device_count() < 2 else bench.device
    config = {"kind": "batchtopk", "k": 16, "latent_dims": (128,), "num_epochs": 1, "batch_size": 512}
    flags = ["--kind", "batchtopk", "--k", "16", "--latent-dims", "128", "--num-epochs", "1", "--batch-size", "512"]
    flags += ["--device", shared, "--layer", str(study.extract.layer), "--precision", "fp32", "--split", split]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    with bench.stage(f"two ranks, {split}"):
        expected = trained(bench, start(bench, "extracted", f"one-{split}"), torch.device(bench.device), **config)
        root = start(bench, "extracted", f"two-{split}")
        command = [*launcher, "-m", "sae_pipeline", "train", "--root", str(root), *flags]
        subprocess.run(command, cwd=ROOT, check=True)
        found = present.load_sae(root, study.extract.layer, "128", CPU)[1]
        row = compare_records(figures(found), figures(expected), TRAINED)
        bench.put(f"two ranks, {split}", **row, exchange="nccl" if shared == "cuda" else "gloo")
