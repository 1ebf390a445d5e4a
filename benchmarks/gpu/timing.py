"""Times calls on a graphics card, and measures its highest bandwidth and rates (`ceilings`). It needs only torch."""

import json
import statistics
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.gpu.parts import Bench
from benchmarks.peers.speed import clock


def median_ms(work: Callable[[], Any], device: str, repeat: int = 30, warm: int = 5) -> float:
    """The median milliseconds of a call: between CUDA events on a card, else on the host's clock."""
    for _ in range(warm):
        work()
    if device == "cpu":
        times = []
        for _ in range(repeat):
            started = clock()
            work()
            times.append((clock() - started) * 1e3)
        return statistics.median(times)
    marks = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(repeat)]
    for first, last in marks:
        first.record()
        work()
        last.record()
    torch.cuda.synchronize()
    return statistics.median(first.elapsed_time(last) for first, last in marks)


def timed(bench: Bench, work: Callable[[], Any]) -> float:
    """`median_ms` on the bench's device, with few calls in a rehearsal."""
    return median_ms(work, bench.device, *((1, 1) if bench.small else (30, 5)))


def ceilings(bench: Bench) -> None:
    """Measure the bandwidth in GB/s and the rates in TFLOP/s, and leave them for the part `kernels`."""
    found = dict[str, float]()
    with bench.stage("bandwidth"):
        source = torch.randn(1 << (16 if bench.small else 29), device=bench.device)
        target = torch.empty_like(source)
        found["gb_per_s"] = 8 * len(source) / timed(bench, lambda: target.copy_(source)) / 1e6
    size = 128 if bench.small else 8192
    for name, dtype in (("bf16", torch.bfloat16), ("fp32", torch.float32)):
        with bench.stage(name):
            a, b = (torch.randn(size, size, device=bench.device).to(dtype) for _ in range(2))
            found[f"tflops_{name}"] = 2 * size**3 / timed(bench, lambda a=a, b=b: a @ b) / 1e9
    bench.put("ceilings", **found)
    (bench.folder / "ceilings.json").write_text(json.dumps(found), encoding="utf-8")
