"""Hostile requests to a real server: wrong, huge and broken in every part. Tests only."""

import gzip
import json
import random
import signal
import socket
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.support.run_factory import write_run
from tests.support.server_process import Server

MAY_PASS = {"indexing"}  # codes of the errors 503 that say when to ask again


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
            write_run(analysis_dir, n_headlines=40, d_sae=256)
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


def _ask(server: Server, hostile: "Requests", n: int) -> FuzzReport:
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


# --- requests ------------------------------------------------------------------------------------------

WORDS = ["", " ", "shares", "é€𝄞Corp", "up " * 40, "x" * 5_000, "\0", "a\0b", "\u202eevil", "\ud7ff\ue000", "٣", "½"]
WORDS += [
    "../../etc/passwd",
    "'; DROP TABLE headlines;--",
    '" OR "1"="1',
    "NEAR(a b)",
    "a AND",
    "text:x",
    "*",
    '"',
    "-",
]
WORDS += [
    "<script>alert(1)</script>",
    "{{7*7}}",
    "${7*7}",
    "%s%n",
    "%00",
    "\\",
    "\r\nX-Injected: 1",
    "run-001",
    "1",
    "C:\\",
]
NUMBERS = [
    "0",
    "1",
    "7",
    "255",
    "256",
    "-1",
    "-0",
    "1.5",
    "1e3",
    "1e999",
    "NaN",
    "inf",
    "0x10",
    "1_000",
    " 1",
    "+1",
    "٣",
]
NUMBERS += ["9" * 20, "9" * 5_000, str(2**31), str(2**63), "true", "null", "[]", "1,2"]
VALUES: list[Any] = [
    None,
    True,
    0,
    1,
    -1,
    1.5,
    1e300,
    2**31,
    2**63,
    10**30,
    "",
    "1",
    "x" * 2_000,
    "\0",
    [],
    {},
    [[]],
    [None],
]
VALUES += [
    "Shares surge on record profit",
    "\u202e🚀",
    {"feature": 1},
    {"name": 7},
    list(range(300)),
    "run-001",
    "ablate",
]
METHODS = ["HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT", "get", "X" * 50, "G\0T"]
PATHS = [
    "/",
    "/features/1",
    "/index.html",
    "/assets/index-a1.js",
    "/assets/",
    "/api",
    "/api/",
    "/api//runs",
    "//api/runs",
]
PATHS += [
    "/api/runs/",
    "/api/runs;x",
    "/api/runs%00",
    "/%2e%2e/%2e%2e/etc/passwd",
    "/..%5c..",
    "*",
    "http://localhost/api/runs",
]
PATHS += [
    "http://[::1/api/runs",
    "/" + "a" * 9_000,
    "/" + "/" * 3_000,
    "/%",
    "/%ff%fe",
    "/\xff",
    "/#x",
    "?",
    "/api/no_such",
]
HEADERS: dict[str, list[str]] = {
    "Host": [
        "localhost",
        "localhost:x",
        "[::1",
        "evil.example",
        "",
        "127.0.0.1:99999999",
        "a b",
        "\xff",
        "localhost,localhost",
    ],
    "Origin": ["http://localhost:1234", "https://evil.example", "null", "http://[", "\xff", "x" * 5_000],
    "Sec-Fetch-Site": ["same-origin", "cross-site", "none", "", "\xff"],
    "If-Match": ["*", '"x"', 'W/"x"', '"', '"a", "b', ",,,", "\xff", '"' + "x" * 5_000 + '"', '"*"'],
    "If-None-Match": ["*", 'W/"x"', '"', "\xff"],
    "If-Modified-Since": ["Thu, 01 Jan 1970 00:00:00 GMT", "yesterday", "Thu, 99 Jan 99999 00:00:00 GMT"],
    "If-Range": ['"x"', "Thu, 01 Jan 1970 00:00:00 GMT", "\xff"],
    "Range": [
        "bytes=0-",
        "bytes=-1",
        "bytes=9-1",
        "bytes=0-0,5-9",
        "bytes=99999999999-",
        "items=1",
        "bytes=" + "0-1," * 900,
    ],
    "Accept": ["*/*", "text/html", ";q=2", "\xff"],
    "Accept-Encoding": ["gzip", "gzip;q=0", "gzip;q=x", "*;q=0", "br, zstd", "gzip;q=1e99", "\xff"],
    "Content-Type": [
        "text/plain",
        "application/json; charset=utf-16",
        "application/json; charset=\xff",
        "multipart/form-data",
        "",
    ],
    "Content-Length": ["0", "-1", "1", "99999999", "9" * 400, "x", "1, 1", "+5", "٣"],
    "Content-Encoding": ["gzip", "br"],
    "Transfer-Encoding": ["chunked", "gzip", "chunked, chunked", "identity", "\x0bchunked"],
    "Expect": ["100-continue", "200-ok"],
    "Connection": ["close", "keep-alive", "Upgrade", "Content-Length"],
    "Authorization": ["Basic !!!", "Bearer \xff", "Basic " + "QQ" * 2_000],
    "Cookie": ["a=b", "=;=;", "\xff", "x=" + "y" * 5_000],
    "X-Forwarded-For": ["1.2.3.4", "\xff"],
    "X-Y": ["z" * 70_000, "", "z" * 300_000],
    "Bad Name": ["x"],
    "": ["x"],
}
BODIES: dict[str, dict[str, Any]] = {
    "/api/probe": {"text": "Shares surge on record profit", "top": 3, "steps": 2, "ablate": 1},
    "/api/intervene": {"text": "Profit rises", "edits": [{"feature": 1, "operation": "scale", "value": 0.5}]},
    "/api/flip": {"text": "Shares fall on weak outlook", "target": 1, "level": 0.0, "max_size": 2},
    "/api/audit": {"features": [1, 2], "offset": 0, "limit": 2},
    "/api/labels": {"labels": {"7": {"name": "beats estimates", "starred": True, "note": "a\nb"}}},
}


