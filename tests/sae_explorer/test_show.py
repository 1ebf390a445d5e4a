"""`show`: one server per folder, which ends with its process, at an address that the notebook's reader can open."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from sae_explorer.notebooks import this_notebook
from sae_explorer.show import show
from sae_pipeline.errors import UserError
from tests.support.run_factory import write_run

SCRIPT = """
import os, sys, time
from pathlib import Path
from sae_pipeline import load_run, show
folder = Path(sys.argv[1])
show(analysis_dir=folder)
show(load_run(folder))
show(next(folder.glob("*_run-001")))
show(1, folder)
if sys.argv[2:] == ["fork"] and not os.fork():
    os.closerange(0, 3)  # the rest, and so the pipe to the server, stays open in this child of the kernel
    time.sleep(15)
    os._exit(0)
print("done", flush=True)
time.sleep(60)
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("analysis_data")
    for seed in (1, 2):
        write_run(folder, n_headlines=5, d_sae=64, seed=seed)
    return folder


def status(address: str) -> int:
    """What a server answers; 0 where none listens."""
    try:
        return int(urllib.request.urlopen(address, timeout=10).status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def flags_of_all_processes() -> str:
    """What other users of the machine see."""
    return subprocess.run(["ps", "-eo", "args"], check=True, capture_output=True, text=True).stdout


def test_outside_a_notebook_it_prints_an_address_that_holds_as_long_as_the_process(runs: Path) -> None:
    """All calls share a server. It ends with the process also where that is killed and a child of it lives on."""
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(runs), "fork"],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"SAE_EXPLORER_PASSWORD": "of other servers"},
    )
    assert process.stdout
    lines = [line.strip() for line in iter(process.stdout.readline, "done\n")]
    addresses = [line.removeprefix("The viewer: ") for line in lines]
    assert [address[-7:] for address in addresses] == ["run-002", "run-002", "run-001", "run-001"]
    root, _, run = addresses[2].partition("?run=")
    assert {address.partition("?")[0] for address in addresses} == {root}
    assert json.load(urllib.request.urlopen(f"{root}api/run?run={run}", timeout=10))["run_id"] == "run-001"
    origin = "/".join(root.split("/")[:3])
    assert status(f"{origin}/") == status(f"{origin}/api/run") == 404  # without the secret path
    assert root.split("/")[3] not in flags_of_all_processes()
    process.send_signal(signal.SIGKILL)
    process.wait()
    until = time.monotonic() + 10
    while status(root) and time.monotonic() < until:
        time.sleep(0.1)
    assert status(root) == 0


def test_what_cannot_be_shown(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"There are no runs in .*"):
        show(analysis_dir=tmp_path)
    with pytest.raises(UserError, match=r"is no folder of a run"):
        show(tmp_path)
    write_run(tmp_path, n_headlines=5, d_sae=64)
    (run,) = tmp_path.glob("*_run-001")
    (run / "prompts.jsonl").write_text("{}")
    with pytest.raises(UserError, match=r"^[^\n]*prompts\.jsonl[^\n]*$"):  # the server's own sentence, alone
        show(run)


# --- where the notebook is ---


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ipykernel", sys)
    monkeypatch.delitem(sys.modules, "google.colab", raising=False)


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize(
    ("environment", "address", "ancestor"),
    [
        ({}, "http://localhost:7/p/", "http://localhost:*"),
        ({"VSCODE_PID": "1"}, "http://localhost:7/p/", "vscode-webview:"),
        (
            {"VSCODE_PROXY_URI": "https://code.example/proxy/{{port}}/", "VSCODE_PID": "1"},
            "https://code.example/proxy/7/p/",
            "https://code.example",
        ),
        ({"JPY_PARENT_PID": "999999999"}, "http://localhost:7/p/", "http://localhost:*"),
        ({"JPY_PARENT_PID": "../x"}, "http://localhost:7/p/", "http://localhost:*"),
    ],
)
def test_the_address_of_a_port(environment: dict[str, str], address: str, ancestor: str) -> None:
    notebook = this_notebook(environment)
    assert notebook.address(7, "/p/") == address and ancestor in notebook.frame_ancestors
    assert "*" not in notebook.frame_ancestors and notebook.is_rich
    assert not this_notebook(environment).hosts or "VSCODE_PROXY_URI" in environment


@pytest.fixture
def jupyter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """A stand-in for the Jupyter server that started this kernel. It answers with the status in the list."""
    answer = [500]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            right = self.headers["Authorization"] == "token secret" and self.path == "/user/me/proxy/1/"
            self.send_response(answer[0] if right else 418)
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:
            """Nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        about = {
            "base_url": "/user/me/",
            "url": f"http://127.0.0.1:{server.server_port}/user/me/",
            "token": "secret",
        }
        (tmp_path / f"jpserver-{os.getpid()}.json").write_text(json.dumps(about))
        monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
        yield answer
        server.shutdown()


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize(("answer", "is_forwarded"), [(500, True), (404, False)])
def test_jupyter_server_proxy_is_used_where_the_server_has_it(
    jupyter: list[int], answer: int, is_forwarded: bool
) -> None:
    jupyter[0] = answer
    notebook = this_notebook({"JPY_PARENT_PID": str(os.getpid())})
    assert notebook.address(7, "/p/") == ("/user/me/proxy/7/p/" if is_forwarded else "http://localhost:7/p/")
    assert notebook.frame_ancestors[0] == ("'self'" if is_forwarded else "http://localhost:*")


def test_a_terminal_is_no_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    monkeypatch.delitem(sys.modules, "google.colab", raising=False)
    assert not this_notebook({"VSCODE_PID": "1"}).is_rich
