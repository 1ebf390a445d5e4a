"""The server as a process: its flags, how it listens, and how it stops."""

import argparse
import contextlib
import errno
import logging
import os
import signal
import sys
import threading
import time
import webbrowser
from pathlib import Path
from typing import Any

from flask import Flask

from sae_pipeline.errors import UserError
from sae_pipeline.runs.index import shown_progress
from viz_analysis.live.endpoints import threads_for
from viz_analysis.runs.indexed_run import IndexedRun
from viz_analysis.web.access import EVERY_ADDRESS, Access, add_access_flags, is_loopback
from viz_analysis.web.connections import listen
from viz_analysis.web.viewer_files import REPOSITORY, VIEWER_DIR

_BEYOND_LOCALHOST = {
    True: "Other machines can reach it, and it asks for a password: see --password-file and --no-password.",
    False: "Other machines can reach it, and it asks for no password: every visitor may change annotations.",
}
_EXIT_CODES: dict[int, int] = {signal.SIGINT: 130, signal.SIGTERM: 0}


def command_line() -> argparse.ArgumentParser:
    """The flags of `feature_probe_server.py`."""
    parser = argparse.ArgumentParser(
        prog="feature_probe_server.py",
        usage="%(prog)s [options]",
        description="Serve the viewer and the runs of analysis_data/.",
    )
    add_server_flags(parser)
    parser.add_argument("--dump-openapi", action="store_true", help="print the API's description and exit")
    return parser


def add_server_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say what is served, and to whom."""
    add_access_flags(parser)
    parser.add_argument("--port", type=_port_number, default=8765, help="default: %(default)s")
    parser.add_argument("--run-id", help="run to serve by default: 34, run-034 or a folder name (default: latest)")
    parser.add_argument(
        "--analysis-dir",
        metavar="PLACE",
        default=str(REPOSITORY / "analysis_data" if REPOSITORY else "analysis_data"),
        help="folder or address of the runs, such as s3://bucket/study/analysis_data (default: analysis_data)",
    )
    parser.add_argument(
        "--look-every",
        type=_seconds,
        metavar="SECONDS",
        default=10.0,
        help="how often to look at an address for new and deleted runs (default: 10)",
    )
    parser.add_argument("--viewer-dir", type=Path, default=VIEWER_DIR, help="the built viewer, served at /")
    parser.add_argument("--threads", type=int, choices=range(1, 65), metavar="N", default=4, help="default: 4")
    parser.add_argument("--access-log", metavar="FILE", help='append a line of JSON per request; "-": to stdout')
    parser.add_argument(
        "--live", action="store_true", help="load the run's classifier and SAE, to probe and edit any text"
    )
    parser.add_argument(
        "--open",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="open the viewer in a browser, where there is a screen",
    )
    parser.add_argument("--until-stdin-closes", action="store_true", help=argparse.SUPPRESS)  # for sae_explorer/show.py


def serve(app: Flask, access: Access, port: int, threads: int, open_browser: bool = False, page: str = "") -> int:
    """Serve an app until it is told to stop. Returns the exit code. Prints the address when it is ready.

    `page` is the path and query of a page of the viewer to begin with.

    Raises `UserError` where the default run cannot be opened or the server cannot listen.
    """
    with shown_progress("Getting the run ready") as progress:
        run: IndexedRun = app.extensions["runs"].wait(progress)
    if app.extensions["live"]:
        app.extensions["live"].load(run.metadata)
    try:
        server = listen(app, access.host, port, threads_for(app, threads), access.trust_proxy)
    except (OSError, ValueError) as error:  # ValueError: waitress cannot resolve the host
        raise UserError(_why_not_listening(error, access.host, port)) from error

    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # a short queue is no news
    stopped_by: list[int] = []

    def stop(number: int, frame: object) -> None:
        stopped_by.append(number)
        raise SystemExit(_EXIT_CODES[number])  # waitress catches it and finishes the requests that are under way

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    address = access.address(_port(server))
    print(f"Serving {run.metadata.run_id} ({run.n_headlines:,} headlines) at {address}", flush=True)
    if page:
        print(f"Begin here: {access.address(_port(server), page)}", flush=True)
    if access.host in EVERY_ADDRESS:
        print(f"On this machine, or through a container's port: {access.address(_port(server), page, '127.0.0.1')}")
    if not is_loopback(access.host):
        print(_BEYOND_LOCALHOST[access.password is not None], flush=True)
    if open_browser and sys.stdout.isatty() and _has_screen():
        webbrowser.open(access.address(_port(server), page))
    server.run()
    return _EXIT_CODES[stopped_by[0]] if stopped_by else 0


def stop_with_parent() -> None:
    """End this process when its parent is gone or closes its standard input.

    A forked child of the parent keeps the input open, and on Windows a process keeps the number of a parent that is
    gone. So both are watched.
    """
    parent = os.getppid()

    def read() -> None:
        while os.read(sys.stdin.fileno(), 4096):  # reading through sys.stdin would hold its lock when Python ends
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)

    for wait in (read, watch):
        threading.Thread(target=wait, daemon=True).start()


def _has_screen() -> bool:
    """Whether a browser that is opened here would be seen; on Linux the environment names the screen."""
    return sys.platform in ("darwin", "win32") or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))


def _port(server: Any) -> int:
    """The port on which the server listens; the system chooses it where port 0 was asked for."""
    listen: list[tuple[str, int]] = getattr(server, "effective_listen", [])
    return int(listen[0][1] if listen else server.effective_port)


def _why_not_listening(error: Exception, host: str, port: int) -> str:
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        other = f"--port {port + 1}" + (f" (`make serve VIEWER_PORT={port + 1}`)" if REPOSITORY else "")
        return f"Port {port} is in use on {host}: stop the program that uses it, or choose another with {other}."
    if isinstance(error, PermissionError):
        return f"Port {port} is reserved for the system: choose one above 1023 with --port."
    return f"Cannot listen on host {host!r}, port {port} ({error}): choose others with --host and --port."


def _seconds(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0.1 <= float(text) <= 86_400:
            return float(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds from 0.1 to 86400")


def _port_number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 <= int(text[:9]) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: use a number from 0 to 65535")
    return int(text)
