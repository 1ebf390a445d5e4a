"""Measures `intervene` by parts in CPU seconds, and as a whole on the clock, beside the floor.

`python -m benchmarks.causal_parts --root STUDY` runs `intervene` with its default settings on a copy of the study's
newest run and prints a table. The last line is one JSON object. With OMP_NUM_THREADS=1 other programs hardly matter.

The floor is plain torch: for each headline and each of the path's points, one forward pass of the layers after the
hookpoint, and one backward pass for each class but one. No attribution with this path does less.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sae_pipeline import pipeline
from sae_pipeline.causal import agreement, block, curves, gather, headline_effects, interactions, searches, word_effects
from sae_pipeline.causal.probe import Probe
from sae_pipeline.config import InterveneConfig
from sae_pipeline.headlines.tokens import TokenizedHeadline, length_batches
from sae_pipeline.runs.folders import find_run, read_run
from sae_pipeline.study import present

CPU = torch.device("cpu")
PARTS: list[tuple[Any, str, str]] = [
    (pipeline, "read_run", "reading the run"),
    (pipeline, "write_findings", "writing"),
    (pipeline, "index_run", "index"),
    (Probe, "read", "reading headlines"),
    (block, "attribute", "attribution: forward and backward passes"),
    (gather, "spliced", "reconstructions in place of activations"),
    (gather, "effect_columns", "mean effects, intervals"),
    (agreement.Agreements, "add", "agreement with ablations"),
    (curves.Curves, "add", "removal curves"),
    (searches, "flip", "flips"),
    (searches, "holds", "what holds where there is no flip"),
    (searches, "clamp", "clamping"),
    (headline_effects, "ablate", "ablations that verify"),
    (interactions.Interactions, "add", "joint ablations"),
    (interactions.Interactions, "_pairs", "pairs of features"),
    (word_effects.WordAttributions, "add", "words"),
]


QUICK: dict[str, Any] = {"max_headlines": 64} | dict.fromkeys(
    ("agreement_headlines", "curve_headlines", "flip_headlines", "word_headlines", "interaction_headlines"), 4
)


class Clock:
    """CPU seconds by part; if one part calls another, the time counts for the inner one only."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._running = ["everything else"]
        self._since = time.process_time()

    def switch(self) -> None:
        now = time.process_time()
        self.seconds[self._running[-1]] += now - self._since
        self._since = now

    def timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **options: Any) -> Any:
            self.switch()
            self._running.append(part)
            try:
                return function(*arguments, **options)
            finally:
                self.switch()
                self._running.pop()

        return run


def parts(root: Path, config: InterveneConfig) -> tuple[dict[str, float], float]:
    """Run `intervene` on the run of a study; its CPU seconds by part, and seconds on the clock."""
    clock, before = Clock(), [(owner, name, getattr(owner, name)) for owner, name, _ in PARTS]
    for owner, name, part in PARTS:
        setattr(owner, name, clock.timed(part, getattr(owner, name)))
    started = time.perf_counter()
    try:
        pipeline.intervene(config, root, CPU)
        clock.switch()
    finally:
        for owner, name, function in before:
            setattr(owner, name, function)
    return dict(clock.seconds), time.perf_counter() - started


def floor(root: Path, config: InterveneConfig) -> tuple[float, float]:
    """CPU seconds, and seconds on the clock, of the passes that no attribution can do without."""
    run = read_run(find_run(root / "analysis_data", config.run))
    classifier, sae = present.run_parts(root, run.metadata, CPU)
    probe = Probe.of(classifier.model, sae, classifier.tokenizer.pad_token_id)
    headlines = classifier.tokenize([run.prompts[n].text for n in gather.hardest(run.prompts, config.max_headlines)])
    cpu, clock = time.process_time(), time.perf_counter()
    for batch in length_batches([len(h.input_ids) for h in headlines], 1024):
        _passes(probe, [headlines[i] for i in batch], config.steps + 1)
    return time.process_time() - cpu, time.perf_counter() - clock


def _passes(probe: Probe, headlines: list[TokenizedHeadline], n_points: int) -> None:
    reading = probe.read(headlines, logits=False)
    hidden, input_ids, mask = reading.padded(np.arange(len(headlines)))
    for _ in range(n_points):
        with torch.enable_grad():
            x = hidden.detach().requires_grad_()
            totals = probe.tail(x, input_ids, mask).sum(0)
            last = len(totals) - 2
            for c in range(last + 1):
                torch.autograd.grad(totals[c], x, retain_graph=c < last)


def measure(root: Path, name: str | None = None, quick: bool = False) -> dict[str, Any]:
    """Measure on a copy of a run, by default the newest, and print the table; with `quick` on few headlines."""
    config = InterveneConfig(run=name, **(QUICK if quick else {}))
    with tempfile.TemporaryDirectory(dir=root) as folder:
        copy = Path(folder)
        (copy / "finbert_sae").symlink_to((root / "finbert_sae").absolute())
        run = find_run(root / "analysis_data", config.run)
        shutil.copytree(run, copy / "analysis_data" / run.name)
        (seconds, clock), (least, least_clock) = parts(copy, config), floor(copy, config)
    total = sum(seconds.values())
    print(f"\n{'CPU seconds of intervene':44} seconds  of floor")
    for part, spent in sorted(seconds.items(), key=lambda one: -one[1]):
        print(f"{part:44} {spent:7.1f} {spent / least:9.2f}")
    print(f"{'all of it':44} {total:7.1f} {total / least:9.2f}\n{'the floor':44} {least:7.1f}")
    print(f"On the clock it took {clock:.1f} s, and the floor {least_clock:.1f} s.")
    found = {"cpu_seconds": total, "floor_cpu_seconds": least, "ratio_to_floor": total / least, "parts": seconds}
    return {**found, "seconds": clock, "floor_seconds": least_clock}


def main() -> None:
    """Print the table, then JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=Path())
    parser.add_argument("--run", help="the run to use; default: the newest")
    parser.add_argument("--quick", action="store_true", help="only 64 headlines, 4 of them for searches and samples")
    arguments = parser.parse_args()
    found = measure(arguments.root, arguments.run, arguments.quick)
    where = {name: os.environ.get(name) for name in ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "SAE_KERNELS")}
    print(json.dumps({**found, "threads": torch.get_num_threads(), **where}))


if __name__ == "__main__":
    sys.exit(main())
