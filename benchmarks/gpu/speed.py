"""The parts of gpu_bench.py: kernels, training steps, other libraries, extraction, fine-tuning."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import count
from typing import Any

import torch
from torch import Tensor

from benchmarks.extract import BATCH, plain_steps, rate
from benchmarks.gpu.parts import Bench
from benchmarks.gpu.study import finbert
from benchmarks.gpu.timing import median_ms, timed
from benchmarks.peers.speed import PEERS, clock, peak, reset_peak
from benchmarks.train import HERE, mixture, normalised, peer
from sae_pipeline.activations.extraction import Extraction, extract
from sae_pipeline.activations.reading import read_batches
from sae_pipeline.classifier.classifier import classifier_record
from sae_pipeline.classifier.finetuning import finetune
from sae_pipeline.classifier.pretrained import load_for
from sae_pipeline.config import ExtractConfig, FinetuneConfig, HeadlinesConfig, Precision
from sae_pipeline.headlines.dataset import load_headlines
from sae_pipeline.headlines.labels import FINANCIAL
from sae_pipeline.headlines.tokens import tokenize
from sae_pipeline.kernels import NO_RULE, AdamSettings, choose, path_counts, reference
from sae_pipeline.sae.kinds import StepStats, nested_prefixes, stepper, unit_rows
from sae_pipeline.sae.training import Sparsity, sparsity_weight
from sae_pipeline.schema.kinds import KINDS, Kind
from sae_pipeline.tracking import no_tracking

START = {"relu": 4.0}  # λ at the start, near that of L0 64 at 768 × 32k; the other kinds find theirs


# --- the kernels --------------------------------------------------------------------------------------


def kernels(bench: Bench) -> None:
    """Time each kernel on the lists of a step of ReLU, and compare with the least that it must move and compute."""
    path = bench.folder / "ceilings.json"
    ceiling: dict[str, float] = json.loads(path.read_bytes()) if path.is_file() else {}
    for n in (64,) if bench.small else (1024, 4096):
        for name, (call, moved, operations, unit) in kernel_calls(bench, n).items():
            with bench.stage(f"{name}, {n} tokens"):
                ms = timed(bench, call)
                row = {"ms": ms, "mb": moved / 1e6, "gflop": operations / 1e9}
                if ceiling:
                    by_bytes, by_rate = moved / ceiling["gb_per_s"] / 1e6, operations / ceiling[f"tflops_{unit}"] / 1e9
                    row |= {"floor_ms": max(by_bytes, by_rate), "of_floor": max(by_bytes, by_rate) / ms}
                bench.put(f"{name}, {n} tokens", **row)


Call = tuple[Callable[[], Any], float, float, str]
"""A call of a kernel, the fewest bytes that it must move, its operations, and the dtype whose rate counts."""


def kernel_calls(bench: Bench, n: int) -> dict[str, Call]:
    """The kernels of a step on `n` tokens, at sizes of FinBERT's 32k SAE with L0 near 64."""
    d, d_sae = (64, 256) if bench.small else (768, 32768)
    x = tokens(n * 4, d).to(bench.device)
    step, sparsity = begin("relu", d, d_sae, bench.device), Sparsity(START["relu"], 64.0)
    for i in range(2 if bench.small else 60):
        sparsity.steer(step.step(x[i % 4 * n :][:n], step.learning_rate / 2, sparsity.weight).l0, 60)
    x = x[:n]
    ops: Any = choose(None, bench.device) or reference
    features, low = step.features, x if bench.small else x.bfloat16()
    W_enc, W_dec, b_enc, b_dec = features.W_enc, features.W_dec, features.b_enc, step.b_dec
    lists = ops.encode_by_feature(low, W_enc, b_enc)
    r = ops.residual(lists, W_dec, b_dec, x, low.dtype).r
    by_token = ops.transpose(lists, n)[0]
    nnz, active = len(lists.cols), int((lists.ptr.diff() > 0).sum())
    bench.put(f"lists, {n} tokens", entries=nnz, l0=nnz / n, active=active, most=int(lists.ptr.diff().max()))
    tokens_low, tokens_fp32 = low.element_size() * n * d, 4 * n * d  # bytes
    entries, rows = 8 * nnz, 4 * active * d  # bytes of the lists, and of one weight's rows that are in use
    per_entry, adam = 2.0 * nnz * d, AdamSettings(0.0, 0.0)
    return {
        "encode_by_feature": (
            lambda: ops.encode_by_feature(low, W_enc, b_enc),
            4 * d_sae * d + tokens_low + entries,
            2.0 * n * d * d_sae,
            "bf16",
        ),
        "transpose": (lambda: ops.transpose(lists, n), 2 * entries, 0.0, "fp32"),
        "spmm": (lambda: ops.spmm(by_token, W_dec), entries + rows + tokens_fp32, per_entry, "fp32"),
        "residual": (
            lambda: ops.residual(lists, W_dec, b_dec, x, low.dtype),
            2 * entries + rows + tokens_fp32 + tokens_low,
            per_entry,
            "fp32",
        ),
        "sddmm": (lambda: ops.sddmm(lists, W_dec, x), entries + rows + tokens_fp32, per_entry, "fp32"),
        "update": (
            lambda: ops.update(lists, low, r, features, adam, NO_RULE),
            entries + 4 * rows + 2 * tokens_low,
            3 * per_entry,
            "fp32",
        ),
    }


