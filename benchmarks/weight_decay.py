"""Measures what the weight decay of the TopK kinds does on dev, where it was chosen.

    python -m benchmarks.weight_decay --model base            trains the rows that are missing, then prints the table
    QUICK=1 python -m benchmarks.weight_decay --model minilm  prints what is stored

A row is one BatchTopK SAE, trained for 3 passes with 256 tokens a step on the tokens of
`python -m benchmarks.quality --model MODEL --peers-data`, which comes first. The last line is one JSON object.
"""

import argparse
import json
import os
from collections.abc import Iterator

import torch
from torch import Tensor

from benchmarks.models import MODELS
from benchmarks.peers.sweep import Row, rows
from benchmarks.quality import append
from sae_pipeline.activations.batches import HeldTokens, batches
from sae_pipeline.sae.kinds import unit_rows
from sae_pipeline.sae.kinds.topk import BatchTopKStep
from sae_pipeline.sae.training import learning_rate_factor

QUICK = os.environ.get("QUICK", "0") not in ("", "0")
DECAYS = (0.0, 0.4, 0.8)
LARGE = {"minilm": 32768, "base": 16384}
BATCH, PASSES = 256, 3
_KEYS = ("d_sae", "k", "weight_decay")


def wanted(model: str) -> Iterator[Row]:
    """The rows of a model: 4k over k, and a large SAE."""
    for d_sae, k in (*((4096, k) for k in (16, 32, 64, 128)), (LARGE[model], 64)):
        yield from (dict(zip(_KEYS, (d_sae, k, decay), strict=True)) for decay in DECAYS)


def train(x: Tensor, d_sae: int, k: int, weight_decay: float) -> BatchTopKStep:
    """Train one SAE on x_norm [n_tokens, d_in]."""
    generator = torch.Generator().manual_seed(0)
    W_dec = unit_rows(d_sae, x.shape[1], generator)
    step = BatchTopKStep(W_dec, k, d_sae=d_sae, spread=torch.rand(d_sae, generator=generator))
    step.weight_decay = weight_decay
    n_steps = -(-len(x) // BATCH) * PASSES
    for n, batch in enumerate(batches(HeldTokens(x.half()), BATCH, PASSES, 0)):
        step.step(batch.float(), step.learning_rate * learning_rate_factor(n, n_steps, step.decay), 0.0)
    return step


def figures(step: BatchTopKStep, x: Tensor) -> dict[str, float]:
    """FVU and L0 on x_norm [n_tokens, d_in]."""
    weights = step.weights()
    squared = active = 0.0
    for part in x.split(4096):
        pre = part @ weights.W_enc + weights.b_enc
        f = torch.where(pre > weights.threshold, pre, torch.zeros(()))
        squared += float((f @ weights.W_dec + weights.b_dec - part).square().sum())
        active += float((f > 0).sum())
    return {"fvu": squared / float((x - x.mean(0)).square().sum()), "l0": active / len(x)}


def main() -> None:
    """Train the missing rows, print the table, and end with JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=MODELS, default="base")
    model = MODELS[parser.parse_args().model]
    results = model.results("weight_decay")
    have = [{key: row[key] for key in _KEYS} for row in rows(results)]
    left = [] if QUICK else [row for row in wanted(model.name) if row not in have]
    if left:
        data = torch.load(model.folder / "x.pt")
        for row in left:
            found = figures(train(data["train"], **row), data["dev"])
            append(results, {**row, **found, "versions": {"torch": torch.__version__}})
    found = {tuple(row[key] for key in _KEYS): row for row in rows(results)}
    print(f"{'d_sae':>6}{'k':>5}   FVU on dev (L0) with weight decay {', '.join(map(str, DECAYS))}")
    for d_sae, k in dict.fromkeys((row["d_sae"], row["k"]) for row in wanted(model.name)):
        cells = [found.get((d_sae, k, decay)) for decay in DECAYS]
        print(f"{d_sae:6}{k:5}   " + "  ".join(f"{c['fvu']:.4f} ({c['l0']:.1f})" if c else "-" for c in cells))
    print(json.dumps({"quick": QUICK, "model": model.name, "rows": list(found.values())}))


if __name__ == "__main__":
    main()
