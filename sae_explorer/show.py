"""`show(run)`: the viewer in the cell of a notebook."""

import atexit
import html
import os
import secrets
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from sae_explorer.notebooks import Notebook, this_notebook
from sae_pipeline.errors import UserError
from sae_pipeline.runs.folders import Run, find_run
from sae_pipeline.schema.common import METADATA
from viz_analysis.web.access import BASE_PATH_VARIABLE

_PACKAGES = Path(__file__).resolve().parents[1]
_SERVERS: dict[tuple[Path, bool], "_Server"] = {}
"""The servers of this process, by the folder of their runs and whether they answer about any text."""


def show(
    run: Run | Path | str | int | None = None,
    analysis_dir: Path | str = "analysis_data",
    height: int = 760,
    live: bool = False,
) -> None:
    """Show a run in the viewer: in the cell of a notebook, or as a printed address elsewhere.

    `run` is a run that `load_run` has read, the folder of a run, or its number or name in `analysis_dir`. None is the
    latest run. `height` is in pixels. With `live`, the viewer also probes and edits any text. The server ends with this
    process, and serves all later calls for the same folder. Raises `UserError` where it cannot start.
    """
    folder = _run_folder(run, Path(analysis_dir)).resolve()
    notebook = this_notebook()
    key = folder.parent, live
    if key not in _SERVERS or not _SERVERS[key].is_running:
        _SERVERS[key] = _start(*key, notebook)
    server = _SERVERS[key]
    path = f"{server.base_path}/?run={quote(folder.name)}"
    if notebook.in_colab:
        output = import_module("google.colab.output")  # exists there only

        output.serve_kernel_port_as_iframe(server.port, path=path, height=height)
        output.serve_kernel_port_as_window(server.port, path=path)
        return
    shown = _Shown(notebook.address(server.port, path), height)
    if notebook.is_rich:
        from IPython.display import display

        display(shown)  # type: ignore[no-untyped-call]
    else:
        print(shown)


@dataclass(frozen=True)
class _Shown:
    """The viewer as the output of a cell."""

    address: str
    height: int

    def __repr__(self) -> str:
        return f"The viewer: {self.address}"

    def _repr_html_(self) -> str:
        address = html.escape(self.address)
        return (
            f'<iframe src="{address}" title="FinBERT SAE Explorer" allow="clipboard-write" style="display: block; '
            f'width: 100%; height: {self.height}px; border: 1px solid #8888; border-radius: 6px"></iframe>'
            f'<p style="font-size: 0.9em">The viewer in <a href="{address}" target="_blank" rel="noopener">a tab of '
            "its own</a>. It runs as long as this notebook's kernel; run the cell again to start it anew.</p>"
        )


@dataclass(frozen=True)
class _Server:
    """A server that is a child of this process."""

    process: subprocess.Popen[str]
    port: int
    base_path: str

    @property
    def is_running(self) -> bool:
        return self.process.poll() is None


def _run_folder(run: Run | Path | str | int | None, analysis_dir: Path) -> Path:
    if isinstance(run, Run):
        return run.folder
    if isinstance(run, Path) or (isinstance(run, str) and (Path(run) / METADATA).is_file()):
        if not (Path(run) / METADATA).is_file():
            raise UserError(f"{run} is no folder of a run; give one, or a run's number and `analysis_dir`.")
        return Path(run)
    return find_run(analysis_dir, run)


def _start(analysis_dir: Path, live: bool, notebook: Notebook) -> _Server:
    """Start a server on a free port, below a path that cannot be guessed.

    The path replaces a password. Many notebooks belong to other sites, where a cookie would not reach the frame.
    """
    secret = f"/{secrets.token_urlsafe(16)}"
    flags = ["--analysis-dir", str(analysis_dir), "--port", "0", "--no-password", "--until-stdin-closes"]
    flags += [f"--allow-host={name}" for name in notebook.hosts]
    flags += ["--frame-ancestors", " ".join(notebook.frame_ancestors), *(["--live"] if live else [])]
    with tempfile.TemporaryFile("w+", encoding="utf-8") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "viz_analysis.feature_probe_server", *flags],
            stdin=subprocess.PIPE,  # it closes when this process ends, in whichever way, and the server ends with it
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=os.environ
            | {
                "PYTHONPATH": os.pathsep.join([str(_PACKAGES), os.environ.get("PYTHONPATH", "")]),
                BASE_PATH_VARIABLE: secret,  # other users of the machine see the flags of a process
            },
            start_new_session=True,  # so that interrupting the kernel does not stop it
        )
        atexit.register(_end, process)
        try:
            line = process.stdout.readline() if process.stdout else ""
        except KeyboardInterrupt:
            process.kill()
            raise
        if not line:
            process.wait()
            errors.seek(0)
            raise UserError(errors.read().strip() or "The server has ended before it was ready.")
    return _Server(process, _port(line), secret)


def _end(process: "subprocess.Popen[Any]") -> None:
    with suppress(OSError):
        process.terminate()


def _port(line: str) -> int:
    """The port in the server's first line, which ends with its address."""
    port = urlsplit(line.split()[-1]).port
    assert port is not None, line
    return port
