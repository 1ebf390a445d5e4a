"""Sizes that are recommended and extra text, on a real study from the command line."""

import csv
import shutil
from pathlib import Path

import pytest
import torch

from sae_pipeline import pipeline
from sae_pipeline.__main__ import main
from sae_pipeline.activations.store import open_store
from sae_pipeline.config import ExtractConfig, TrainConfig
from sae_pipeline.errors import UserError
from sae_pipeline.headlines.sample import sample_headlines
from sae_pipeline.runs.folders import list_runs, read_run
from sae_pipeline.study import present
from sae_pipeline.study.making import ensure_activations
from tests.support.small_study import N_HEADLINES

CPU = torch.device("cpu")
NEW = [text for text, _ in sample_headlines()[N_HEADLINES : N_HEADLINES + 30]]


@pytest.mark.full
def test_no_size_is_named(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`train` says in one line what it recommends; `analyze` reads the SAE that was trained last."""
    place = ["--root", str(copy), "--preset", "finbert", "--layer", "4"]
    assert present.trained_size(copy, 4) == "2k"
    assert main(["train", *place, "--num-epochs", "1", "--kind", "batchtopk", "--k", "16"]) == 0
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("recommended for ")]
    assert len(told) == 1 and "6,118 tokens: 1,024 features, 16 of them active, 1 pass; " in told[0]
    assert main(["analyze", *place, "--max-samples", "9", "--top-features", "3"]) == 0
    metadata = read_run(list_runs(copy / "analysis_data")[0].folder).metadata
    assert (metadata.sae.size, metadata.configs["analyze"]["sae_size"]) == ("1k", "1k")
    (copy / "finbert_sae" / "layer_4_1k.pt").unlink()
    assert present.trained_size(copy, 4) == "2k"
    with pytest.raises(UserError, match=r"There is no SAE of layer 3; run `.* train`"):
        present.trained_size(copy, 3)


def test_too_few_headlines(copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One vector a headline is too little of a small table, and the message says how many are needed."""
    model = next((copy / "finbert_sae" / "store").glob("*/model.safetensors")).parent
    table = tmp_path / "few.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["text", "label"], *sample_headlines()[:60]])
    place = ["--root", str(tmp_path / "few"), "--preset", "finbert", "--layer", "1"]
    assert main(["adopt", *place[:4], "--model", str(model), "--source", str(table)]) == 0
    assert main(["train", *place, "--positions", "mean"]) == 2
    assert "headlines are too few for an SAE: the smallest has 64 features and needs 512; " in capsys.readouterr().err


@pytest.mark.full
def test_extra_text(copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The text of another table is trained on, without copies of the study's headlines; its hash is recorded."""
    headlines = present.same_headlines(copy)
    known = [headlines.test.texts[0], headlines.test.texts[1].upper() + " https://x.com/a", headlines.dev.texts[0]]
    table = tmp_path / "more" / "news.csv"
    table.parent.mkdir()
    with table.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["headline", "by"], *([text, "wire"] for text in (*NEW, *known, NEW[0], ""))])
    before = ensure_activations(ExtractConfig(layer=4), copy, CPU).manifest
    place = ["--root", str(copy), "--layer", "4", "--latent-dims", "64", "--num-epochs", "1", "--batch-size", "256"]
    assert main(["train", *place, "--extra-text", str(table)]) == 0
    assert "30 of 35 rows of" in capsys.readouterr().out
    extraction = ExtractConfig(layer=4, extra_text=str(table))
    config = TrainConfig(latent_dims=(64,), num_epochs=1, batch_size=256)
    record = pipeline.train(extraction, config, copy, CPU)["64"]
    folder = copy / "finbert_sae" / "activations" / record.activations
    manifest = open_store(folder).manifest
    assert manifest.extra is not None and manifest.extra.kept == 30 and manifest.extra.in_study == 3
    assert (manifest.extra.duplicates, manifest.extra.empty) == (1, 1)
    assert manifest.n_headlines == before.n_headlines + 30 and manifest.n_tokens > before.n_tokens
    assert str(tmp_path) not in (folder / "manifest.json").read_text()
    shutil.move(table, tmp_path / "other.csv")
    assert ensure_activations(ExtractConfig(layer=4), copy, CPU).manifest == before
