"""`python -m viz_analysis.serve`: the API and the viewer together, until Ctrl-C."""

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import webbrowser
from pathlib import Path

_ROOT = Path(__file__).parent.parent
_PATIENCE = 600  # seconds until both must answer; a large run may have to be indexed first


def main() -> int:
    """Start both, print the address, stop both on Ctrl-C. Returns 0, 1 when one of them fails, 2 for a bad port."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--api-port", type=int, default=8765)
    parser.add_argument("--viewer-port", type=int, default=1234)
    parser.add_argument("--analysis-dir", default="analysis_data", help="folder or address of the runs")
    parser.add_argument("--run-id", help="run to show; default: the latest")
    arguments = parser.parse_args()
    for flag, name, port in (
        ("--api-port", "API_PORT", arguments.api_port),
        ("--viewer-port", "VIEWER_PORT", arguments.viewer_port),
    ):
        if not 0 < port < 65536:
            print(
                f"error: {port} is no port; use {flag} with a number from 1 to 65535 (`make serve {name}=…`).",
                file=sys.stderr,
            )
            return 2
        if _is_taken(port):
            print(
                f"error: port {port} is in use; choose another with `make serve {name}={port + 1}` ({flag}).",
                file=sys.stderr,
            )
            return 2
    api = [sys.executable, str(_ROOT / "viz_analysis" / "feature_probe_server.py"), "--port", str(arguments.api_port)]
    api += ["--analysis-dir", arguments.analysis_dir]
    api += ["--run-id", arguments.run_id] if arguments.run_id else []
    viewer = ["npm", "start", "--silent", "--", "--port", str(arguments.viewer_port), "--strictPort"]
    environment = os.environ | {"API_URL": f"http://127.0.0.1:{arguments.api_port}"}
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    processes: list[subprocess.Popen[bytes]] = []
    try:
        # Sessions of their own: Ctrl-C reaches this process alone, which then stops both in order.
        processes.append(subprocess.Popen(api, start_new_session=True))
        address = f"http://localhost:{arguments.viewer_port}"
        if not _answers(f"http://127.0.0.1:{arguments.api_port}/api/health", processes):
            return 1
        processes.append(
            subprocess.Popen(
                viewer, cwd=_ROOT / "sae-viewer", env=environment, start_new_session=True, stdout=subprocess.DEVNULL
            )
        )
        if not _answers(address, processes):
            return 1
        print(f"\n  The viewer is at {address}  (Ctrl-C stops it)\n", flush=True)
        if os.environ.get("DISPLAY") and sys.stdout.isatty():
            webbrowser.open(address)
        while all(process.poll() is None for process in processes):
            time.sleep(0.2)
        return 1
    except KeyboardInterrupt:
        print("\nStopped.")
        return 0
    finally:
        for process in reversed(processes):
            _stop(process)


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def _answers(url: str, processes: list[subprocess.Popen[bytes]]) -> bool:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline and all(process.poll() is None for process in processes):
        try:
            urllib.request.urlopen(url, timeout=2).close()
            return True
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    if all(process.poll() is None for process in processes):
        print(f"error: {url} did not answer within {_PATIENCE} s.", file=sys.stderr)
    return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


if __name__ == "__main__":
    sys.exit(main())
