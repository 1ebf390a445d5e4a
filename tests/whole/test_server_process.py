"""The server as a process: started with the commands of the README, and stopped by a signal."""

import json
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.run_factory import write_run
from tests.support.server_process import ROOT, Server, failure

N_HEADLINES = 40


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs, of 5 and 40 headlines."""
    folder = tmp_path_factory.mktemp("analysis_data")
    write_run(folder, 5, 64)
    write_run(folder, N_HEADLINES, 2000)
    return folder


@pytest.mark.parametrize(("with_signal", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_the_server_says_what_it_serves_and_stops_quietly(runs: Path, with_signal: int, code: int) -> None:
    server = Server("--analysis-dir", str(runs))
    try:
        assert re.fullmatch(r"Serving run-002 \(40 headlines\) at http://127.0.0.1:\d+\n", server.line)
        assert server.get("/api/headlines?limit=1")["total"] == N_HEADLINES
    finally:
        result = server.stop(with_signal)
    assert result == (code, "")


def test_a_request_under_way_is_answered_before_the_server_stops(runs: Path) -> None:
    server = Server("--analysis-dir", str(runs))
    with server.connect(60) as connection:
        connection.sendall(b"GET /api/headlines?limit=500 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        first = connection.recv(1)
        result = server.stop(signal.SIGTERM)
        received = first + b"".join(iter(lambda: connection.recv(1 << 16), b""))
    assert result == (0, "")
    head, body = received.split(b"\r\n\r\n", 1)
    assert head.startswith(b"HTTP/1.1 200") and len(json.loads(body)["headlines"]) == N_HEADLINES


@pytest.mark.parametrize("run_id", ["1", "run-001"])
def test_a_pinned_run_is_served_by_the_module_too(runs: Path, run_id: str) -> None:
    server = Server("--analysis-dir", str(runs), "--run-id", run_id)
    try:
        assert server.line.startswith("Serving run-001 (5 headlines)")
        assert server.get("/api/features")["run_id"] == "run-001"
    finally:
        server.stop(signal.SIGTERM)


def test_what_keeps_the_server_from_starting_is_one_sentence(runs: Path, tmp_path: Path) -> None:
    assert re.fullmatch(r"There are no runs in .*analyze`\.", failure("--analysis-dir", str(tmp_path / "none")))
    assert "it has run-002, run-001." in failure("--analysis-dir", str(runs), "--run-id", "34")
    damaged = write_run(tmp_path, 3, 16)
    text = (damaged / "metadata.json").read_text().replace('"preset"', '"present"')
    (damaged / "metadata.json").write_text(text)
    assert re.search(r"metadata.json, preset: .*required", failure("--analysis-dir", str(tmp_path)))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        sentence = failure("--analysis-dir", str(runs), "--port", port)
    assert f"Port {port} is in use" in sentence and f"make serve VIEWER_PORT={int(port) + 1}" in sentence
    assert "--host" in failure("--analysis-dir", str(runs), "--host", "no such host")
    assert "'99999' is no port" in failure("--port", "99999")


def test_the_server_starts_without_torch(runs: Path) -> None:
    code = """
import sys
from pathlib import Path
from viz_analysis.feature_probe_server import create_app
assert create_app(Path(sys.argv[1])).test_client().get("/api/headlines").status_code == 200
print(sorted({"torch", "transformers", "datasets", "matplotlib", "pandas"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code, str(runs)], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "[]", done.stderr
