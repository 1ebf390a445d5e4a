"""Sends hostile requests to a real server, and judges its answers. Tests only."""

import gzip
import json
import signal
import socket
import tempfile
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.hostile_requests import Requests
from tests.support.indexed_runs import write_whole_run
from tests.support.server_process import Server

MAY_PASS = {"indexing", "preparing"}  # codes of the errors 503 that say when to ask again


@dataclass
class FuzzReport:
    """What a server did with hostile requests."""

    requests: int = 0
    statuses: Counter[int] = field(default_factory=Counter)  # answers by status; 0: closed without an answer
    server_errors: list[str] = field(default_factory=list)  # 5xx that no client is to expect, and answers that hang
    bad_answers: list[str] = field(default_factory=list)  # JSON that cannot be read, errors of another shape
    log: str = ""  # of the server

    @property
    def tracebacks(self) -> int:
        """How many tracebacks are in the log."""
        return self.log.count("Traceback (most recent call last)")


def fuzz(requests: int, seed: int, analysis_dir: Path | None = None, *flags: str) -> FuzzReport:
    """Send hostile requests to a server of its own, the same ones for the same seed.

    It serves the runs of `analysis_dir`, by default a made-up one, with more flags of the command line. Human labels
    there may change. Raises AssertionError where the server does not start or is not healthy in the end.
    """
    with tempfile.TemporaryDirectory() as scratch:
        if analysis_dir is None:
            analysis_dir = Path(scratch) / "analysis_data"
            write_whole_run(analysis_dir)
        viewer = Path(scratch) / "viewer"
        (viewer / "assets").mkdir(parents=True)
        (viewer / "index.html").write_text("<!doctype html><title>viewer</title>" + " " * 5_000)
        (viewer / "assets" / "index-a1.js").write_text("let x = 1\n" * 500)
        server = Server("--analysis-dir", str(analysis_dir), "--viewer-dir", str(viewer), *flags)
        try:
            report = _ask(server, Requests(seed, server.get("/api/openapi.json")), requests)
            assert server.get("/api/health")["status"] == "ok" and "labels" in server.get("/api/labels")
        finally:
            server.stop(signal.SIGTERM)
        report.log = server.errors()
        return report


def _ask(server: Server, hostile: Requests, n: int) -> FuzzReport:
    report = FuzzReport()
    for request in hostile.draw(n):
        shown = repr(request[:300])
        report.requests += 1
        try:
            answer = _answer(server, request)
        except TimeoutError:
            report.server_errors.append(f"no answer: {shown}")
            continue
        status = int(answer[9:12]) if answer.startswith(b"HTTP/1.") else 0
        report.statuses[status] += 1
        try:
            code = _error_code(request, answer) if status else ""
        except (ValueError, KeyError, TypeError) as error:
            report.bad_answers.append(f"{status} {error!r}: {shown}")
            continue
        if status >= 500 and code not in MAY_PASS:
            report.server_errors.append(f"{status} {code}: {shown}")
    return report


def _answer(server: Server, request: bytes) -> bytes:
    """All that the server sends to a client that sends a request and no more."""
    received = b""
    with server.connect(timeout=30) as connection:
        with suppress(ConnectionError):  # the server may close before it has read everything
            connection.sendall(request)
        with suppress(OSError):
            connection.shutdown(socket.SHUT_WR)
        with suppress(ConnectionError):
            while part := connection.recv(1 << 16):
                received += part
    return received.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")


def _error_code(request: bytes, answer: bytes) -> str:
    """The code of an error; "" for other answers. Raises ValueError or KeyError where JSON is not as it should be."""
    head, _, body = answer.partition(b"\r\n\r\n")
    if b"application/json" not in head or not body or request.startswith(b"HEAD"):
        return ""
    fields = head.lower()
    length = int(fields.partition(b"content-length:")[2].split(b"\r\n")[0])
    body = body[:length]  # what follows answers the rest of the request, which was read as another one
    if body.startswith(b"HTTP/1."):  # the answer to a HEAD that does not stand at the beginning
        return ""
    found = json.loads(gzip.decompress(body) if b"content-encoding: gzip" in fields else body)
    if int(head[9:12]) < 400:
        return ""
    error = found["error"]
    if set(found) != {"error"} or set(error) != {"code", "message"} or not error["message"] or len(str(error)) > 2_000:
        raise ValueError(f"an error of another shape: {str(found)[:200]}")
    return str(error["code"])