# --- training ------------------------------------------------------------------------------------------


def tokens(n: int, d_in: int) -> Tensor:
    """x_norm [n, d_in] of made-up mixtures."""
    x = mixture(n, d_in)
    return normalised(x, x[:1])["train"]


def begin(kind: Kind, d_in: int, d_sae: int, device: str) -> Any:
    """The step of an SAE at its start, with k = 64."""
    draw = torch.Generator().manual_seed(0)
    rows, spread = unit_rows(d_sae, d_in, draw).to(device), torch.rand(d_sae, generator=draw).to(device)
    return stepper(kind, rows, 8 if device == "cpu" else 64, nested_prefixes(d_sae), spread=spread)


def saes(bench: Bench) -> None:
    """Train each kind for a while, steered to L0 64, and time its last steps."""
    x = tokens(2_000 if bench.small else 33_000, 64 if bench.small else 768).to(bench.device)
    for kind in KINDS:
        for n in (64,) if bench.small else (4096, 1024, 256):
            name = f"{kind}, {n} tokens"
            if bench.left < 8:
                bench.put(name, ok=False, said="left out: no time")
                continue
            with bench.stage(name):
                bench.put(name, **training_speed(bench, kind, x, n))


def training_speed(bench: Bench, kind: Kind, x: Tensor, n: int) -> dict[str, Any]:
    """The figures of a short training on x_norm [n_tokens, d_in], `n` tokens a step."""
    d_in, d_sae, warm, repeat = x.shape[1], *((256, 1, 2) if bench.small else (32768, 120, 30))
    before, counts = reset_peak(bench.device), path_counts.copy()
    step = begin(kind, d_in, d_sae, bench.device)
    sparsity = Sparsity(START.get(kind) or sparsity_weight("default", 1e-3, d_in, d_sae, kind), 64.0)
    starts, last = count(), list[StepStats]()

    def one() -> None:
        start = next(starts) * n % (len(x) - n + 1)
        last[:] = [step.step(x[start : start + n], step.learning_rate / 2, sparsity.weight)]
        sparsity.steer(last[0].l0, warm)

    ms = median_ms(one, bench.device, repeat, warm)
    (stats,) = last
    return {
        "ms": ms,
        "tokens_per_s": n / ms * 1e3,
        "fvu": stats.squared / stats.power,
        "l0": stats.l0,
        "peak_mib": peak(bench.device) - before,
        "paths": dict(path_counts - counts),
    }


