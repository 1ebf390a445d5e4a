"""The study that gpu_check.py makes on the CPU, and the model with made-up weights that gpu_bench.py also uses."""

import os
import shutil
from pathlib import Path

import torch

from benchmarks.extract import bert
from benchmarks.gpu.parts import Bench
from sae_pipeline import pipeline, quality
from sae_pipeline.classifier.pretrained import load_pretrained, name_classes
from sae_pipeline.config import Precision, StudyConfig, study_config
from sae_pipeline.headlines.labels import FINANCIAL
from tests.support.small_study import write_headlines

CPU = torch.device("cpu")


def plan(bench: Bench, precision: Precision = "fp32") -> StudyConfig:
    """The settings of the study, which are tiny in a rehearsal."""
    size = 128 if bench.small else 2048
    return study_config(
        "demo",
        headlines={"source": str(bench.folder / "headlines.csv")},
        finetune={"model": str(bench.folder / "encoder"), "epochs": 1, "learning_rate": 2e-4}
        | {"batch_size": 4 if bench.small else 8, "precision": precision},
        extract={"layer": 2 if bench.small else 4, "precision": precision},
        train={"latent_dims": (size,), "batch_size": 256, "num_epochs": 1 if bench.small else 3},
        analyze={"sae_size": str(size) if bench.small else "2k", "top_features": 10},
        finish={"sae_size": str(size) if bench.small else "2k"},
        intervene={"max_headlines": 20, "agreement_headlines": 10, "curve_headlines": 5, "flip_headlines": 3}
        | {"word_headlines": 3, "bootstrap": 100, "steps": 4},
    )


def finbert(bench: Bench) -> str:
    """Save a model of FinBERT's shape, narrow in a rehearsal, with made-up weights; its folder."""
    shape = {"hidden_size": 64, "num_attention_heads": 4, "intermediate_size": 128} if bench.small else {}
    return bert(bench.folder / "finbert", **shape)


def make_reference(bench: Bench) -> None:
    """The study on the CPU. `tuned`, `extracted`, `trained`, `analyzed` and `whole` are its root after each stage."""
    os.environ["SAE_KERNELS"] = "reference"
    write_headlines(bench.folder / "headlines.csv", 120 if bench.small else 1200)
    if bench.small:
        shape = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 64}
        bert(bench.folder / "encoder", 0.0, **shape)
    else:
        found = load_pretrained("minilm", 3)
        found.network.config.hidden_dropout_prob = found.network.config.attention_probs_dropout_prob = 0.0
        name_classes(found.network, FINANCIAL)
        found.network.save_pretrained(bench.folder / "encoder")
        found.tokenizer.save_pretrained(bench.folder / "encoder")
    study, root = plan(bench), bench.folder / "reference"
    pipeline.finetune(study, root, CPU)
    keep(root, "tuned")
    pipeline.extract(study.extract, root, CPU)
    keep(root, "extracted")
    pipeline.train(study.extract, study.train, root, CPU)
    keep(root, "trained")
    pipeline.analyze(study, root, CPU)
    keep(root, "analyzed")
    pipeline.intervene(study.intervene, root, CPU)
    quality.finish(study.finish, study.extract.layer, root, CPU)
    keep(root, "whole")
    bench.put("study", headlines=120 if bench.small else 1200)


def keep(root: Path, name: str) -> Path:
    """A copy of a root under another name beside it."""
    return Path(shutil.copytree(root, root.parent / name))


def start(bench: Bench, after: str, name: str) -> Path:
    """The root of a stage: a copy of the reference study as it was `after` another stage."""
    if not (bench.folder / "whole").is_dir():
        raise FileNotFoundError("the part reference did not end well, and this one needs its study")
    return keep(bench.folder / after, name)
