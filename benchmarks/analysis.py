"""Measures the analysis: seconds, memory, and how both grow with the number of headlines.

`make bench-analysis`, or `QUICK=1 make bench-analysis` (under 50 s). The last line is one JSON object.

It uses the classifier and the widest SAE under --root. If there is none, it builds the tests' small study and uses
that. Each measurement runs in a process of its own, so that its peak memory is its own. The analysis is compared with

- the floor: plain inference, and encoding of the same tokens by one dense fp32 product;
- the same reading with our encoder, which computes only the features that can be active;
- the naive way of a notebook: Python loops over tokens and features.
"""

import argparse
import hashlib
import json
import os
import platform
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.runs.present_study import here_or_small
from sae_pipeline.analysis.analyze import analyze_headlines
from sae_pipeline.analysis.blocks import read_blocks
from sae_pipeline.analysis.feature_stats import FeatureStats, halves
from sae_pipeline.analysis.headline_records import strongest_features
from sae_pipeline.analysis.metrics import FEATURE_METRICS, metrics_of
from sae_pipeline.analysis.neighbours import kept_decoder_neighbours
from sae_pipeline.analysis.selection import Selection, strength_scores
from sae_pipeline.classifier.classifier import Classifier
from sae_pipeline.classifier.hooks import hooked, resolve_hookpoint
from sae_pipeline.config import AnalyzeConfig
from sae_pipeline.headlines.dataset import Split
from sae_pipeline.headlines.text import headline_id
from sae_pipeline.headlines.tokens import collate, counted_mask, length_batches
from sae_pipeline.runs.drafts import new_run
from sae_pipeline.sae.autoencoder import SparseAutoencoder
from sae_pipeline.sae.firings import Firings
from sae_pipeline.schema.dicts import MadeWithDict
from sae_pipeline.study import present
from sae_pipeline.study.layout import Layout, aliased_saes

QUICK = os.environ.get("QUICK", "0") not in ("", "0")
CPU = torch.device("cpu")
NAIVE_HEADLINES = 5 if QUICK else 100
FILES = (
    "prompts.jsonl",
    "feature_stats.json",
    "feature_tokens.json",
    "headline_features.json",
    "neighbours.json",
    "decoder.safetensors",
)


def main() -> None:
    """Measure everything, print the tables, and end with JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, help="folder with finbert_sae/")
    parser.add_argument("--headlines", type=int, help="headlines to read; default: all of test, with QUICK 300")
    parser.add_argument("--growth", help="sizes of the growth table [1000,10000,100000; with QUICK none]")
    parser.add_argument("--measure", help=argparse.SUPPRESS)  # what a process of the benchmark measures
    arguments = parser.parse_args()
    root = arguments.root or here_or_small(any(Path("finbert_sae").glob("layer_*_*.pt")), "SAE")
    study = Study(root)
    n = arguments.headlines or (min(300, len(study.split)) if QUICK else len(study.split))
    if arguments.measure:
        print(json.dumps(measure(study, arguments.measure, n)))
        return

    def child(what: str, n: int) -> dict[str, Any]:
        command = [sys.executable, "-m", "benchmarks.analysis", "--root", str(root)]
        done = subprocess.run([*command, "--headlines", str(n), "--measure", what], stdout=subprocess.PIPE, check=True)
        return dict(json.loads(done.stdout.splitlines()[-1]))

    print(
        f"{study.classifier.record.model}, layer {study.sae.config.hookpoint.layer}, {study.sae.config.d_sae:,} "
        f"features, {n:,} headlines, {torch.get_num_threads()} threads"
    )
    base, some, everything = (child(what, n) for what in ("floor", "100", "all"))
    notebook, counted = child("naive", NAIVE_HEADLINES), child("counting", n)
    reading = counted["reading"]
    show(n, base, reading, {"100": some, "all": everything}, notebook)
    own = max(some["seconds"] - reading, 1e-3) / n
    loops = notebook["loops"] / NAIVE_HEADLINES
    print(f"loops over tokens and features: {loops * n:.1f} s; our code finds the same in {counted['counts']:.2f} s")
    sizes = (arguments.growth or ("" if QUICK else "1000,10000,100000")).split(",")
    grows = show_growth([(int(size), child("grow", int(size))) for size in sizes if size])
    figures = {
        "ratio_to_naive": loops * n / counted["counts"],
        "ratio_to_naive_all_findings": loops / own,
        "ratio_to_naive_whole": notebook["seconds"] / NAIVE_HEADLINES / (some["seconds"] / n),
        "seconds": some["seconds"],
        "peak_mib": above(some),
        "floor_seconds": base["seconds"],
        "reading_seconds": reading,
        "naive_loop_seconds": loops * n,
        "ratio_to_floor": some["seconds"] / base["seconds"],
        "ratio_to_floor_all": everything["seconds"] / base["seconds"],
        "peak_mib_all": above(everything),
        "identical": None if QUICK else everything["digest"] == child("all", n)["digest"],
        "growth": grows,
        "n_headlines": n,
        "d_sae": study.sae.config.d_sae,
        "quick": QUICK,
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
        "torch": torch.__version__,
    }
    print(json.dumps(figures))


class Study:
    """The newest classifier under a root and its widest SAE."""

    def __init__(self, root: Path) -> None:
        self.root, layout = root, Layout(root)
        self.classifier: Classifier = present.load_classifier(root, CPU)
        records = aliased_saes(layout, self.classifier.hash)
        size = list(records)[-1]
        layer = records[size].config.hookpoint.layer
        self.sae = SparseAutoencoder.load(layout.sae_alias(layer, size))
        self.neighbours = root / "finbert_sae" / ".bench-neighbours.safetensors"
        kept_decoder_neighbours(self.sae.W_dec, self.neighbours)
        self.split: Split = present.same_headlines(root).test


def grown(split: Split, n: int) -> Split:
    """n headlines: those of the split, then copies of them with a few words swapped or dropped."""
    draw = random.Random(0)
    texts, labels = list(split.texts[:n]), list(split.labels[:n])
    while len(texts) < n:
        source = len(texts) % len(split)
        words = split.texts[source].split()
        for _ in range(2):
            i, j = draw.randrange(len(words)), draw.randrange(len(words))
            words[i], words[j] = words[j], words[i]
        if len(words) > 3:
            words.pop(draw.randrange(len(words)))
        texts.append(" ".join(words))
        labels.append(split.labels[source])
    return Split(texts, labels, [headline_id(f"{i} {text}") for i, text in enumerate(texts)], {})


# --- measurements, each in a process of its own ------------------------------------------------------------------


def measure(study: Study, what: str, n: int) -> dict[str, Any]:
    """Run one measurement; its seconds, its peak memory in MiB, and the figures of its own."""
    split = grown(study.split, n)
    works: dict[str, Callable[[], dict[str, Any]]] = {
        "floor": lambda: floor(study, split),
        "naive": lambda: naive(study, split),
        "counting": lambda: counting(study, split),
    }
    floor(study, grown(study.split, 64))  # warm-up: kernels are compiled, pages are touched
    before = peak_mib()
    started = time.perf_counter()
    found = works.get(what, lambda: analysis(study, split, what))()
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "before_mib": before, "peak_mib": peak_mib(), **found}


def peak_mib() -> float:
    """The largest resident size of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@torch.inference_mode()
