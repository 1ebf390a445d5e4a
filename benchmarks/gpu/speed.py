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
from sae_pipeline.kernels import path_counts
from sae_pipeline.sae.kinds import StepStats, nested_prefixes, stepper, unit_rows
from sae_pipeline.sae.training import Sparsity, sparsity_weight
from sae_pipeline.schema.kinds import KINDS, Kind
from sae_pipeline.tracking import no_tracking

START = {"relu": 4.0}  # λ at the start, near that of L0 64 at 768 × 32k; the other kinds find theirs


# --- the kernels --------------------------------------------------------------------------------------


def kernels(bench: Bench) -> None:
    """Time each kernel of a step of each kind beside its roofline, and the step with and without a CUDA graph."""
    path = bench.folder / "ceilings.json"
    ceiling: dict[str, float] = json.loads(path.read_bytes()) if path.is_file() else {}
    cases: list[tuple[Kind, int]] = [(kind, 16 if bench.small else 4096) for kind in KINDS]
    cases += [] if bench.small else [("relu", 1024), ("batchtopk", 1024), ("batchtopk", 256)]
    for kind, n in cases:
        name = f"{kind}, {n} tokens"
        if bench.left < 8:
            bench.put(name, ok=False, said="left out: no time")
            continue
        with bench.stage(name):
            _time_kernels(bench, kind, n, ceiling)


def _time_kernels(bench: Bench, kind: Kind, n: int, ceiling: dict[str, float]) -> None:
    """Time the launches of a step with L0 near 64 one by one. Repeated ones find what the first has left."""
    d, d_sae, warm = (16, 64, 2) if bench.small else (768, 32768, 60)
    x, step = tokens(n * 4, d).to(bench.device), begin(kind, d, d_sae, bench.device, "triton")
    train(step, kind, d, x, n, warm)
    for way, capture in (("CUDA graph", not bench.small), ("kernel by kernel", False)):
        step._capture = capture
        figures = {"ms": timed(bench, lambda: step.step(x[:n], 0.0, 0.0))}
        bench.put(f"{kind}, {n} tokens, step, {way}", **figures, tokens_per_s=n / figures["ms"] * 1e3)
    launches = recorded(lambda: step.step(x[:n], 0.0, 0.0))
    space = step._batches[n].space
    entries, in_use = int(space.counts.sum()), int((space.counts_by_feature > 0).sum())
    bench.put(f"{kind}, {n} tokens, lists", l0=entries / n, in_use=in_use, most=int(space.counts_by_feature.max()))
    least = fewest(n, d, d_sae, entries, in_use, space.levels, step.plain.beta1 > 0)
    total = 0.0
    for place, (name, call) in enumerate(launches):
        ms = launch_ms(bench, call)
        total += ms
        row = {"ms": ms}
        if name in least and ceiling:
            by_bytes, by_rate = (
                least[name][0] / ceiling["gb_per_s"] / 1e6,
                least[name][1] / ceiling["tflops_bf16"] / 1e9,
            )
            row |= {"floor_ms": max(by_bytes, by_rate), "of_floor": max(by_bytes, by_rate) / ms}
        bench.put(f"{kind}, {n} tokens, {place} {name}", **row)
    bench.put(f"{kind}, {n} tokens, all kernels", ms=total)


def fewest(
    n: int, d: int, d_sae: int, entries: int, in_use: int, levels: int, momentum: bool
) -> dict[str, tuple[float, float]]:
    """The fewest bytes that a kernel must move, and its operations in bf16, by its name.

    n tokens have `entries` entries of `in_use` features. Rows that several programs read count once.
    """
    bits, lists, rows = n * d_sae / 8, 8 * entries, in_use * d
    weights = (4 + 4 + 2) * 2 * rows + (8 * 2 * rows if momentum else 0)  # read, written, and in bf16; first moments
    return {
        "encode": (2 * d_sae * d + 2 * n * d + bits + 4 * entries, 2.0 * n * d * d_sae),
        "turn": (2 * bits, 0.0),
        "columns": (bits + 4 * entries, 0.0),
        "decode": (lists + 2 * rows + (4 + 2 * levels) * n * d, 0.0),
        "update": (lists + weights + 2 * (1 + levels) * n * d, 0.0),
    }


Call = Callable[[], Any]


def recorded(work: Call) -> list[tuple[str, Call]]:
    """The launches of Triton's kernels in some work: their names, and functions that launch them again."""
    from sae_pipeline.kernels import gpu_step

    launch, found = gpu_step.launch, list[tuple[str, Call]]()

    def record(kernel: Any, grid: tuple[int, ...], *arguments: Any, **options: Any) -> None:
        again = dict(zip(kernel.arg_names, arguments, strict=True)).get("again")  # of few tokens, so without a roofline
        name = kernel.__name__.removeprefix("_") + (" again" if again else "")
        found.append((name, partial(launch, kernel, grid, *arguments, **options)))
        launch(kernel, grid, *arguments, **options)

    gpu_step.launch = record
    try:
        work()
    finally:
        gpu_step.launch = launch
    return found


def launch_ms(bench: Bench, call: Call, repeat: int = 20) -> float:
    """The milliseconds that a card needs for a launch, without those that the host needs for it."""
    if bench.small:
        return timed(bench, call)
    call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(repeat):
            call()
    return median_ms(graph.replay, bench.device, 5, 2) / repeat


# --- training ------------------------------------------------------------------------------------------


def tokens(n: int, d_in: int) -> Tensor:
    """x_norm [n, d_in] of made-up mixtures."""
    x = mixture(n, d_in)
    return normalised(x, x[:1])["train"]


def begin(kind: Kind, d_in: int, d_sae: int, device: str, backend: str | None = None) -> Any:
    """The step of an SAE at its start, with k = 64."""
    draw = torch.Generator().manual_seed(0)
    rows, spread = unit_rows(d_sae, d_in, draw).to(device), torch.rand(d_sae, generator=draw).to(device)
    k = 8 if device == "cpu" else 64
    return stepper(kind, rows, k, nested_prefixes(d_sae), spread=spread, backend=backend)


def train(step: Any, kind: Kind, d_in: int, x: Tensor, n: int, steps: int) -> None:
    """Take some steps on x_norm [n_tokens, d_in], steered to L0 64."""
    d_sae = len(step.weights().W_dec)
    sparsity = Sparsity(START.get(kind) or sparsity_weight("default", 1e-3, d_in, d_sae, kind), 64.0)
    for i in range(steps):
        start = i * n % (len(x) - n + 1)
        stats = step.step(x[start : start + n], step.learning_rate / 2, sparsity.weight)
        sparsity.steer(stats.l0, steps)


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
