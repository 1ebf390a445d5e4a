"""The whole notebook runs: with the demo preset, and with the real preset on a model of FinBERT's architecture."""

import re
import shutil
import signal
import socket
import time
from pathlib import Path
from typing import Any

import nbformat
import pytest
import torch
from nbclient import NotebookClient
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

from sae_pipeline.classifier.pretrained import model_source
from sae_pipeline.headlines.labels import FINANCIAL
from sae_pipeline.runs.folders import read_run
from tests.conftest import SmallStudy
from tests.support.server_process import Server
from tests.support.small_study import write_headlines
from viz_analysis.feature_probe_server import create_app

NOTEBOOK = Path(__file__).parents[2] / "Sentiment_Classification.ipynb"


def execute(folder: Path, parameters: dict[str, Any]) -> Any:
    """Run the notebook in `folder`, with some of the parameters cell's assignments replaced."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    cell = next(c for c in notebook.cells if "parameters" in c.metadata.get("tags", []))
    for name, value in parameters.items():
        cell.source, n = re.subn(rf"^{name} = .*$", lambda _, n=name, v=value: f"{n} = {v!r}", cell.source, flags=re.M)
        assert n == 1, f"the parameters cell has no {name}"
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(folder)}}).execute()
    return notebook


def pictures(notebook: Any) -> int:
    """How many plots the notebook shows."""
    return sum("image/png" in o.get("data", {}) for c in notebook.cells for o in c.get("outputs", []))


def listens(port: int) -> bool:
    """Whether a server answers on a port, after ten seconds in which it may end."""
    for _ in range(100):
        with socket.socket() as connection:
            if connection.connect_ex(("127.0.0.1", port)):
                return False
        time.sleep(0.1)
    return True


def test_demo_preset(study: SmallStudy, tmp_path: Path) -> None:
    """Every stage runs, eight plots and the viewer appear, and the API lists the metric that a cell adds."""
    root = Path(shutil.copytree(study.root, tmp_path / "study"))
    notebook = execute(
        root,
        {
            "PRESET": "demo",
            "LAYER_TO_EXTRACT": 4,
            "LATENT_DIMS": [1024, 2048],
            "SAE_SIZE": "2k",
            "MAX_SAMPLES": 25,
            "HEADLINES": study.config.headlines.model_dump(),
            "FINETUNE": study.config.finetune.model_dump(),
        },
    )
    assert pictures(notebook) == 8
    (shown,) = (output["data"]["text/html"] for output in notebook.cells[-1].outputs)
    address = re.search(r'<iframe src="http://localhost:(\d+)/[\w-]{20,}/\?run=\S+_run-', shown)
    assert address and not listens(int(address[1]))  # the server has ended with the kernel
    with create_app(root / "analysis_data").test_client() as client:
        page = client.get("/api/features?metric=mean_when_active&limit=3").json
    own = next(m for m in page["metrics"] if m["name"] == "mean_when_active")
    assert own["label"] == "Mean when active" and "fires" in own["description"]
    values = [row["values"]["mean_when_active"] for row in page["features"]]
    assert values == sorted(values, reverse=True) and values[0] > 0


@pytest.fixture(scope="module")
def finbert_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ProsusAI/finbert's architecture (12 layers, d_model 768, its three labels) with random weights."""
    folder = tmp_path_factory.mktemp("finbert")
    torch.manual_seed(0)
    labels = ["positive", "negative", "neutral"]
    config = BertConfig(id2label=dict(enumerate(labels)), label2id={label: i for i, label in enumerate(labels)})
    assert (config.num_hidden_layers, config.hidden_size, config.vocab_size) == (12, 768, 30522)
    BertForSequenceClassification(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(model_source("minilm")).save_pretrained(folder)
    return folder


@pytest.mark.full
def test_real_preset(finbert_folder: Path, tmp_path: Path) -> None:
    """The default preset trains four sizes on layer 8 of a local model and writes a run, which the server serves."""
    write_headlines(tmp_path / "headlines.csv", 130)
    execute(
        tmp_path,
        {
            "HEADLINES": {"source": "headlines.csv"},
            "FINETUNE": {"model": str(finbert_folder), "epochs": 1},
            "MAX_SAMPLES": 10,
        },
    )
    assert {p.name for p in (tmp_path / "finbert_sae").glob("*.pt")} == {
        f"layer_8_{size}.pt" for size in ("4k", "8k", "16k", "32k")
    }
    run = read_run(next((tmp_path / "analysis_data").glob("*_run-001")))
    assert run.metadata.hookpoint.module == "bert.encoder.layer.7"
    assert (run.metadata.sae.size, run.metadata.sae.d_in, run.metadata.preset) == ("32k", 768, "finbert")
    assert run.metadata.labels == list(FINANCIAL)
    _check_server(tmp_path)


def _check_server(root: Path) -> None:
    """The README's command serves the run."""
    server = Server("--host", "127.0.0.1", "--run-id", "1", "--analysis-dir", str(root / "analysis_data"))
    try:
        page = server.get("/api/headlines?limit=3")
    finally:
        code, errors = server.stop(signal.SIGTERM)
    assert (code, errors) == (0, "")
    assert page["run_id"] == "run-001" and page["total"] == 10 and len(page["headlines"][0]["features"]) == 10
