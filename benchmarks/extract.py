"""Measures fine-tuning, extraction and the training of four SAEs, and adds them up to a whole study.

`make bench-extract` (some 3 minutes on 2 cores), or `QUICK=1 make bench-extract` (MiniLM alone, under 50 s). The last
line is one JSON object.

There are two encoders: MiniLM (6 layers, d 384, layer 4), and one of FinBERT's size (12 layers, d 768, layer 8), which
has the configuration of ProsusAI/finbert and random weights. Each way is timed on a few steps or headlines: of the
real data if it lies beside the checkout, else of the built-in sample. The times are extrapolated to the real training
set of 8,463 headlines with 167,614 tokens of words, and 3 passes. `busy_neighbour_factor` says how many times as long
MiniLM's fine-tuning and extraction take beside a program that keeps one core busy; see neighbour.py. `--device cuda`
measures on a card; `make bench-gpu` measures more of it there.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

from benchmarks.neighbour import busy_neighbour_factor
from benchmarks.peers.speed import clock
from benchmarks.train import device_name, device_of
from sae_pipeline.activations.batches import HeldTokens
from sae_pipeline.activations.extraction import Extraction, extract, extract_layers
from sae_pipeline.activations.reading import read_layers
from sae_pipeline.classifier.classifier import classifier_record
from sae_pipeline.classifier.finetuning import finetune
from sae_pipeline.classifier.pretrained import load_for, model_source, name_classes
from sae_pipeline.config import ExtractConfig, FinetuneConfig, HeadlinesConfig, TrainConfig
from sae_pipeline.headlines.dataset import Headlines, load_headlines
from sae_pipeline.headlines.labels import FINANCIAL
from sae_pipeline.headlines.tokens import TokenizedHeadline, collate, shuffled_batches, tokenize
from sae_pipeline.machine.device import autocast, dtype_name
from sae_pipeline.machine.threads import wait_asleep
from sae_pipeline.sae.autoencoder import SaeConfig
from sae_pipeline.sae.training import Job, sparsity_weight, train_saes
from sae_pipeline.schema.run import Hookpoint
from sae_pipeline.tracking import no_tracking

QUICK = os.environ.get("QUICK", "0") not in ("", "0")
REAL_DATA = Path(__file__).parents[2] / "shared" / "data" / "twitter-financial-news-sentiment"
HEADLINES, TOKENS, EPOCHS, BATCH = 8_463, 167_614, 3, 32  # of the real training set


def main() -> None:
    """Measure each encoder, print the table, and end with JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoders", nargs="*", default=["minilm"] if QUICK else ["minilm", "finbert"])
    parser.add_argument("--only-layers", action="store_true", help="only the extraction of several layers")
    parser.add_argument("--device", help="cpu or cuda; none: the CPU")
    parser.add_argument("--once", choices=("fine_tuning", "extraction"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    device = device_of(arguments.device)
    found = REAL_DATA.is_dir()
    source, test = (str(REAL_DATA / f"sent_{split}.csv") if found else None for split in ("train", "valid"))
    headlines = load_headlines(HeadlinesConfig(source=source or "sample", test_source=test))
    if arguments.once:
        print(once(arguments.once, headlines))
        return
    wait_asleep()  # in the processes that run once, as in the program's own
    place = f"{device_name(device)}, {torch.get_num_threads()} threads, products in {dtype_name(device, 'auto')}"
    print(f"{'real' if found else 'built-in'} headlines, {place}")
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.encoders:
            results[name] = measure(name, headlines, Path(folder), arguments.only_layers, device)
    factors = {}
    if device.type == "cpu" and not QUICK and not arguments.only_layers:
        for work in ("fine_tuning", "extraction"):
            factors[work] = busy_neighbour_factor(partial(in_a_process, work))
            print(f"Beside a busy neighbour, {work.replace('_', '-')} takes {factors[work]} times as long.")
    versions = {"torch": torch.__version__, "python": platform.python_version(), "threads": torch.get_num_threads()}
    print(
        json.dumps(
            {
                "quick": QUICK,
                "encoders": results,
                "busy_neighbour_factor": factors,
                "device": device_name(device),
                **versions,
            }
        )
    )


def in_a_process(work: str) -> float:
    """Run `once` in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.extract", "--once", work]
    return float(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()[-1])


def once(work: str, headlines: Headlines) -> float:
    """Seconds of 40 steps of MiniLM's fine-tuning, or of extracting its layer 4 on the training headlines."""
    network, tokenizer, *_ = load_for("minilm", FINANCIAL)
    tokenized = tokenize(tokenizer, headlines.train.texts, 128, True)
    with tempfile.TemporaryDirectory() as folder:
        if work == "fine_tuning":
            few = headlines.dev.first(64)
            small = replace(headlines, train=headlines.train.first(40 * BATCH), dev=few, test=few)
            config = FinetuneConfig(model="minilm", epochs=1, batch_size=BATCH)
            places, log = (Path(folder) / "store", Path(folder) / "checkpoints"), no_tracking("bench", {})
            made = finetune(small, HeadlinesConfig(), config, *places, torch.device("cpu"), log)
            return classifier_record(made).seconds
        started = time.perf_counter()
        place = (tokenizer.pad_token_id, (4,), "words")
        for (batch,) in read_layers(network, tokenized, *place, precision="auto", side_by_side=True):
            batch.acts.half()
        return time.perf_counter() - started


def measure(name: str, headlines: Headlines, folder: Path, only_layers: bool, device: torch.device) -> dict[str, Any]:
    """All figures of one encoder."""
    model, layer = ("minilm", 4) if name == "minilm" else (bert(folder / "finbert"), 8)
    network, tokenizer, *_ = load_for(model, FINANCIAL)
    network.to(device)
    tokenized = tokenize(tokenizer, headlines.train.texts, 128, True)
    layers = several_layers(network, tokenized, tokenizer.pad_token_id, folder / f"{name}-layers", QUICK)
    for way, ratio in layers["ratio"].items():
        print(f"{name:8} five layers, {way:42} {layers['seconds'][way]:10.1f} s {ratio:14.2f} x the floor")
    if only_layers:
        return {"several_layers": layers}
    speeds = extraction(network, tokenized, tokenizer.pad_token_id, layer, name)
    acts = speeds.pop("acts").cpu()
    for way, speed in speeds.items():
        ratio = speed / speeds["padded to 128, all layers"]
        print(f"{name:8} extraction, {way:42} {speed:10,.0f} tokens/s {ratio:8.1f} x")
    steps = fine_tuning(model, headlines, tokenized, tokenizer.pad_token_id, folder, name, device)
    n_steps = -(-HEADLINES // BATCH) * EPOCHS
    for way, seconds in steps.items():
        print(f"{name:8} fine-tuning, {way:41} {seconds * 1000:10,.0f} ms a step {seconds * n_steps / 60:6.1f} min")
    saes = four_saes(acts, device)
    print(f"{name:8} four SAEs, 4k to 32k {'':33} {saes:10,.0f} tokens/s {TOKENS * EPOCHS / saes:6.0f} s")
    parts = {
        "fine_tuning": steps["ours"] * n_steps,
        "extraction": TOKENS / speeds["ours"],
        "saes": TOKENS * EPOCHS / saes,
    }
    print(f"{name:8} together {sum(parts.values()) / 60:.1f} min, extrapolated; evaluation and analysis not counted")
    return {
        "extraction_tokens_per_s": speeds,
        "several_layers": layers,
        "extraction_ratio": speeds["ours"] / speeds["padded to 128, all layers"],
        "fine_tuning_s_per_step": steps,
        "saes_tokens_per_s": saes,
        "seconds": parts,
    }


def bert(folder: Path, dropout: float = 0.1, **shape: int) -> str:
    """Save a BERT with random weights and MiniLM's tokenizer; its folder. Without a shape it has that of FinBERT."""
    torch.manual_seed(0)
    config = BertConfig(num_labels=3, hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout, **shape)
    network = BertForSequenceClassification(config)
    name_classes(network, FINANCIAL)
    network.save_pretrained(folder)
    AutoTokenizer.from_pretrained(model_source("minilm")).save_pretrained(folder)
    return str(folder)


# --- extraction ----------------------------------------------------------------------------------------


def extraction(network: Any, tokenized: list[TokenizedHeadline], pad: int, layer: int, name: str) -> dict[str, Any]:
    """Tokens of words per second of each way. `acts` are the activations that our way extracted, for the SAEs."""
    few, some = (32, 128) if name == "finbert" else (64, 512)
    many = tokenized[: 1500 if name == "finbert" else len(tokenized)]
    device = next(network.parameters()).device

    def whole(headlines: list[TokenizedHeadline], pad_to: int | None) -> int:
        for start in range(0, len(headlines), 32):
            ids, mask = collate(headlines[start : start + 32], pad)
            if pad_to is not None:
                ids, mask = (nn.functional.pad(t, (0, pad_to - t.shape[1])) for t in (ids, mask))
            with torch.inference_mode():
                network(input_ids=ids.to(device), attention_mask=mask.to(device), output_hidden_states=True)
        return sum(len(h.counted("words")) for h in headlines)

    kept: list[torch.Tensor] = []

    def ours(precision: str, headlines: list[TokenizedHeadline]) -> int:
        kept.clear()
        read = read_layers(network, headlines, pad, (layer,), "words", precision=precision, side_by_side=True)  # type: ignore[arg-type]
        kept.extend(batch.acts.half() for (batch,) in read)
        return sum(len(acts) for acts in kept)

    speeds = {
        "padded to 128, all layers": rate(lambda: whole(tokenized[:few], 128), device),
        "padded to the longest of 32, all layers": rate(lambda: whole(tokenized[:some], None), device),
        "ours in fp32": rate(lambda: ours("fp32", many[: len(many) // 3]), device),
        "ours": rate(lambda: ours("auto", many), device),
    }
    return {**speeds, "acts": torch.cat(kept)}


def several_layers(
    network: Any, tokenized: list[TokenizedHeadline], pad: int, folder: Path, few: bool
) -> dict[str, Any]:
    """Seconds of writing the last five layers' stores: in one pass, in five, and of the floor, a pass that writes none.

    They are seconds of CPU time over all threads, which other programs disturb less; on a card, seconds on the clock.
    Each way is timed three times in turn (once where `few`), and the fastest counts.
    """
    device = next(network.parameters()).device
    now = time.process_time if device.type == "cpu" else partial(clock, device.type)
    last = network.config.num_hidden_layers
    layers = tuple(range(last - 4, last + 1))
    headlines = tokenized[: 1000 if few or last > 6 else len(tokenized)]
    wanted = Extraction(network, headlines, pad, ExtractConfig(layer=last), "bench", "bench")
    turn = iter(range(1000))

    def floor() -> None:
        for batch in wanted.read([batch for shard in wanted.plan for batch in shard]):
            batch.acts.half()

    def one_pass() -> None:
        extract_layers(wanted, layers, folder / str(next(turn)), folder / "checkpoints")

    def five_passes() -> None:
        place = folder / str(next(turn))
        for layer in layers:
            extract(wanted.of_layer(layer), place, folder / "checkpoints")

    ways = {"floor": floor, "one pass": one_pass, "five passes": five_passes}
    seconds = dict.fromkeys(ways, float("inf"))
    for _ in range(1 if few else 3):
        for way, work in ways.items():
            started = now()
            work()
            seconds[way] = min(seconds[way], now() - started)
            shutil.rmtree(folder, ignore_errors=True)
    ratio = {way: one / seconds["floor"] for way, one in seconds.items()}
    return {"layers": layers, "n_tokens": int(wanted.counts.sum()), "seconds": seconds, "ratio": ratio}


def rate(work: Callable[[], int], device: torch.device) -> float:
    """Call `work` once; the tokens per second that it made."""
    started = clock(device.type)
    n_tokens = work()
    return n_tokens / (clock(device.type) - started)


# --- fine-tuning ---------------------------------------------------------------------------------------


def fine_tuning(
    model: str,
    headlines: Headlines,
    tokenized: list[TokenizedHeadline],
    pad: int,
    folder: Path,
    name: str,
    device: torch.device,
) -> dict[str, float]:
    """Seconds of a step of 32 headlines, for each way."""
    n = BATCH * (12 if name == "finbert" else 40)
    few = headlines.dev.first(64)
    train = headlines.train
    small = replace(headlines, train=train.first(n), dev=few, test=few)
    config = FinetuneConfig(model=model, epochs=1, batch_size=BATCH)
    plain = partial(plain_steps, model, tokenized[:n], train.labels[:n], pad, device=device)
    plain(None, True, 4)  # a shape's first product is slower
    store, log = folder / f"{name}-store", no_tracking("bench", {})
    made = finetune(small, HeadlinesConfig(), config, store, folder / "checkpoints", device, log)
    return {
        "padded to 64, fp32": plain(64, False, 2),
        "autocast, similar lengths, fused AdamW": plain(None, True, n // BATCH),
        "ours": classifier_record(made).seconds / (n // BATCH),
    }


def plain_steps(
    model: str,
    tokenized: list[TokenizedHeadline],
    labels: list[int],
    pad: int,
    pad_to: int | None,
    cast: bool,
    n: int,
    device: torch.device,
) -> float:
    """Seconds of a step of a plain loop: torch's AdamW on batches of similar length."""
    network = load_for(model, FINANCIAL).network.to(device).train()
    adam = torch.optim.AdamW(network.parameters(), lr=2e-5, fused=True)
    seconds = 0.0
    for batch in shuffled_batches([len(h.input_ids) for h in tokenized], BATCH, (0,))[:n]:
        started = clock(device.type)
        ids, mask = (t.to(device) for t in collate([tokenized[i] for i in batch], pad))
        if pad_to is not None:
            ids, mask = (nn.functional.pad(t, (0, max(0, pad_to - t.shape[1]))) for t in (ids, mask))
        with autocast(device, "auto" if cast else "fp32"):
            logits = network(input_ids=ids, attention_mask=mask).logits
        nn.functional.cross_entropy(logits.float(), torch.tensor([labels[i] for i in batch], device=device)).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        adam.step()
        adam.zero_grad()
        seconds += clock(device.type) - started
    return seconds / n


# --- SAEs ----------------------------------------------------------------------------------------------


def four_saes(acts: torch.Tensor, device: torch.device) -> float:
    """Tokens per second of one pass that trains all four sizes."""
    acts = acts[torch.randperm(len(acts), generator=torch.Generator().manual_seed(0))[:20_480]].float()
    mean = acts.mean(0)
    config, d_in = TrainConfig(num_epochs=1), acts.shape[1]
    jobs = []
    for d_sae in config.latent_dims:
        template = SaeConfig(
            d_in=d_in,
            d_sae=d_sae,
            recipe="default",
            l1_coefficient=config.l1_coefficient,
            sparsity_weight=sparsity_weight("default", config.l1_coefficient, d_in, d_sae),
            positions="words",
            hookpoint=Hookpoint(layer=1, module="bench"),
            classifier_hash="",
            data_hash="",
        )
        jobs.append(Job(str(d_sae), template, config))
    started = clock(device.type)
    train_saes(HeldTokens(acts.half()), mean, (acts - mean).square().mean().sqrt(), jobs, device)
    return len(acts) / (clock(device.type) - started)


if __name__ == "__main__":
    main()
