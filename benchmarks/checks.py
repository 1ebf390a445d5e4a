"""Measures which share of each stage's time checksums take.

`make bench-checks` (some 15 minutes on 2 cores), or `QUICK=1 make bench-checks` (MiniLM and 1,000 headlines, under
50 s). The last line is one JSON object.

The stages run one after the other, on the real training file if it lies beside the checkout, else on the built-in
sample. Fine-tuning makes one pass. Before each stage the process forgets which files it has compared, as if the stage
were a command of its own.
"""

import csv
import itertools
import json
import os
import platform
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from benchmarks.extract import REAL_DATA, bert
from sae_pipeline import pipeline
from sae_pipeline.analysis import neighbours
from sae_pipeline.artefacts import checksums, tensor_files
from sae_pipeline.config import study_config
from sae_pipeline.sae import autoencoder

QUICK = os.environ.get("QUICK", "0") not in ("", "0")
ROWS = 1_000 if QUICK else None  # of the real training file
CPU = torch.device("cpu")


def main() -> None:
    """Measure each encoder, print the table, and end with JSON."""
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in ["minilm"] if QUICK else ["minilm", "finbert"]:
            results[name] = measure(name, Path(folder) / name)
    print(json.dumps({"quick": QUICK, "torch": torch.__version__, "python": platform.python_version(), **results}))


def measure(name: str, root: Path) -> dict[str, Any]:
    """Seconds of each stage and of the checksums in it, for one encoder."""
    root.mkdir()
    model, layer = ("minilm", 4) if name == "minilm" else (bert(root / "encoder"), 8)
    study = study_config(
        "demo",
        headlines=headlines(root),
        finetune={"model": model, "epochs": 1},
        extract={"layer": layer},
        train={"latent_dims": (4096, 32768)},
        analyze={"sae_size": "32k"},
        intervene={"agreement_headlines": 20, "curve_headlines": 20, "flip_headlines": 10},
    )
    stages: dict[str, Callable[[], object]] = {
        "finetune": lambda: pipeline.finetune(study, root, CPU),
        "extract": lambda: pipeline.extract(study.extract, root, CPU),
        "train": lambda: pipeline.train(study.extract, study.train, root, CPU),
        "analyze": lambda: pipeline.analyze(study, root, CPU),
        "intervene": lambda: pipeline.intervene(study.intervene, root, CPU),
    }
    seconds = {}
    for stage, run in stages.items():
        checksums._known.clear()
        with timed_checks() as spent:
            started = time.perf_counter()
            run()
            whole = time.perf_counter() - started
        checks = sum(spent.values())
        seconds[stage] = {"seconds": whole, "checksums": checks, "share": checks / whole}
        print(f"{name:8} {stage:10} {whole:8.1f} s, checksums {checks:6.2f} s = {checks / whole:6.2%}", flush=True)
    return seconds


def headlines(root: Path) -> dict[str, Any]:
    """The config of the first rows of the real training data, or of the built-in sample."""
    if not REAL_DATA.is_dir():
        return {"source": "sample"}
    path = root / "headlines.csv"
    with (REAL_DATA / "sent_train.csv").open(encoding="utf-8", newline="") as file, path.open("w", newline="") as out:
        rows = csv.reader(file)
        csv.writer(out).writerows(itertools.islice(rows, ROWS and 1 + ROWS))
    return {"source": str(path)}


@contextmanager
def timed_checks() -> Iterator[dict[str, float]]:
    """Seconds spent in each function that computes checksums. Threads are added up, so the sum is an upper bound."""
    spent: dict[str, float] = defaultdict(float)

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            started = time.perf_counter()
            try:
                return function(*arguments)
            finally:
                spent[name] += time.perf_counter() - started

        return call

    places = [(checksums, "sha256"), (checksums, "unseal"), (checksums, "seal"), (checksums, "check_sealed")]
    places += [(module, "tensors_checksum") for module in (tensor_files, autoencoder, neighbours)]
    with ExitStack() as patched:
        for module, name in places:
            patched.enter_context(patch.object(module, name, timed(name, getattr(module, name))))
        yield spent


if __name__ == "__main__":
    main()
