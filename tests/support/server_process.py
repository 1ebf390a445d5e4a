"""The server as a process on a free port, for tests that need real sockets. Tests only."""

import json
import re
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "viz_analysis" / "feature_probe_server.py"


class Server:
    """The program itself, on a free port."""

    def __init__(
        self,
        *flags: str,
        port: int = 0,
        program: Sequence[str] = (sys.executable, str(SCRIPT)),
        folder: Path = ROOT,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        arguments = [*program, "--port", str(port), *flags]
        self._stderr = tempfile.TemporaryFile("w+")  # noqa: SIM115 (open as long as the process)
        self.process = subprocess.Popen(
            arguments, stdout=subprocess.PIPE, stderr=self._stderr, text=True, cwd=folder, env=environment
        )
        assert self.process.stdout
        self.line = self.process.stdout.readline()
        assert self.line, self.errors()  # it has stopped and says why
        (self.address,) = re.findall(r"http://\S+", self.line)

    def get(self, path: str) -> Any:
        """The JSON that a path answers."""
        with urllib.request.urlopen(self.address + path, timeout=60) as response:
            return json.load(response)

    def connect(self, timeout: float = 10.0) -> socket.socket:
        """A connection to the server; reading and writing take at most `timeout` seconds."""
        host, port = self.address.removeprefix("http://").split(":")
        return socket.create_connection((host, int(port)), timeout)

    def errors(self) -> str:
        """What the program has written to stderr."""
        self._stderr.seek(0)
        return self._stderr.read()

    def stop(self, with_signal: int) -> tuple[int, str]:
        """The exit code and what the program wrote to stderr."""
        self.process.send_signal(with_signal)
        self.process.communicate(timeout=60)
        return self.process.returncode, self.errors()


def get(address: str) -> tuple[str, str]:
    """The text at an address and its type."""
    with urllib.request.urlopen(address, timeout=60) as response:
        return response.read().decode(errors="replace"), response.headers["Content-Type"]


def failure(*flags: str) -> str:
    """The sentence with which the server refuses to start."""
    arguments = [sys.executable, "-m", "viz_analysis.feature_probe_server", "--port", "0", *flags]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert done.returncode == 2 and "Traceback" not in done.stderr and done.stdout == ""
    return done.stderr.strip()
