"""Measures `score`: rows per second, memory, and whether memory grows with the rows.

`make bench-score`, or `QUICK=1 make bench-score` (under 50 s on an idle machine). The last line is one JSON object.

It uses the classifier and the widest SAE under --root. If there is none, it builds the tests' small study and uses
that. The table is the built-in sample repeated with a running number, as CSV. Each measurement runs in a process of its
own, so that its peak memory is its own:

- score beside the reading loop of the analysis over the same rows, in turns; seconds are those of the CPU, so that
  other programs hardly change their ratio;
- score at growing numbers of rows;
- the same at a million rows with a tiny random model, which shows everything but the models.
"""

import argparse
import csv
import itertools
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from transformers import BertConfig, BertForSequenceClassification

from benchmarks.runs.present_study import here_or_small
from sae_pipeline.analysis.blocks import read_blocks
from sae_pipeline.classifier.classifier import Classifier
from sae_pipeline.config import ScoreConfig
from sae_pipeline.headlines.dataset import Split
from sae_pipeline.headlines.sample import sample_headlines
from sae_pipeline.sae.autoencoder import SaeConfig, SparseAutoencoder
from sae_pipeline.schema.run import Hookpoint
from sae_pipeline.scoring.score import score_table
from sae_pipeline.scoring.source import Source
from sae_pipeline.study import present
from sae_pipeline.study.layout import Layout, aliased_saes

QUICK = os.environ.get("QUICK", "0") not in ("", "0")
CPU = torch.device("cpu")
ROUNDS = 1 if QUICK else 3