def peers(bench: Bench) -> None:
    """Other libraries' steps, each in a process of its own, by this interpreter or the one of `make peers`."""
    d_in, d_sae, n, steps = (64, 256, 64, "2") if bench.small else (768, 32768, 4096, "20")
    x = tokens(n * 4, d_in)
    path = bench.folder / "peers.pt"
    torch.save({"train": x, "held_out": x[:n]}, path)
    other = HERE.parent / "build" / "peers" / "bin" / "python"
    python = str(other) if other.exists() else sys.executable
    for name in PEERS:
        try:
            row = peer(python, name, path, d_sae, n, torch.device(bench.device), "--steps", steps)
            bench.put(f"{name}, {n} tokens", **row)
        except RuntimeError as error:
            bench.put(f"{name}, {n} tokens", said=f"left out: {error}")


# --- the classifier ------------------------------------------------------------------------------------


def extraction(bench: Bench) -> None:
    """Tokens of words per second up to layer 8: reading alone with several budgets, and with a store on disk."""
    network, tokenizer, *_ = load_for(finbert(bench), FINANCIAL)
    network.to(bench.device)
    headlines = load_headlines(HeadlinesConfig(source="sample")).train.texts
    tokenized = tokenize(tokenizer, (headlines * 8)[: 40 if bench.small else 16_000], 128, True)
    place = tokenizer.pad_token_id, 8, "words"

    def read(budget: int, precision: Precision, n: int) -> int:
        batches = read_batches(network, tokenized[:n], *place, tokens_per_batch=budget, precision=precision)
        return sum(len(batch.acts) for batch in batches)

    ways: list[tuple[int, Precision]] = [(4096, "auto"), (32_768, "auto"), (4096, "fp32")]
    for budget, precision in ways:
        with bench.stage(f"reading, {precision}, {budget}"):
            read(budget, precision, 200)
            reset_peak(bench.device)
            per_second = rate(partial(read, budget, precision, len(tokenized)), torch.device(bench.device))
            bench.put(f"reading, {precision}, {budget}", tokens_per_s=per_second, peak_mib=peak(bench.device))
    with bench.stage("store"):
        wanted = Extraction(network, tokenized, place[0], ExtractConfig(layer=8), "bench", "bench")
        started = clock(bench.device)
        made = extract(wanted, bench.folder / "activations", bench.folder / "checkpoints")
        bench.put("store", tokens_per_s=made.n_tokens / (clock(bench.device) - started), n_tokens=made.n_tokens)


def finetuning(bench: Bench) -> None:
    """Seconds of a step of 32 headlines."""
    model, device, n = finbert(bench), torch.device(bench.device), BATCH * (2 if bench.small else 60)
    headlines = load_headlines(HeadlinesConfig(source="sample"))
    few = headlines.dev.first(16)
    small = replace(headlines, train=headlines.train.first(n), dev=few, test=few)
    with bench.stage("ours"):
        for steps in ("warm", "timed"):  # the first steps compile and choose kernels
            seed = int(steps == "timed")
            config = FinetuneConfig(model=model, epochs=1, batch_size=BATCH, seed=seed)
            store, log = bench.folder / "store", no_tracking("bench", {})
            made = finetune(small, HeadlinesConfig(source="sample"), config, store, bench.folder / "held", device, log)
        record = classifier_record(made)
        bench.put("ours", ms_per_step=record.seconds / (n // BATCH) * 1e3, products=record.precision)
    tokenizer = load_for(model, FINANCIAL).tokenizer
    tokenized = tokenize(tokenizer, small.train.texts, 128, True)
    plain = partial(plain_steps, model, tokenized, small.train.labels, tokenizer.pad_token_id, device=device)
    for name, pad_to, cast in (("autocast, fused AdamW", None, True), ("padded to 64, fp32", 64, False)):
        with bench.stage(name):
            plain(pad_to, cast, 1 if bench.small else 4)
            bench.put(name, ms_per_step=plain(pad_to, cast, n // BATCH) * 1e3)
