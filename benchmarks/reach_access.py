"""Asks a server under names, prefixes and passwords, right and wrong ones. A part of `benchmarks/reach.py`."""

import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from signal import SIGTERM
from typing import Any

from tests.support.run_factory import write_run
from tests.support.server_process import Server

_PHRASE = "open sesame"
_PAGE = {"Accept": "text/html"}
_BEARER = {"Authorization": f"Bearer {_PHRASE}"}


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *arguments: Any) -> None:
        """Follow no redirect."""


def access() -> dict[str, Any]:
    """How many requests were answered as they should be. Raises AssertionError for one that was not."""
    with tempfile.TemporaryDirectory() as folder:
        write_run(Path(folder), n_headlines=5, d_sae=64, seed=1)
        answered = list(_ask_all(folder))
    wrong = [line for right, line in answered if not right]
    assert not wrong, wrong
    return {"requests": len(answered), "as_expected": len(answered)}


def _ask_all(folder: str) -> Iterator[tuple[bool, str]]:
    for flags, questions in _QUESTIONS.items():
        server = Server("--analysis-dir", folder, *flags)
        try:
            for path, headers, expected in questions:
                status = _status(server, path, headers)
                yield status == expected, f"{' '.join(flags)}: {path} {headers}: {status} instead of {expected}"
        finally:
            server.stop(SIGTERM)


def _status(server: Server, path: str, headers: dict[str, str]) -> int:
    origin = "/".join(server.address.split("/")[:3])
    try:
        request = urllib.request.Request(origin + path, headers=headers)
        return int(urllib.request.build_opener(_NoRedirect).open(request, timeout=30).status)
    except urllib.error.HTTPError as error:
        return error.code


# The flags of a server; then requests of it, with their path, headers and expected status.
_QUESTIONS: dict[tuple[str, ...], list[tuple[str, dict[str, str], int]]] = {
    (): [
        ("/api/run", {}, 200),
        ("/api/run", {"Host": "localhost"}, 200),
        ("/api/run", {"Host": "gpu-box"}, 403),
        ("/", {"Host": "gpu-box"}, 403),
        ("/api/run", {"Host": "127.0.0.1", "X-Forwarded-Host": "gpu-box"}, 200),
    ],
    ("--allow-host", "gpu-box", "--allow-host", "*.example.org"): [
        ("/api/run", {"Host": "gpu-box:8765"}, 200),
        ("/api/run", {"Host": "a.example.org"}, 200),
        ("/api/run", {"Host": "example.com"}, 403),
    ],
    ("--base-path", "/some/prefix"): [
        ("/some/prefix/", {}, 200),
        ("/some/prefix/api/run", {}, 200),
        ("/some/prefix/features/12", {}, 200),
        ("/some/prefix", {}, 308),
        ("/api/run", {}, 404),
        ("/", {}, 404),
    ],
    ("--trust-proxy", "--allow-host", "gpu-box"): [
        ("/api/run", {"X-Forwarded-Host": "gpu-box", "X-Forwarded-Prefix": "/p"}, 200),
        ("/api/run", {"X-Forwarded-Host": "evil.example"}, 403),
    ],
    ("--password", _PHRASE): [
        ("/", _PAGE, 401),
        ("/api/run", {}, 401),
        ("/api/run", _BEARER, 200),
        ("/api/health", {}, 204),
        ("/?token=open+sesame", _PAGE, 303),
        ("/?token=wrong", _PAGE, 401),
        ("/api/run", {"Authorization": "Bearer wrong"}, 401),
    ],
    ("--host", "0.0.0.0"): [("/", _PAGE, 401), ("/api/run", {}, 401)],
    ("--host", "0.0.0.0", "--no-password"): [("/api/run", {"Host": "127.0.0.1"}, 200)],
}
