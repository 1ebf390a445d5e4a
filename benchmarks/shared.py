"""Measures how a training step and its exchange depend on the number of ranks.

    torchrun --standalone --nproc-per-node 2 -m benchmarks.shared

The last line is one JSON object. QUICK=1 takes a third of the steps. Every rank computes with one thread, so that one
rank and each of two have the same core. `bytes` is what a rank hands to the all-reduces of one step. The link is
measured by an all-reduce of 64 MiB. `share of N` is the work of one of N ranks without the exchange: d_sae / N
features, of which k / N are active. docs/scaling.md puts the figures together.
"""

import json
import os
import statistics
import time

import torch
import torch.distributed as dist

from sae_pipeline.machine.processes import Ranks
from sae_pipeline.sae.kinds import StepSharing, stepper, unit_rows
from sae_pipeline.sae.kinds.sharing import UNSHARED

D_IN, D_SAE, BATCH, K, STEPS = 384, 32768, 1024, 64, 30
QUICK = os.environ.get("QUICK", "0") not in ("", "0")


class CountedRanks(Ranks):
    """Ranks that count the bytes of what they sum."""

    sent = 0

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """Sum as `Ranks` does, and count the bytes."""
        CountedRanks.sent += tensor.numel() * tensor.element_size()
        return super().sum(tensor)


def measure(sharing: StepSharing, x: list[torch.Tensor], d_sae: int = D_SAE, k: int = K) -> dict[str, float]:
    """Median seconds of a step, the bytes exchanged in it, and active features per token."""
    generator = torch.Generator().manual_seed(0)
    step = stepper("batchtopk", unit_rows(d_sae, D_IN, generator)[sharing.features(d_sae)], k, sharing=sharing)
    seconds, stats = [], None
    for i in range(STEPS // 3 if QUICK else STEPS):
        CountedRanks.sent = 0
        sharing.ranks.wait()
        started = time.perf_counter()
        stats = sharing.whole_stats(step.step(sharing.tokens(x[i % len(x)]), 1e-3, 0.0), d_sae)
        seconds.append(time.perf_counter() - started)
    assert stats is not None
    return {"seconds": statistics.median(seconds[3:]), "bytes": CountedRanks.sent, "l0": stats.l0}


def link() -> float:
    """Bytes per second of an all-reduce of 64 MiB over this link."""
    tensor = torch.zeros(1 << 24)
    times = []
    for _ in range(5):
        dist.barrier()
        started = time.perf_counter()
        dist.all_reduce(tensor)
        times.append(time.perf_counter() - started)
    return tensor.numel() * 4 / statistics.median(times)


def main() -> None:
    """Measure one rank alone, then all of them, sharing features and sharing tokens."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    rank, size = dist.get_rank(), dist.get_world_size()
    generator = torch.Generator().manual_seed(1)
    codes = unit_rows(2048, D_IN, generator)
    on = [torch.rand(BATCH, 2048, generator=generator) < 0.02 for _ in range(4)]
    x = [(mask * torch.rand(BATCH, 2048, generator=generator) * 6) @ codes for mask in on]
    rows = {"alone": measure(UNSHARED, x)} if rank == 0 else {}
    if rank == 0:
        rows |= {f"share of {n}": measure(UNSHARED, x, D_SAE // n, max(1, K // n)) for n in (2, 8, 64)}
    dist.barrier()
    for share_by in ("features", "tokens"):
        rows[share_by] = measure(StepSharing(CountedRanks(rank, size), share_by), x)
    rate = link()
    if rank == 0:
        print(f"{D_IN} × {D_SAE}, {BATCH} tokens a step, batchtopk k = {K}, {size} ranks of one thread each (gloo)")
        for name, row in rows.items():
            print(
                f"{name:11} {row['seconds'] * 1e3:7.1f} ms a step  {row['bytes'] / 1e6:8.2f} MB exchanged  "
                f"L0 {row['l0']:.0f}"
            )
        print(f"link: {rate / 1e9:.2f} GB/s in an all-reduce of 64 MiB")
        print(json.dumps({"ranks": size, "link_gb_per_s": rate / 1e9, **rows}))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
