"""The server's library of runs: what it answers while a run is indexed, and where its index cannot be written."""

import threading
from pathlib import Path
from typing import Any

import pytest

from sae_pipeline.runs.index import INDEX_FILES, build_index
from tests.support.indexed_runs import client_of, get
from tests.support.run_factory import write_run
from viz_analysis.runs import run_library


def test_who_asks_while_a_run_is_indexed_is_told_to_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_run(tmp_path, 5, 64)
    go = threading.Event()

    def slow(folder: Path, progress: Any) -> Path:
        progress(40, 100)
        go.wait(20)
        return build_index(folder, progress)

    monkeypatch.setattr(run_library, "_PATIENCE", 0.05)
    monkeypatch.setattr(run_library, "build_index", slow)
    client = client_of(tmp_path)
    waiting = client.get("/api/health")
    assert waiting.status_code == 503 and waiting.json["error"]["code"] == "indexing"
    assert "40%" in waiting.json["error"]["message"] and waiting.headers["Retry-After"] == "2"
    go.set()
    monkeypatch.setattr(run_library, "_PATIENCE", 20)
    assert get(client, "health")["n_headlines"] == 5


@pytest.mark.parametrize("name", INDEX_FILES)
def test_a_folder_in_the_place_of_the_index_is_no_hindrance(tmp_path: Path, name: str) -> None:
    """It is kept: in its place, with the index elsewhere, or under a hidden name."""
    folder = write_run(tmp_path, 5, 64)
    (folder / name).mkdir()
    (folder / name / "kept").touch()
    client = client_of(tmp_path)
    assert get(client, "headlines")["total"] == 5
    assert list(folder.glob(f"*{name}*/kept")) and get(client, "runs")["runs"][0]["readable"]


def test_an_index_that_cannot_be_written_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_run(tmp_path, 5, 64)
    client = client_of(tmp_path)
    with monkeypatch.context() as full:
        full.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        response = client.get("/api/headlines")
    assert response.status_code == 503 and "No space left" in response.json["error"]["message"]
    assert get(client, "headlines")["total"] == 5