def main() -> None:
    """Measure everything, print the table, and end with JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, help="folder with finbert_sae/")
    parser.add_argument("--rows", default="1000" if QUICK else "10000,100000", help="rows of the table [%(default)s]")
    parser.add_argument("--tiny-rows", default="3000" if QUICK else "10000,100000,1000000", help="[%(default)s]")
    parser.add_argument("--measure", help=argparse.SUPPRESS)  # what a process of the benchmark measures
    arguments = parser.parse_args()
    root = arguments.root or here_or_small(any(Path("finbert_sae").glob("layer_*_*.pt")), "SAE")
    if arguments.measure:
        what, n_rows = arguments.measure.split(":")
        print(json.dumps(MEASUREMENTS[what](*models(root, what == "tiny"), int(n_rows))))
        return

    def child(what: str, n_rows: int) -> dict[str, Any]:
        command = [sys.executable, "-m", "benchmarks.score", "--root", str(root), "--measure", f"{what}:{n_rows}"]
        return dict(json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout.splitlines()[-1]))

    beside = child("beside", 512 if QUICK else 8192)
    print(f"score {beside['score']:.1f} CPU s, the analysis' reading loop {beside['reading']:.1f} CPU s")
    print(
        f"\n{'model':8} {'rows':>10} {'rows/s':>8} {'rows/CPU s':>11} {'peak MiB':>9} {'above start':>12} "
        f"{'MB on disk':>11}"
    )
    sizes = [
        (what, int(n))
        for what, given in (("study", arguments.rows), ("tiny", arguments.tiny_rows))
        for n in given.split(",")
        if n
    ]
    growth = []
    for what, n_rows in sizes:
        found = {"model": what, "rows": n_rows, **child(what, n_rows)}
        growth.append(found)
        print(
            f"{what:8} {n_rows:10,} {n_rows / found['seconds']:8,.0f} {n_rows / found['cpu_seconds']:11,.0f} "
            f"{found['peak_mib']:9,.0f} {found['peak_mib'] - found['before_mib']:12,.0f} {found['bytes'] / 1e6:11,.1f}",
            flush=True,
        )
    figures = {
        "speed_of_reading_loop": beside["reading"] / beside["score"],
        "growth": growth,
        "quick": QUICK,
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
        "torch": torch.__version__,
    }
    print(json.dumps(figures))


Models = tuple[Classifier, SparseAutoencoder, str]


def models(root: Path, is_tiny: bool, d_sae: int = 1024, threshold: float = 2.0) -> Models:
    """The newest classifier under a root and its widest SAE, or tiny random ones with the classifier's tokenizer.

    `d_sae` and `threshold` are those of the tiny SAE.
    """
    classifier = present.load_classifier(root, CPU)
    layout = Layout(root)
    size, record = list(aliased_saes(layout, classifier.hash).items())[-1]
    if not is_tiny:
        sae, _, sae_hash = present.load_sae(root, record.config.hookpoint.layer, size, CPU, classifier)
        return classifier, sae, sae_hash
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=classifier.model.config.vocab_size,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        num_labels=len(classifier.record.labels),
    )
    hookpoint: Hookpoint = record.config.hookpoint.model_copy(update={"layer": 1})
    settings = record.config.model_dump() | {"d_in": 32, "d_sae": d_sae, "hookpoint": hookpoint, "prefixes": ()}
    sae = SparseAutoencoder(SaeConfig.model_validate(settings), torch.zeros(32), torch.ones(()))
    torch.nn.init.normal_(sae.W_enc, std=0.2)
    sae.threshold.fill_(threshold)  # so that some 60 features are active, as in a trained SAE
    return replace(classifier, model=BertForSequenceClassification(config).eval()), sae.requires_grad_(False), "tiny"


def texts(n_rows: int) -> Iterator[str]:
    """The built-in sample, repeated, with a running number."""
    sample = itertools.cycle([text for text, _ in sample_headlines()])
    return (f"{text} {n}" for n, text in zip(range(n_rows), sample, strict=False))


def write_table(path: Path, n_rows: int) -> None:
    """A CSV with a date, a firm and a headline."""
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["date", "firm", "text"])
        for n, text in enumerate(texts(n_rows)):
            table.writerow([f"2024-{n % 12 + 1:02}-{n % 28 + 1:02}", f"firm {n % 500}", text])


def peak_mib() -> float:
    """The largest resident size of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def scored(classifier: Classifier, sae: SparseAutoencoder, sae_hash: str, n_rows: int) -> dict[str, Any]:
    """Score a table of its own; seconds, bytes, and memory before and at the peak."""
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "table.csv"
        write_table(table, n_rows)
        before, started, cpu = peak_mib(), time.perf_counter(), time.process_time()
        config = ScoreConfig(table=str(table), out=str(Path(folder) / "out"))
        record = score_table(Source.open(config), classifier, sae, sae_hash, config)
        return {
            "seconds": time.perf_counter() - started,
            "cpu_seconds": time.process_time() - cpu,
            "before_mib": before,
            "peak_mib": peak_mib(),
            "bytes": record.n_bytes,
            "entries": sum(part.n_entries for part in record.parts),
        }


def beside_reading(classifier: Classifier, sae: SparseAutoencoder, sae_hash: str, n_rows: int) -> dict[str, Any]:
    """CPU seconds of score and of the analysis' reading loop over the same rows: medians of several rounds."""
    split = Split([*texts(n_rows)], [0] * n_rows, [""] * n_rows, {})
    found: dict[str, list[float]] = {"reading": [], "score": []}
    scored(classifier, sae, sae_hash, 64)  # warm-up: kernels are compiled, pages are touched
    for _ in range(ROUNDS):
        started = time.process_time()
        for _block in read_blocks(classifier, sae, split, range(n_rows), 4096):
            pass
        found["reading"].append(time.process_time() - started)
        found["score"].append(scored(classifier, sae, sae_hash, n_rows)["cpu_seconds"])
    return {what: median(seconds) for what, seconds in found.items()}


MEASUREMENTS: dict[str, Callable[[Classifier, SparseAutoencoder, str, int], dict[str, Any]]] = {
    "beside": beside_reading,
    "study": scored,
    "tiny": scored,
}


if __name__ == "__main__":
    main()
