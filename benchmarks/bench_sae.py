"""How fast SAEs train here, beside a plain loop and other libraries. The last line is one JSON object.

`make bench-sae` (minutes), or `QUICK=1 make bench-sae` (under 50 s, without the peers). Width 384: MiniLM's layer 4 on
the real headlines beside the checkout, else on the built-in sample; the SAE is trained for three passes at a λ that
gives L0 near 64, and its FVU and L0 are of held-out tokens. Width 768: made-up sparse mixtures, for timing. The others
take a few steps of 4,096 tokens, and at 384 x 4k a whole training; there every kind of ours has a row too, steered to
L0 64. The floor is torch's bf16 encoder product alone. `--peers-python` names an interpreter with
benchmarks/requirements-peers.txt (`make peers` makes one); memory is above the data.
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
from typing import Any, get_args

import torch
from torch import Tensor

from sae_pipeline.activations import read_activations
from sae_pipeline.classifier import load_base
from sae_pipeline.config import HeadlinesConfig
from sae_pipeline.headlines import load_headlines
from sae_pipeline.kernels import path_counts
from sae_pipeline.kinds import nested_prefixes, stepper, unit_rows
from sae_pipeline.schema import Kind
from sae_pipeline.tokens import tokenize
from sae_pipeline.training import Sparsity, learning_rate_factor, sparsity_weight

from .sae_peers import memory, quality, reset_peak

QUICK = os.environ.get("QUICK", "0") not in ("", "0")
HERE = Path(__file__).parent
REAL_DATA = HERE.parent.parent / "shared" / "data" / "twitter-financial-news-sentiment"
OTHERS = ("dictionary_learning", "sae_lens", "sparsify")
BATCH, KIND_BATCH, PEER_BATCH = 1024, 512, 4096
L1 = {(384, 4096): 1.2, (384, 32768): 2.3, (768, 4096): 1.4, (768, 32768): 4.0}  # L0 near 64, found by hand


def main() -> None:
    """Measure every width and size, print the table, end with JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    default = HERE.parent / "build" / "peers" / "bin" / "python"
    parser.add_argument("--peers-python", type=Path, default=default)
    parser.add_argument("--widths", type=int, nargs="*", default=[384, 768])
    parser.add_argument("--sizes", type=int, nargs="*", default=[4096, 32768])
    parser.add_argument("--no-kinds", action="store_true", help="leave out the table of all kinds at 384 x 4k")
    arguments = parser.parse_args()
    peers = OTHERS if arguments.peers_python.exists() and not QUICK else ()
    print(f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    if not peers:
        print(f"Peers are left out: {'QUICK' if QUICK else f'there is no {arguments.peers_python}'}.")
    print(f"{'':28}{'tokens/s':>10} {'of floor':>9} {'FVU':>7} {'L0':>7} {'peak MiB':>9}")
    figures: list[dict[str, Any]] = []
    kinds: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for d_in in arguments.widths:
            data = {384: real, 768: made_up}[d_in]()
            path = Path(folder) / f"{d_in}.pt"
            torch.save(data, path)
            figures += [compare(data, path, d_sae, peers, arguments.peers_python) for d_sae in arguments.sizes]
            if d_in == 384 and not arguments.no_kinds:
                kinds = every_kind(data, 4096)
    versions = {"torch": torch.__version__, "python": platform.python_version(), "threads": torch.get_num_threads()}
    print(json.dumps({"quick": QUICK, "results": figures, "kinds": kinds, "paths": dict(path_counts), **versions}))


def compare(data: dict[str, Tensor], path: Path, d_sae: int, peers: tuple[str, ...], python: Path) -> dict[str, Any]:
    """One shape: ours, the plain loop, the peers, the floor."""
    d_in = data["train"].shape[1]
    floor = encoder_alone(data["train"], d_sae)
    rows = {"ours": ours(data, d_sae)}
    whole = (d_in, d_sae) == (384, 4096) and not QUICK
    for name in ("plain", *peers):
        interpreter = sys.executable if name == "plain" else str(python)
        steps = "1" if QUICK and d_sae > 4096 else "2"
        amount = ["--epochs", "3"] if whole else ["--steps", steps]
        command = [interpreter, str(HERE / "sae_peers.py"), name, str(path), str(d_sae), "--batch", str(PEER_BATCH)]
        run = subprocess.run([*command, *amount], capture_output=True, text=True, check=False)
        if run.returncode:
            print(f"{name} is left out: {run.stderr.strip().splitlines()[-1][:150]}")
        else:
            rows[name] = json.loads(run.stdout.splitlines()[-1])
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


def ours(data: dict[str, Tensor], d_sae: int) -> dict[str, float]:
    """Three passes of the default recipe (in QUICK fewer at the big shapes)."""
    return trained("relu", data, d_sae, BATCH, Sparsity(L1[data["train"].shape[1], d_sae], None))


def every_kind(data: dict[str, Tensor], d_sae: int) -> dict[str, dict[str, float]]:
    """Three passes of each kind at its own settings, steered to L0 64."""
    d_in, rows = data["train"].shape[1], {}
    for kind in get_args(Kind):
        sparsity = Sparsity(sparsity_weight("default", 1e-3, d_in, d_sae, kind), 64.0)
        rows[kind] = trained(kind, data, d_sae, KIND_BATCH, sparsity)
        print_row(f"{d_in} x {d_sae // 1024}k {kind}", rows[kind], None)
    return rows


def trained(kind: Kind, data: dict[str, Tensor], d_sae: int, batch: int, sparsity: Sparsity) -> dict[str, float]:
    """A whole training of one kind: the rate is over all of it, FVU and L0 are of held-out tokens."""
    train = data["train"]
    generator = torch.Generator().manual_seed(0)
    epochs = 1 if QUICK and (d_sae > 4096 or kind != "relu") else 3
    before = reset_peak()
    step = stepper(kind, unit_rows(d_sae, train.shape[1], generator), 64, nested_prefixes(d_sae))
    order = [rows for _ in range(epochs) for rows in torch.randperm(len(train), generator=generator).split(batch)]
    started = time.perf_counter()
    for i, rows in enumerate(order):
        stats = step.step(
            train[rows], step.learning_rate * learning_rate_factor(i, len(order), step.decay), sparsity.weight
        )
        sparsity.steer(stats.l0, len(order))
    seconds = time.perf_counter() - started
    peak = (memory("VmHWM") - before) / 1024
    weights = step.weights()

    def run(x: Tensor) -> tuple[Tensor, Tensor]:
        pre = x @ weights.W_enc + weights.b_enc
        f = torch.relu(pre) * (pre > weights.threshold)
        if kind == "topk":
            f = f * (f >= f.topk(64).values[:, -1:])
        return f, f @ weights.W_dec + weights.b_dec

    held_out = data["held_out"][: 4096 if QUICK else None]
    return {"tokens_per_s": epochs * len(train) / seconds, "peak_mib": peak, **quality(run, held_out)}


def print_row(label: str, row: dict[str, Any], floor: float | None) -> None:
    """One line of the table."""
    fvu, l0 = (f"{row[key]:{form}}" if key in row else "" for key, form in (("fvu", ".4f"), ("l0", ".1f")))
    share = f"{row['tokens_per_s'] / floor:.2f}" if floor else ""
    print(f"{label:28}{row['tokens_per_s']:10,.0f} {share:>9} {fvu:>7} {l0:>7} {row['peak_mib']:9,.0f}", flush=True)


def encoder_alone(train: Tensor, d_sae: int) -> float:
    """Tokens per second of torch's bf16 encoder product, in blocks of features that stay in cache."""
    x = train[:BATCH].bfloat16()
    blocks = torch.randn(d_sae, x.shape[1]).bfloat16().split(2048)
    times = []
    for _ in range(10):
        started = time.perf_counter()
        for block in blocks:
            x @ block.T
        times.append(time.perf_counter() - started)
    return len(x) / sorted(times)[len(times) // 2]


def real() -> dict[str, Tensor]:
    """x_norm of MiniLM's layer 4 at the words of the headlines."""
    found = REAL_DATA.is_dir()
    train, test = (str(REAL_DATA / f"sent_{split}.csv") if found else None for split in ("train", "valid"))
    if not found:
        print(f"{REAL_DATA.name} is not beside the checkout: the built-in sample is used, whose FVU is its own.")
    splits = load_headlines(HeadlinesConfig(source=train or "sample", test_source=test))
    network, tokenizer = load_base("minilm")
    parts = []
    for split in (splits.train, splits.test):
        tokens = tokenize(tokenizer, split.texts, 128, True)
        batches = read_activations(network, tokens, tokenizer.pad_token_id, 4, "words", precision="auto")
        parts.append(torch.cat([batch.acts for batch in batches]))
    return normalised(*parts)


def made_up() -> dict[str, Tensor]:
    """x_norm [n, 768] of a few of 4,096 directions of uneven frequency, plus noise."""
    generator = torch.Generator().manual_seed(0)
    n, d_in, n_true = 33_000, 768, 4096
    directions = torch.randn(n_true, d_in, generator=generator)
    frequency = 30 * torch.softmax(-torch.arange(1, n_true + 1).float().log(), 0)
    tokens = []
    for _ in range(n // 1000):
        on = torch.rand(1000, n_true, generator=generator) < frequency
        tokens.append((on * torch.rand(on.shape, generator=generator)) @ directions)
    x = torch.cat(tokens)
    x = x + 0.1 * x.std() * torch.randn(x.shape, generator=generator)
    return normalised(x[1000:], x[:1000])


def normalised(train: Tensor, held_out: Tensor) -> dict[str, Tensor]:
    """Both in units of train's mean and scale, see sae.py."""
    mean = train.mean(0)
    scale = (train - mean).square().mean().sqrt()
    return {"train": (train - mean) / scale, "held_out": (held_out - mean) / scale}


if __name__ == "__main__":
    main()