def floor(study: Study, split: Split, plain: bool = True) -> dict[str, Any]:
    """Run all headlines, sorted by length, through the classifier, and encode their words. Nothing is kept."""
    model, sae = study.classifier.model, study.sae
    module, _ = resolve_hookpoint(model, sae.config.hookpoint.layer)
    tokenized = study.classifier.tokenize(split.texts)
    captured: list[torch.Tensor] = []
    entries = 0
    for batch in length_batches([len(h.input_ids) for h in tokenized], 4096):
        members = [tokenized[i] for i in batch]
        ids, mask = collate(members, study.classifier.tokenizer.pad_token_id)
        captured.clear()
        with hooked(module, captured.append):
            model(input_ids=ids, attention_mask=mask)
        x = captured[0][counted_mask(members, "words")]
        if plain:
            for some in x.split(512):
                torch.addmm(sae.b_enc, sae.normalise(some), sae.W_enc).relu_()
        else:
            entries += len(sae.encode_lists(x).values)
    return {"entries": entries}


def analysis(study: Study, split: Split, what: str) -> dict[str, Any]:
    """Make a whole run and write it to disk, with examples of the leading features ("100") or of all ("all")."""
    config = AnalyzeConfig(top_features=100 if what == "100" else "all")
    made_with: MadeWithDict = {"classifier_hash": study.classifier.hash, "sae_hash": ""}
    with tempfile.TemporaryDirectory(dir=study.root) as folder, new_run(Path(folder), made_with) as draft:
        started = time.perf_counter()
        metrics = metrics_of(FEATURE_METRICS, study.classifier.record.labels)
        totals = analyze_headlines(study.classifier, study.sae, split, config, metrics, draft, study.neighbours)
        seconds = time.perf_counter() - started
        assert totals is not None
        digest = hashlib.sha256()
        for name in FILES:
            with (draft.folder / name).open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        return {
            "seconds": seconds,
            "digest": digest.hexdigest(),
            "mib": {name: (draft.folder / name).stat().st_size / 2**20 for name in FILES},
            "examples": totals.n_features_with_examples,
        }


