"""A small study made by the real pipeline, with real BERT weights and real training, which all tests share.

`python -m tests.support.small_study` builds it into the folder named by TEST_STUDY, for the browser tests.
"""

import csv
import os
from datetime import date, timedelta
from pathlib import Path

import torch

from sae_pipeline import pipeline
from sae_pipeline.config import MapConfig, StudyConfig, study_config
from sae_pipeline.headlines.sample import sample_headlines
from sae_pipeline.schema.map import MAP
from sae_pipeline.study import present

N_HEADLINES = 800
TICKERS = ("AAPL", "MSFT", "TSLA")


def small_config(root: Path) -> StudyConfig:
    """The demo preset on a part of the sample, with two narrow SAEs."""
    return study_config(
        "demo",
        headlines={"source": str(root / "headlines.csv")},
        finetune={"epochs": 3, "learning_rate": 2e-4, "batch_size": 16},
        train={"latent_dims": (1024, 2048), "batch_size": 256, "num_epochs": 3},
        analyze={"sae_size": "2k", "top_features": 30},
    )


def write_headlines(path: Path, n: int) -> None:
    """The first n headlines of the built-in sample as CSV, with a date and a ticker in turn."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label", "date", "ticker"])
        for (text, label), number in zip(sample_headlines(), range(n), strict=False):
            writer.writerow([text, label, date(2024, 1, 1) + timedelta(number % 90), TICKERS[number % 3]])


def build(root: Path) -> StudyConfig:
    """Run every stage under `root`. An equal analysis is reused."""
    study = small_config(root)
    write_headlines(root / "headlines.csv", N_HEADLINES)
    device = torch.device("cpu")
    pipeline.finetune(study, root, device)
    pipeline.train(study.extract, study.train, root, device)
    run = present.equal_run(study, root) or pipeline.analyze(study, root, device)
    if not (run / MAP).exists():
        pipeline.map_features(MapConfig(run=run.name), root)
    return study


if __name__ == "__main__":
    build(Path(os.environ["TEST_STUDY"]))
