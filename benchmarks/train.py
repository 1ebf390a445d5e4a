"""Measures the speed of SAE training beside a plain loop and other libraries.

`make bench-sae` (some 15 minutes), or `QUICK=1 make bench-sae` (under 50 s: width 384 on half of the headlines, without
other libraries and kinds). The last line is one JSON object.

- Width 384 is MiniLM's layer 4: on the real headlines if they lie beside the checkout, else on the built-in sample.
  SAEs are trained for three passes with L0 near 64, and FVU and L0 are of held-out tokens. Each kind has a row,
  steered to L0 64.
- Width 768 is made-up sparse mixtures. It serves for timing only.
- The plain loop and the other libraries take a few steps of 4,096 tokens. For their FVU they are trained for three
  passes at 384 x 4k. The fastest of them holds L0 at 64 and is trained at 32k too.
- The floor is torch's encoder product alone, in bf16 where the chip is fast at it, else in fp32.

Each training has a process of its own, in which memory is counted above the data. Rates are of the optimiser steps,
with the batches given. `--peers-python` names an interpreter with benchmarks/peers/requirements.txt, which `make
peers` makes. `busy_neighbour_factor` says how many times as long training at 384 x 32k takes beside a program that
keeps one core busy; see neighbour.py. With `--device cuda` all of this is measured on a card, with the card's memory;
`make bench-gpu` measures more of it there. `other_cpu` is the share of the CPU that other programs took meanwhile: if
it is high, do not trust the figures.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.neighbour import busy_neighbour_factor
from benchmarks.peers.speed import clock, peak, quality, reset_peak
from sae_pipeline.activations.reading import read_batches
from sae_pipeline.classifier.pretrained import load_pretrained
from sae_pipeline.config import HeadlinesConfig
from sae_pipeline.errors import UserError
from sae_pipeline.headlines.dataset import load_headlines
from sae_pipeline.headlines.tokens import tokenize
from sae_pipeline.kernels import a_core_for_each_thread, path_counts
from sae_pipeline.machine.device import pick_device, use_bf16
from sae_pipeline.machine.threads import wait_asleep
from sae_pipeline.sae.kinds import nested_prefixes, stepper, unit_rows
from sae_pipeline.sae.training import Sparsity, learning_rate_factor, sparsity_weight
from sae_pipeline.schema.kinds import KINDS, Kind

QUICK = os.environ.get("QUICK", "0") not in ("", "0")
HERE = Path(__file__).parent
REAL_DATA = HERE.parent.parent / "shared" / "data" / "twitter-financial-news-sentiment"
OTHERS = ("dictionary_learning", "sae_lens", "sparsify", "overcomplete")
BATCH, KIND_BATCH, PEER_BATCH = 1024, 512, 4096
# λ at the start, and the L0 that training is steered to. Both were found by hand, so that held-out L0 is near 64.
START = {(384, 4096): (1.2, 64.0), (384, 32768): (2.3, 57.0), (768, 4096): (0.35, 64.0), (768, 32768): (4.0, 48.0)}
# Shapes at which other programs are trained for as many passes as ours.
WHOLE = {(384, 4096): ("plain", *OTHERS), (384, 32768): ("sparsify",), (768, 32768): ("sparsify",)}


def main() -> None:
    """Measure every width and size, print the table, and end with JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    default = HERE.parent / "build" / "peers" / "bin" / "python"
    parser.add_argument("--peers-python", type=Path, default=default)
    parser.add_argument("--widths", type=int, nargs="*", default=[384] if QUICK else [384, 768])
    parser.add_argument("--sizes", type=int, nargs="*", default=[4096, 32768])
    parser.add_argument("--no-kinds", action="store_true", help="leave out the rows of all kinds at width 384")
    parser.add_argument("--device", help="cpu or cuda; none: the CPU")
    parser.add_argument("--train", nargs=3, metavar=("KIND", "DATA.pt", "D_SAE"), help=argparse.SUPPRESS)
    parser.add_argument("--steps", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    device = device_of(arguments.device)
    if arguments.train:
        kind, path, d_sae = arguments.train
        print(json.dumps(trained(kind, torch.load(path, mmap=True), int(d_sae), device, arguments.steps)))
        return
    wait_asleep()  # in the processes that train, as in the program's own
    peers = OTHERS if arguments.peers_python.exists() and not QUICK else ()
    print(f"{device_name(device)}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    if not peers:
        print(f"Peers are left out: {'QUICK' if QUICK else f'there is no {arguments.peers_python}'}.")
    print(f"{'':28}{'tokens/s':>10} {'of floor':>9} {'FVU':>7} {'L0':>7} {'peak MiB':>9} {'silent':>7}")
    figures: list[dict[str, Any]] = []
    factor = None
    started, used_before = time.perf_counter(), used_by_others()
    with tempfile.TemporaryDirectory() as folder:
        for d_in in arguments.widths:
            data = {384: real, 768: made_up}[d_in]()
            path = Path(folder) / f"{d_in}.pt"
            torch.save(data, path)
            for d_sae in arguments.sizes:
                figures.append(compare(data["train"], path, d_sae, peers, arguments.peers_python, device))
                if d_in == 384 and not (arguments.no_kinds or QUICK):
                    figures[-1]["kinds"] = every_kind(path, d_sae, device)
                if (d_in, d_sae) == (384, 32768) and device.type == "cpu" and not QUICK:
                    factor = busy_neighbour_factor(
                        lambda path=path: 1 / ours("ours", path, 32768, device, 60)["tokens_per_s"]
                    )
                    print(f"Beside a busy neighbour, training at 384 x 32k takes {factor} times as long.")
    others = (used_by_others() - used_before) / (time.perf_counter() - started) / (os.cpu_count() or 1)
    print(f"Other programs used {others:.0%} of the CPU meanwhile.")
    versions = {"torch": torch.__version__, "python": platform.python_version(), "threads": torch.get_num_threads()}
    place = {"device": device_name(device), **versions}
    print(
        json.dumps({"quick": QUICK, "results": figures, "busy_neighbour_factor": factor, "other_cpu": others, **place})
    )


def device_of(name: str | None) -> torch.device:
    """The device called `name`, or the CPU. A device that this machine lacks ends the program with one sentence."""
    try:
        return pick_device(name or "cpu")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from error


def device_name(device: torch.device) -> str:
    """What the device calls itself."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return platform.processor() or platform.machine()


def compare(
    train: Tensor, path: Path, d_sae: int, peers: tuple[str, ...], python: Path, device: torch.device
) -> dict[str, Any]:
    """Measure one shape: our training, the plain loop, the peers, and the floor."""
    d_in = train.shape[1]
    floor = encoder_alone(train, d_sae, device)
    rows = {"ours": ours("ours", path, d_sae, device)}
    for name in ("plain", *peers):
        interpreter = sys.executable if name == "plain" else str(python)
        whole = name in WHOLE.get((d_in, d_sae), ()) and not QUICK
        amount = ["--epochs", "3"] if whole else ["--steps", "1" if QUICK and d_sae > 4096 else "2"]
        try:
            rows[name] = peer(interpreter, name, path, d_sae, PEER_BATCH, device, *amount)
        except RuntimeError as error:
            print(f"{name} is left out: {error}")
    for name, row in rows.items():
        print_row(f"{d_in} x {d_sae // 1024}k {name}", row, floor)
    speed = rows["ours"]["tokens_per_s"]
    fastest = max((rows[name]["tokens_per_s"] for name in peers if name in rows), default=None)
    return {
        "d_in": d_in,
        "d_sae": d_sae,
        **rows["ours"],
        "ratio_to_plain": speed / rows["plain"]["tokens_per_s"],
        "ratio_to_fastest_peer": speed / fastest if fastest else None,
        "floor_tokens_per_s": floor,
        "fraction_of_floor": speed / floor,
        "others": {name: row for name, row in rows.items() if name != "ours"},
    }


def peer(
    python: str, name: str, path: Path, d_sae: int, batch: int, device: torch.device, *amount: str
) -> dict[str, Any]:
    """The figures of another program, run in a process of its own; see peers/speed.py.

    Raises RuntimeError with the program's last line when it ends without them.
    """
    program = [python, str(HERE / "peers" / "speed.py"), name, str(path), str(d_sae)]
    command = [*program, "--batch", str(batch), "--device", device.type, *amount]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        raise RuntimeError((run.stderr.strip().splitlines() or [f"exit code {run.returncode}"])[-1][:150])
    row: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return row


def every_kind(path: Path, d_sae: int, device: torch.device) -> dict[str, Any]:
    """Train each kind for three passes at its own settings, steered to L0 64."""
    rows = {}
    for kind in KINDS:
        rows[kind] = ours(kind, path, d_sae, device)
        print_row(f"384 x {d_sae // 1024}k {kind}", rows[kind], None)
    return rows


def ours(kind: str, path: Path, d_sae: int, device: torch.device, steps: int | None = None) -> dict[str, Any]:
    """Run `trained` in a process of its own."""
    program = [sys.executable, "-m", "benchmarks.train", "--device", device.type]
    command = [*program, "--train", kind, str(path), str(d_sae), *(["--steps", str(steps)] if steps else [])]
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    row: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return row


def trained(
    name: str, data: dict[str, Tensor], d_sae: int, device: torch.device, steps: int | None = None
) -> dict[str, Any]:
    """Train for three passes, with QUICK at 32k for one; or take `steps`.

    "ours" is the default recipe; other names are kinds.
    """
    train = data["train"].to(device)
    d_in = train.shape[1]
    kind: Kind = "relu" if name == "ours" else name
    if name == "ours":
        batch, sparsity = BATCH, Sparsity(*START[d_in, d_sae])
    else:
        batch, sparsity = KIND_BATCH, Sparsity(sparsity_weight("default", 1e-3, d_in, d_sae, kind), 64.0)
    generator = torch.Generator().manual_seed(0)
    epochs = 1 if QUICK and d_sae > 4096 else 3
    torch.mm(train[:BATCH], train[:BATCH].T)  # starts the threads
    before = reset_peak(device.type)
    step = stepper(kind, unit_rows(d_sae, d_in, generator).to(device), 64, nested_prefixes(d_sae))
    order = [rows for _ in range(epochs) for rows in torch.randperm(len(train), generator=generator).split(batch)][
        :steps
    ]
    seconds, last_fired = 0.0, torch.full((d_sae,), -1, device=device)
    for i, rows in enumerate(order):
        x = train[rows.to(device)]
        started = clock(device.type)
        rate = step.learning_rate * learning_rate_factor(i, len(order), step.decay)
        with a_core_for_each_thread():
            stats = step.step(x, rate, sparsity.weight)
        sparsity.steer(stats.l0, len(order))
        seconds += clock(device.type) - started
        last_fired[stats.counts > 0] = i
    figures = {
        "tokens_per_s": sum(map(len, order)) / seconds,
        "peak_mib": peak(device.type) - before,
        "silent": float((last_fired < len(order) - len(order) // epochs).float().mean()),
    }
    weights = step.weights()

    def run(x: Tensor) -> tuple[Tensor, Tensor]:
        pre = x @ weights.W_enc + weights.b_enc
        f = torch.relu(pre) * (pre > weights.threshold)
        if KINDS[kind].k_per_token:
            f = f * (f >= f.topk(64).values[:, -1:])
        return f, f @ weights.W_dec + weights.b_dec

    held_out = data["held_out"][: 4096 if QUICK else None].to(device)
    return {**figures, **quality(run, held_out), "paths": dict(path_counts)}


def print_row(label: str, row: dict[str, Any], floor: float | None) -> None:
    """Print one line of the table."""
    fvu, l0 = (f"{row[key]:{form}}" if key in row else "" for key, form in (("fvu", ".4f"), ("l0", ".1f")))
    share = f"{row['tokens_per_s'] / floor:.2f}" if floor else ""
    silent = f"{row['silent']:.1%}" if "silent" in row else ""
    print(
        f"{label:28}{row['tokens_per_s']:10,.0f} {share:>9} {fvu:>7} {l0:>7} {row['peak_mib']:9,.0f} {silent:>7}",
        flush=True,
    )


def used_by_others() -> float:
    """CPU seconds since the machine started, without those of this process and its children."""
    user, nice, system, _, _, *interrupts = map(int, Path("/proc/stat").read_text().split("\n")[0].split()[1:8])
    return (user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK") - sum(os.times()[:4])


def encoder_alone(train: Tensor, d_sae: int, device: torch.device) -> float:
    """Tokens per second of torch's encoder product; on a CPU in blocks of features that stay in cache."""
    dtype = torch.bfloat16 if use_bf16(device, "auto") else torch.float32
    x = train[:BATCH].to(device, dtype)
    blocks = torch.randn(d_sae, x.shape[1]).to(device, dtype).split(2048 if device.type == "cpu" else d_sae)
    times = []
    for _ in range(10):
        started = clock(device.type)
        for block in blocks:
            x @ block.T
        times.append(clock(device.type) - started)
    return len(x) / sorted(times)[len(times) // 2]


def real() -> dict[str, Tensor]:
    """x_norm of MiniLM's layer 4 at the words of the headlines."""
    found = REAL_DATA.is_dir()
    train, test = (str(REAL_DATA / f"sent_{split}.csv") if found else None for split in ("train", "valid"))
    if not found:
        print(f"{REAL_DATA.name} is not beside the checkout, so the built-in sample is used, whose FVU differs.")
    splits = load_headlines(HeadlinesConfig(source=train or "sample", test_source=test))
    network, tokenizer, *_ = load_pretrained("minilm")
    parts = []
    for split in (splits.train, splits.test):
        texts = split.texts[: len(split.texts) // 2] if QUICK else split.texts
        tokens = tokenize(tokenizer, texts, 128, True)
        batches = read_batches(network, tokens, tokenizer.pad_token_id, 4, "words", precision="auto")
        parts.append(torch.cat([batch.acts for batch in batches]))
    return normalised(*parts)


def made_up() -> dict[str, Tensor]:
    """x_norm [n, 768] of `mixture`."""
    x = mixture(33_000, 768)
    return normalised(x[1000:], x[:1000])


def mixture(n: int, d_in: int, n_true: int = 4096) -> Tensor:
    """Vectors [n, d_in] of a few of `n_true` directions of uneven frequency, plus noise."""
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(n_true, d_in, generator=generator)
    frequency = 30 * torch.softmax(-torch.arange(1, n_true + 1).float().log(), 0)
    tokens = []
    for _ in range(-(-n // 1000)):
        on = torch.rand(1000, n_true, generator=generator) < frequency
        tokens.append((on * torch.rand(on.shape, generator=generator)) @ directions)
    x = torch.cat(tokens)[:n]
    return x + 0.1 * x.std() * torch.randn(x.shape, generator=generator)


def normalised(train: Tensor, held_out: Tensor) -> dict[str, Tensor]:
    """Both splits as x_norm, by the mean and scale of train; see sae/autoencoder.py."""
    mean = train.mean(0)
    scale = (train - mean).square().mean().sqrt()
    return {"train": (train - mean) / scale, "held_out": (held_out - mean) / scale}


if __name__ == "__main__":
    main()
