"""Which runs are served: by name, as they come and go, and when they are damaged."""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from sae_pipeline.runs.folders import Run
from tests.support.api_client import error, get
from tests.support.run_edits import replaced
from tests.support.run_factory import write_run
from viz_analysis.feature_probe_server import create_app


def test_run_and_health(client: FlaskClient, run: Run) -> None:
    assert get(client, "/api/run") == {
        **run.metadata.model_dump(),
        "has_causes": False,
        "names": None,
        "stability": None,
        "tests": {},
        "damaged_files": [],
    }
    assert get(client, "/api/run?run=1")["run_id"] == "run-001"
    health = get(client, "/api/health")
    assert health["status"] == "ok" and health["run_id"] == "run-002"


@pytest.mark.parametrize("name", ["1", "run-001", "folder"])
def test_any_run_answers_by_its_name(client: FlaskClient, runs: Path, name: str) -> None:
    wanted = next(runs.glob("*_run-001")).name if name == "folder" else name
    for path in ("headlines?", "features?", "feature_info?id=3&", "run?"):
        assert get(client, f"/api/{path}run={wanted}")["run_id"] == "run-001"


def test_runs_appear_and_disappear_without_a_restart(tmp_path: Path) -> None:
    app = create_app(tmp_path, viewer_dir=tmp_path)
    client = app.test_client()
    status, message = error(client, "/api/health")
    assert status == 503 and "no runs" in message
    assert error(client, "/api/headlines")[0] == 404
    assert get(client, "/api/runs") == {"runs": []}
    first = write_run(tmp_path, 3, 16)
    assert get(client, "/api/headlines")["run_id"] == "run-001"
    second = write_run(tmp_path, 4, 16)
    assert get(client, "/api/headlines")["n_headlines"] == 4
    listed = get(client, "/api/runs")["runs"]
    assert [(r["folder"], r["is_default"]) for r in listed] == [(second.name, True), (first.name, False)]
    shutil.rmtree(second)
    assert get(client, "/api/headlines")["run_id"] == "run-001"
    assert error(client, "/api/headlines?run=2")[0] == 404
    pinned = create_app(tmp_path, "1", viewer_dir=tmp_path).test_client()
    write_run(tmp_path, 5, 16)
    assert get(client, "/api/headlines")["n_headlines"] == 5
    assert get(pinned, "/api/headlines")["run_id"] == "run-001"
    assert [r["is_default"] for r in get(pinned, "/api/runs")["runs"]] == [False, True]
    shutil.rmtree(first)
    assert error(pinned, "/api/headlines")[0] == error(pinned, "/api/runs")[0] == 404


def test_a_damaged_run_is_marked_and_heals(tmp_path: Path) -> None:
    client = create_app(tmp_path, viewer_dir=tmp_path).test_client()
    folder = write_run(tmp_path, 3, 16)
    stats = folder / "feature_stats.json"
    whole = stats.read_bytes()
    stats.write_bytes(whole[:-20])
    for path in ("headlines", "features", "feature_info?id=1", "run", "health"):
        status, message = error(client, f"/api/{path}")
        assert status == 409 and "feature_stats.json" in message
    (listed,) = get(client, "/api/runs")["runs"]
    assert not listed["readable"] and "feature_stats.json" in listed["reason"]
    stats.write_bytes(whole)
    assert get(client, "/api/headlines")["total"] == 3
    assert get(client, "/api/runs")["runs"][0]["readable"]


def test_the_list_names_runs_that_have_not_been_opened(tmp_path: Path) -> None:
    """Sizes are compared at once, checksums in the background, and both again when a file changes."""
    whole, shorter, changed = (write_run(tmp_path, 3, 16) for _ in range(3))
    prompts = changed / "prompts.jsonl"
    replaced("prompts.jsonl", b'"label":', b'"lAbel":')(changed)
    (shorter / "feature_tokens.json").write_bytes((shorter / "feature_tokens.json").read_bytes()[:-1])
    client = create_app(tmp_path, "1", viewer_dir=tmp_path).test_client()

    def reasons() -> list[str | None]:
        return [run["reason"] for run in get(client, "/api/runs")["runs"]]

    assert "feature_tokens.json has " in str(reasons()[1]) and reasons()[2] is None
    wait_until(lambda: "prompts.jsonl, line 1 label" in str(reasons()[0]))
    assert [run["readable"] for run in get(client, "/api/runs")["runs"]] == [False, False, True]
    prompts.write_bytes(prompts.read_bytes().replace(b"lAbel", b"label"))
    wait_until(lambda: reasons()[0] is None)
    assert whole.exists()


def test_a_change_under_an_open_run_is_found(tmp_path: Path) -> None:
    """Also one that keeps a file's size and time of change, and one of the index."""
    folder = write_run(tmp_path, 3, 16)
    client = create_app(tmp_path, viewer_dir=tmp_path).test_client()
    expected = get(client, "/api/headlines")
    index = folder / "index.sqlite"
    index.write_bytes(index.read_bytes().replace(b"posting", b"p0sting"))
    assert get(client, "/api/headlines") == expected
    assert b"p0sting" not in index.read_bytes()
    prompts, before = folder / "prompts.jsonl", (folder / "prompts.jsonl").stat()
    prompts.write_bytes(prompts.read_bytes().replace(b"0.", b"1.", 1))
    os.utime(prompts, ns=(before.st_atime_ns, before.st_mtime_ns))
    status, message = error(client, "/api/headlines")
    assert status == 409 and "prompts.jsonl" in message


def wait_until(true: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def test_more_runs_than_are_kept_in_memory_are_all_served(tmp_path: Path) -> None:
    client = create_app(tmp_path, viewer_dir=tmp_path).test_client()
    for n in range(1, 8):
        write_run(tmp_path, n, 16)
    for n in (1, 2, 3, 4, 5, 6, 7, 1, 7, 2):
        assert get(client, f"/api/headlines?run={n}")["n_headlines"] == n
