"""Measures the encoders that preselect in 8-bit integers: each that this CPU can run, in turn, on one thread.

`python -m benchmarks.int8_encoders` (2 minutes). An SAE of 32k features is trained for some steps first, so that few
entries are active, as in most of a training. Each encoder then reads the same 1,024 tokens; the median of nine calls
counts. Seconds are of CPU time, which other programs disturb little. The last line is one JSON object.
"""

import json
import os
import time
from statistics import median
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import torch
from torch import Tensor

from benchmarks.train import BATCH, START, Sparsity, learning_rate_factor, made_up, real
from sae_pipeline.kernels import CpuKernels, choose
from sae_pipeline.kernels.backend import CPU_REQUIREMENTS
from sae_pipeline.kernels.cpu import cpu_features
from sae_pipeline.sae.kinds import stepper, unit_rows

D_SAE, STEPS, CALLS = 32768, 90, 9


def main() -> None:
    """Measure both widths, and end with JSON."""
    found: dict[str, dict[int, float]] = {}
    for d_in, data in ((384, real), (768, made_up)):
        for name, milliseconds in measured(*trained(data()["train"], d_in)).items():
            found.setdefault(name, {})[d_in] = milliseconds
            print(f"{d_in} x 32k {name:10} {milliseconds:8.1f} ms", flush=True)
    print(json.dumps({"ms": found, "torch": torch.__version__}))


def trained(train: Tensor, d_in: int) -> tuple[Tensor, Tensor, Tensor]:
    """The next tokens, and W_enc [d_sae, d_in] and b_enc [d_sae] of an SAE after some steps."""
    generator = torch.Generator().manual_seed(0)
    step = stepper("relu", unit_rows(D_SAE, d_in, generator), 64)
    sparsity = Sparsity(*START[d_in, D_SAE])
    order = torch.randperm(len(train), generator=generator).split(BATCH)
    steps = min(STEPS, len(order) - 2)  # the last batch may be small
    for i, rows in enumerate(order[:steps]):
        rate = step.learning_rate * learning_rate_factor(i, steps, step.decay)
        sparsity.steer(step.step(train[rows], rate, sparsity.weight).l0, steps)
    weights = step.weights()
    return train[order[steps]], weights.W_enc.T.contiguous(), weights.b_enc


def measured(x: Tensor, W_enc: Tensor, b_enc: Tensor) -> dict[str, float]:
    """Milliseconds of each encoder."""
    encoders: dict[str, Any] = {}
    for name, bits in CPU_REQUIREMENTS.items():
        kernels = choose(name) if cpu_features() & bits == bits else None
        if isinstance(kernels, CpuKernels):
            encoders |= dict.fromkeys(kernels.int8_encoders, kernels)
    seconds: dict[str, list[float]] = {name: [] for name in encoders}
    for _ in range(CALLS):
        for name, kernels in encoders.items():
            started = time.process_time()
            kernels.encode_int8(x, W_enc, b_enc, encoder=name)
            seconds[name].append(time.process_time() - started)
    return {name: 1000 * median(values) for name, values in seconds.items()}


if __name__ == "__main__":
    main()
