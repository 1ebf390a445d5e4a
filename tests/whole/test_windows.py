"""The verbs under the rules that Windows has for files, as far as another system can pretend to have them."""

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from sae_pipeline.artefacts import writing
from sae_pipeline.errors import ResourceError
from tests.support.server_process import ROOT, Server

PRETENDING = (sys.executable, "-m", "tests.support.windows")


@pytest.mark.full
def test_analyze_and_serve(copy: Path) -> None:
    """A run is written, numbered and indexed, and the server answers from it."""
    words = ["analyze", "--sae-size", "1k", "--max-samples", "8", "--root", str(copy)]
    done = subprocess.run([*PRETENDING, *words], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert {path.name[-7:] for path in (copy / "analysis_data").glob("*_run-*")} == {"run-001", "run-002"}
    assert not list((copy / "analysis_data").glob(".draft-*"))
    server = Server("--root", str(copy), program=[*PRETENDING, "serve"])
    try:
        assert server.get("/api/run")["run_id"] == "run-002"
        assert server.get("/api/headlines?limit=3")["total"] == 8
    finally:
        code, errors = server.stop(signal.SIGINT)
    assert code == 130 and "Traceback" not in errors


def test_records_are_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writers of one path take turns, and one that fails leaves the old record."""
    monkeypatch.setattr(writing, "RENAMES_OPEN_FILES", False)
    path = tmp_path / "record.json"
    contents = [bytes([letter]) * 100_000 for letter in b"abcdefgh"]
    writers = [threading.Thread(target=writing.write_file, args=(path, content)) for content in contents]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    before = path.read_bytes()
    assert before in contents

    def full(source: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writing, "put", full)
    with pytest.raises(ResourceError, match="the disk is full"):
        writing.write_file(path, b"new")
    assert path.read_bytes() == before
    assert {p.name for p in tmp_path.iterdir()} <= {"record.json", ".partial-record.json.lock"}
