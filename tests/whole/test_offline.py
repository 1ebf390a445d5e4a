"""Nothing phones home: no verb tries to reach another machine, and the viewer asks nobody but its server."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import SmallStudy
from tests.support.small_study import write_headlines

VIEWER = Path(__file__).parent.parent.parent / "sae-viewer"

_RECORDER = """
import os, socket, sys

def watch(event, arguments):
    if event == "socket.connect" and arguments[0].family != getattr(socket, "AF_UNIX", None):
        host = arguments[1][0]
    elif event == "socket.getaddrinfo":
        host = arguments[0]
    else:
        return
    if host not in ("127.0.0.1", "::1", "localhost", None, ""):
        with open(os.environ["REACHED"], "a") as file:
            print(event, host, file=file)
        raise OSError("there is no network in this test")

sys.addaudithook(watch)
"""
"""A sitecustomize: every attempt to find or to reach another machine is written down and fails."""

_VERBS = """
import json, sys
from sae_pipeline.__main__ import main
for arguments in json.loads(sys.argv[1]):
    code = main(arguments)
    assert code == 0, (arguments, code)
print(sorted({"wandb", "trackio", "tensorboard"} & sys.modules.keys()))
"""
TRACKERS = {"WANDB_API_KEY": "k" * 40, "WANDB_MODE": "online", "WANDB_PROJECT": "p", "TRACKIO_SPACE_ID": "a/b"}
SIZES = ["--latent-dims", "64", "--batch-size", "256", "--num-epochs", "1"]


def reached(folder: Path, code: str, *arguments: str) -> tuple[list[str], str]:
    """Which machines a process without network tried to reach, and what it printed."""
    (folder / "sitecustomize.py").write_text(_RECORDER)
    log = folder / "reached"
    log.touch()
    environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
    environment |= {"PYTHONPATH": f"{folder}:{VIEWER.parent}", "REACHED": str(log), "HF_HOME": str(folder / "hf")}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=environment | TRACKERS | {"TQDM_DISABLE": "1"},
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return log.read_text().splitlines(), done.stdout


def test_the_recorder_records(tmp_path: Path) -> None:
    """An attempt to reach another machine is seen, so the tests below could fail."""
    attempts = "import socket\ntry: socket.create_connection(('203.0.113.7', 80), 1)\nexcept OSError: pass"
    assert reached(tmp_path, attempts)[0] == ["socket.getaddrinfo 203.0.113.7"]


def test_verbs_reach_nobody(study: SmallStudy, tmp_path: Path) -> None:
    """The verbs of a study that is here ask no hub, though nothing forbids it, and import no tracker."""
    root = str(shutil.copytree(study.root, tmp_path / "study"))
    verbs = [
        ["inspect", f"{root}/headlines.csv"],
        ["train", "--root", root, *SIZES],
        ["push", "--root", root, "--to", "anna/news", "--what", "sae"],
        ["verify", "--root", root],
    ]
    attempts, printed = reached(tmp_path, _VERBS, json.dumps(verbs))
    assert attempts == []
    assert printed.splitlines()[-1] == "[]"


@pytest.mark.full
def test_a_whole_study_reaches_nobody(tmp_path: Path) -> None:
    """Nor do the other verbs, from the embedded model on."""
    root, size, table = ["--root", str(tmp_path / "study")], ["--sae-size", "64"], str(tmp_path / "my.csv")
    write_headlines(tmp_path / "my.csv", 240)
    verbs = [
        [
            "study",
            "--preset",
            "demo",
            *root,
            "--source",
            table,
            "--epochs",
            "1",
            *SIZES[:2],
            "--train-batch-size",
            "256",
            *size,
        ],
        ["intervene", *root, "--steps", "2", "--bootstrap", "100", "--features-per-headline", "2"],
        ["finish", *root, *size],
        ["compare", *root, *size, "--seeds", "0,1", "--probe-sizes", "1"],
        ["family", *root],
        ["report", *root],
        ["export", *root, *size],
        ["score", table, *root, *size, "--out", str(tmp_path / "scores")],
    ]
    attempts, _ = reached(tmp_path, _VERBS, json.dumps(verbs))
    assert attempts == []


def test_the_viewer_names_no_other_machine() -> None:
    """No source of the viewer fetches from an address; links for people are the only ones."""
    fetched = re.compile(r"""(?:fetch\(|src=|@import|url\(|import\()\s*["'`{(]*\s*["'`]?(?:https?:)?//""")
    sources = [path for path in (VIEWER / "src").rglob("*") if path.suffix in (".ts", ".tsx", ".css")]
    telling = [path for path in [*sources, VIEWER / "index.html"] if fetched.search(path.read_text(encoding="utf-8"))]
    assert len(sources) > 50 and telling == []