def counting(study: Study, split: Split) -> dict[str, Any]:
    """Find with our code what the naive notebook finds: sums, top headlines per feature, top 10 per headline.

    `counts` are the seconds of this without classifier and SAE; `reading` are the seconds of those two alone. Entries
    come in the order in which the SAE lists them, by token.
    """
    started = time.perf_counter()
    floor(study, split, plain=False)
    reading = time.perf_counter() - started
    config, part = AnalyzeConfig(), range(len(split))
    stats = FeatureStats.empty(study.sae.config.d_sae)
    top = Selection(study.sae.config.d_sae, config.top_tokens_per_feature)
    counts = 0.0
    for block in read_blocks(study.classifier, study.sae, split, part, config.tokens_per_batch):
        f = block.firings
        by_token = np.lexsort((f.feature, f.position, f.headline))
        columns = [column[by_token] for column in (f.headline, f.position, f.feature, f.value)]
        started = time.perf_counter()
        firings = Firings.collect(*columns)
        n = sum(len(h.counted("words")) for h in block.headlines)
        stats.add(firings, n, block.first, np.array(block.labels), halves(block.ids))
        top.add(firings, strength_scores(firings))
        strongest_features(firings, config.top_features_per_headline)
        counts += time.perf_counter() - started
    started = time.perf_counter()
    top.finish(np.arange(study.sae.config.d_sae))
    return {"counts": counts + time.perf_counter() - started, "reading": reading}


@torch.inference_mode()
def naive(study: Study, split: Split) -> dict[str, Any]:
    """The naive notebook: Python loops over tokens and features. `loops` are its seconds without classifier and SAE."""
    model, sae = study.classifier.model, study.sae
    tokens_of: dict[int, list[tuple[float, int, int, str]]] = {}
    sums, counts = np.zeros(sae.config.d_sae), np.zeros(sae.config.d_sae)
    top: list[list[tuple[float, int]]] = []
    loops = 0.0
    for row, headline in enumerate(study.classifier.tokenize(split.texts)):
        ids, mask = collate([headline], study.classifier.tokenizer.pad_token_id)
        hidden = model(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states
        acts = sae.encode(hidden[sae.config.hookpoint.layer][0]).numpy()
        started = time.perf_counter()
        strongest: dict[int, float] = {}
        for position in headline.counted("words"):
            for feature in range(sae.config.d_sae):
                value = float(acts[position, feature])
                if value > 0:
                    sums[feature] += value
                    counts[feature] += 1
                    strongest[feature] = max(strongest.get(feature, 0.0), value)
                    tokens_of.setdefault(feature, []).append((value, row, position, headline.tokens[position]))
        top.append(sorted(((v, f) for f, v in strongest.items()), reverse=True)[:10])
        loops += time.perf_counter() - started
    started = time.perf_counter()
    for feature in tokens_of:
        tokens_of[feature] = sorted(tokens_of[feature], reverse=True)[:20]
    return {"loops": loops + time.perf_counter() - started}


# --- tables ------------------------------------------------------------------------------------------------------


def show(
    n: int,
    floor: dict[str, Any],
    reading: float,
    rows: dict[str, dict[str, Any]],
    naive: dict[str, Any],
) -> None:
    """Print the analysis beside its floor and the naive notebook."""
    print(f"\n{n:,} headlines                          seconds  of floor  MiB above model  MiB on disk  with examples")
    print(f"{'inference, dense encoding (floor)':36} {floor['seconds']:8.2f} {1:9.2f} {above(floor):16.0f}")
    print(f"{'inference, our encoding':36} {reading:8.2f} {reading / floor['seconds']:9.2f}")
    for what, row in rows.items():
        print(
            f"{'analysis, TOP_FEATURES = ' + what:36} {row['seconds']:8.2f} {row['seconds'] / floor['seconds']:9.2f} "
            f"{above(row):16.0f} {sum(row['mib'].values()):12.1f} {row['examples']:14,}"
        )
    whole = naive["seconds"] * n / NAIVE_HEADLINES
    print(f"{'the notebook way (from ' + str(NAIVE_HEADLINES) + ')':36} {whole:8.2f} {whole / floor['seconds']:9.2f}")
    print("on disk: " + ", ".join(f"{k} {v:.1f}" for k, v in rows["all"]["mib"].items()))


def show_growth(rows: list[tuple[int, dict[str, Any]]]) -> list[dict[str, Any]]:
    """Print time and memory by number of headlines, with examples of all features; the same rows for the JSON."""
    if not rows:
        return []
    print("\n  headlines   seconds  ms per headline  MiB above model  MiB on disk")
    for size, row in rows:
        print(
            f"{size:11,} {row['seconds']:9.1f} {1000 * row['seconds'] / size:16.2f} {above(row):16.0f} "
            f"{sum(row['mib'].values()):12.1f}"
        )
    return [
        {"n": n, "seconds": r["seconds"], "peak_mib": above(r), "disk_mib": sum(r["mib"].values())} for n, r in rows
    ]


def above(row: dict[str, Any]) -> float:
    """Peak memory in MiB above what the process held with classifier and SAE loaded and warm."""
    return float(row["peak_mib"] - row["before_mib"])


if __name__ == "__main__":
    main()
