"""Measures what frozen lower layers, or fewer passes, cost a classifier that is fine-tuned on the real headlines.

    python -m benchmarks.freezing --model minilm --freeze 2 --epochs 3 --seeds 0,1,2,3     adds rows
    python -m benchmarks.freezing                                                          prints the stored rows

The study's own settings are those of `benchmarks.models`: 3 passes, nothing frozen. Rows are kept in
results/freezing.jsonl, one for each seed. The last line of the table is one JSON object. Intervals are those of the
mean over seeds (95 %, Student's t). Steps take one thread, and their seconds are of CPU time, which other programs
disturb little.
"""

import argparse
import json
import math
import os
import statistics
import time
from pathlib import Path
from typing import Any

from benchmarks.models import MODELS, REAL_DATA

ROWS = Path(__file__).parent / "results" / "freezing.jsonl"


def main() -> None:
    """Fine-tune what is asked for, then print all rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=tuple(MODELS), default="minilm")
    parser.add_argument("--freeze", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--learning-rate", type=float, help="none: the study's own")
    parser.add_argument("--seeds", default="", help="seeds, such as 0,1; none: only print")
    arguments = parser.parse_args()
    for seed in filter(None, arguments.seeds.split(",")):
        row = fine_tuned(arguments.model, arguments.freeze, arguments.epochs, int(seed), arguments.learning_rate)
        with ROWS.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
    report([json.loads(line) for line in ROWS.read_text(encoding="utf-8").splitlines()])


def fine_tuned(name: str, freeze: int, epochs: int, seed: int, learning_rate: float | None) -> dict[str, Any]:
    """Fine-tune one classifier and score it."""
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch

    from sae_pipeline import pipeline
    from sae_pipeline.config import study_config

    model = MODELS[name]
    source = {"source": str(REAL_DATA / "sent_train.csv"), "test_source": str(REAL_DATA / "sent_valid.csv")}
    changes = {**model.fine_tuning, "seed": seed, "freeze": freeze, "epochs": epochs}
    if learning_rate is not None:
        changes["learning_rate"] = learning_rate
    study = study_config(model.preset, headlines=source, finetune=changes)
    started = time.process_time()
    record = pipeline.finetune(study, model.folder / "freezing", torch.device("cpu"))
    assert record.dev and record.test
    return {
        "model": name,
        "freeze": freeze,
        "epochs": epochs,
        "learning_rate": study.finetune.learning_rate,
        "seed": seed,
        "dev": record.dev.macro_f1,
        "test": record.test.macro_f1,
        "cpu_seconds": round(time.process_time() - started),
    }


def report(rows: list[dict[str, Any]]) -> None:
    """Print one line for each setting, and end with JSON."""
    settings: dict[tuple[str, int, int, float], list[dict[str, Any]]] = {}
    for row in rows:
        settings.setdefault((row["model"], row["freeze"], row["epochs"], row["learning_rate"]), []).append(row)
    print(
        f"{'model':8} {'frozen':>6} {'epochs':>6} {'rate':>8} {'seeds':>5} {'dev macro-F1':>18} {'test macro-F1':>18}"
    )
    found = []
    for (model, freeze, epochs, rate), some in sorted(settings.items()):
        dev, test = ([row[split] for row in some if row[split] is not None] for split in ("dev", "test"))
        print(f"{model:8} {freeze:6} {epochs:6} {rate:8.0e} {len(some):5} {mean(dev):>18} {mean(test):>18}")
        found.append({"model": model, "freeze": freeze, "epochs": epochs, "rate": rate, "dev": dev, "test": test})
    print(json.dumps({"settings": found}))


def mean(values: list[float]) -> str:
    """The mean, with its interval where there are several values."""
    if not values:
        return "-"
    if len(values) < 2:
        return f"{values[0]:.3f}"
    from scipy.stats import t

    half = t.ppf(0.975, len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return f"{statistics.mean(values):.3f} ± {half:.3f}"


if __name__ == "__main__":
    main()