class Requests:
    """Requests that are drawn from the API's description: valid ones with something wrong in most."""

    def __init__(self, seed: int, description: dict[str, Any]) -> None:
        self._random = random.Random(seed)
        self._operations = [
            (method.upper(), path, [one for one in operation.get("parameters", []) if one["in"] == "query"])
            for path, methods in sorted(description["paths"].items())
            for method, operation in sorted(methods.items())
        ]

    def draw(self, n: int) -> Iterator[bytes]:
        """The next n requests, as they are sent."""
        for _ in range(n):
            yield self._raw() if self._chance(0.04) else self._request()

    def _chance(self, share: float) -> bool:
        return self._random.random() < share

    def _request(self) -> bytes:
        one = self._random
        method, path, parameters = one.choice(self._operations)
        target = path + self._query(parameters)
        headers = {"Host": "localhost", "Content-Type": "application/json"}
        if method == "PUT":
            headers["If-Match"] = "*"
        body = self._body(path) if method != "GET" or self._chance(0.05) else b""
        if body:
            headers["Content-Length"] = str(len(body))
        if self._chance(0.1):
            target = one.choice(PATHS)
        if self._chance(0.1):
            method = one.choice(METHODS)
        for _ in range(one.choice([0, 0, 0, 1, 1, 2, 4])):
            name = one.choice(list(HEADERS))
            headers[name] = one.choice(HEADERS[name])
        if headers.get("Transfer-Encoding") == "chunked" and self._chance(0.5):
            body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        lines = [f"{name}: {value}" for name, value in headers.items()]
        if self._chance(0.05):
            lines.append(one.choice(lines))
        version = one.choice(["HTTP/1.1"] * 20 + ["HTTP/1.0", "HTTP/9.9", "http/1.1", ""])
        return (
            "\r\n".join([f"{method} {target} {version}".rstrip(), *lines, "", ""]).encode("latin-1", "replace") + body
        )

    def _query(self, parameters: list[dict[str, Any]]) -> str:
        one = self._random
        chosen = [parameter["name"] for parameter in parameters if parameter["required"] or self._chance(0.3)]
        if chosen and self._chance(0.1):
            chosen.append(one.choice(chosen))  # twice
        if self._chance(0.05):
            chosen.append(one.choice(["typo", "", "run[]", "\0", "q" * 3_000]))
        valid = {parameter["name"]: self._valid(parameter["schema"]) for parameter in parameters}
        pairs = []
        for name in chosen:
            value = valid.get(name, "1") if self._chance(0.6) else one.choice(one.choice([WORDS, NUMBERS]))
            pairs.append(f"{quote(name)}={value if self._chance(0.03) else quote(value)}")
        return ("?" + "&".join(pairs)) if pairs else ""

    def _valid(self, schema: dict[str, Any]) -> str:
        """A value that fits a parameter, or nearly."""
        kinds = schema.get("anyOf", [schema])
        schema = self._random.choice(kinds)
        if "enum" in schema:
            return str(self._random.choice(schema["enum"]))
        numbers = {"integer": ["0", "1", "5", "39"], "number": ["0.25", "0.5", "1"], "boolean": ["true", "false"]}
        return self._random.choice(numbers.get(schema.get("type", ""), ["run-001", "shares", "mean_activation", "1"]))

    def _body(self, path: str) -> bytes:
        """JSON for an endpoint: as it should be, with other values, or damaged."""
        one = self._random
        whole = deepcopy(BODIES.get(path, {"a": 1}))
        for _ in range(one.choice([0, 1, 1, 2, 5])):
            self._mutate(whole)
        data = json.dumps(whole).encode()
        return one.choice([_same] * 6 + [self._broken, self._cut, self._nested, self._odd, self._twice])(data)

    def _mutate(self, value: Any) -> None:
        """Change one value somewhere in an object or a list."""
        one = self._random
        if not value:
            return
        key = one.choice(list(value)) if isinstance(value, dict) else one.randrange(len(value))
        if isinstance(value[key], dict | list) and self._chance(0.7):
            self._mutate(value[key])
        elif self._chance(0.15):
            del value[key]
        elif isinstance(value, dict) and self._chance(0.2):
            value[one.choice(["", "run", "typo", "\0", "-1", "٣", "07", "9" * 30, "x" * 3_000])] = deepcopy(
                one.choice(VALUES)
            )
        else:
            value[key] = deepcopy(one.choice(VALUES))

    def _broken(self, data: bytes) -> bytes:
        place = self._random.randrange(len(data))
        return data[:place] + bytes([self._random.randrange(256)]) + data[place + 1 :]

    def _cut(self, data: bytes) -> bytes:
        return data[: self._random.randrange(len(data))]

    def _nested(self, data: bytes) -> bytes:
        depth = self._random.choice([300, 1_000, 1_023, 20_000])
        return self._random.choice(
            [b"[" * depth, b"[" * depth + b"]" * depth, b'{"text":' * depth + b"1" + b"}" * depth]
        )

    def _odd(self, data: bytes) -> bytes:
        odd = [
            b"\xff\xfe",
            b"\xef\xbb\xbf" + data,
            b'"\\ud800"',
            b'{"text": "\\ud800"}',
            b'{"top": NaN}',
            b"1e999",
            b"",
            b"null",
        ]
        odd += [data.decode().encode("utf-16"), b'{"top": ' + b"9" * 9_000 + b"}", b" " * 70_000, b"x" * 3_000_000]
        return self._random.choice([*odd, json.dumps(data.decode()).encode(), gzip.compress(data)])

    def _twice(self, data: bytes) -> bytes:
        return data[:-1] + b"," + data[1:] if len(data) > 2 else data

    def _raw(self) -> bytes:
        """Bytes that are hardly a request."""
        one = self._random
        request = bytearray(self._request()[:2_000])
        kinds: list[Callable[[], bytes]] = [
            lambda: one.randbytes(one.choice([1, 40, 3_000])),
            lambda: bytes(request).replace(b"\r\n", b"\n"),
            lambda: bytes(request).replace(b"\r\n", b"\r"),
            lambda: bytes(request[: one.randrange(len(request))]),
            lambda: b"\r\n\r\n" + bytes(request),
            lambda: bytes(request) * 3,
            lambda: bytes(request).replace(b": ", b" : "),
            lambda: bytes(byte ^ (one.random() < 0.02) for byte in request),
            lambda: b"GET /api/runs HTTP/1.1\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
        ]
        return one.choice(kinds)()


def _same(data: bytes) -> bytes:
    return data
