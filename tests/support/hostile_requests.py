"""Hostile requests: drawn from the API's description, and wrong, huge or broken in any part. Tests only."""

import gzip
import json
import random
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any
from urllib.parse import quote

WORDS = [
    *("", " ", "shares", "é€𝄞Corp", "up " * 40, "x" * 5_000, "\0", "a\0b", "\u202eevil", "\ud7ff\ue000", "٣", "½"),
    *("../../etc/passwd", "'; DROP TABLE headlines;--", '" OR "1"="1', "NEAR(a b)", "a AND", "text:x", "*", '"', "-"),
    *("<script>alert(1)</script>", "{{7*7}}", "${7*7}", "%s%n", "%00", "\\", "\r\nX-Injected: 1", "run-001", "1"),
    "C:\\",
]
NUMBERS = [
    *("0", "1", "7", "255", "256", "-1", "-0", "1.5", "1e3", "1e999", "NaN", "inf", "0x10", "1_000", " 1", "+1", "٣"),
    *("9" * 20, "9" * 5_000, str(2**31), str(2**63), "true", "null", "[]", "1,2"),
]
VALUES: list[Any] = [
    *(None, True, 0, 1, -1, 1.5, 1e300, 2**31, 2**63, 10**30, "", "1", "x" * 2_000, "\0", [], {}, [[]], [None]),
    *("Shares surge on record profit", "\u202e🚀", {"feature": 1}, {"name": 7}, list(range(300)), "run-001", "ablate"),
]
METHODS = ["HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT", "get", "X" * 50, "G\0T"]
PATHS = [
    *("/", "/features/1", "/index.html", "/assets/index-a1.js", "/assets/", "/api", "/api/", "/api//runs"),
    *("//api/runs", "/api/runs/", "/api/runs;x", "/api/runs%00", "/%2e%2e/%2e%2e/etc/passwd", "/..%5c..", "*"),
    *("http://localhost/api/runs", "http://[::1/api/runs", "/" + "a" * 9_000, "/" + "/" * 3_000, "/%", "/%ff%fe"),
    *("/\xff", "/#x", "?", "/api/no_such"),
]
HEADERS: dict[str, list[str]] = {
    "Host": [
        *("localhost", "localhost:x", "[::1", "evil.example", "", "127.0.0.1:99999999", "a b", "\xff"),
        "localhost,localhost",
    ],
    "Origin": ["http://localhost:1234", "https://evil.example", "null", "http://[", "\xff", "x" * 5_000],
    "Sec-Fetch-Site": ["same-origin", "cross-site", "none", "", "\xff"],
    "If-Match": ["*", '"x"', 'W/"x"', '"', '"a", "b', ",,,", "\xff", '"' + "x" * 5_000 + '"', '"*"'],
    "If-None-Match": ["*", 'W/"x"', '"', "\xff"],
    "If-Modified-Since": ["Thu, 01 Jan 1970 00:00:00 GMT", "yesterday", "Thu, 99 Jan 99999 00:00:00 GMT"],
    "If-Range": ['"x"', "Thu, 01 Jan 1970 00:00:00 GMT", "\xff"],
    "Range": [
        *("bytes=0-", "bytes=-1", "bytes=9-1", "bytes=0-0,5-9", "bytes=99999999999-", "items=1"),
        "bytes=" + "0-1," * 900,
    ],
    "Accept": ["*/*", "text/html", ";q=2", "\xff"],
    "Accept-Encoding": ["gzip", "gzip;q=0", "gzip;q=x", "*;q=0", "br, zstd", "gzip;q=1e99", "\xff"],
    "Content-Type": [
        *("text/plain", "application/json; charset=utf-16", "application/json; charset=\xff", "multipart/form-data"),
        "",
    ],
    "Content-Length": ["0", "-1", "1", "99999999", "9" * 400, "x", "1, 1", "+5", "٣"],
    "Content-Encoding": ["gzip", "br"],
    "Transfer-Encoding": ["chunked", "gzip", "chunked, chunked", "identity", "\x0bchunked"],
    "Expect": ["100-continue", "200-ok"],
    "Connection": ["close", "keep-alive", "Upgrade", "Content-Length"],
    "Authorization": ["Basic !!!", "Bearer \xff", "Basic " + "QQ" * 2_000],
    "Cookie": ["a=b", "=;=;", "\xff", "x=" + "y" * 5_000],
    "X-Forwarded-For": ["1.2.3.4", "\xff", ",,,"],
    "X-Forwarded-Host": ["localhost", "evil.example", "[::1", "\xff", "a b", "localhost:x", "localhost,evil.example"],
    "X-Forwarded-Proto": ["https", "javascript", "\xff"],
    "X-Forwarded-Prefix": ["/p", "//evil.example", "\xff", "../..", "/" + "p" * 5_000],
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
        odd = [b"\xff\xfe", b"\xef\xbb\xbf" + data, b'"\\ud800"', b'{"text": "\\ud800"}', b'{"top": NaN}', b"1e999"]
        odd += [b"", b"null", data.decode().encode("utf-16"), b'{"top": ' + b"9" * 9_000 + b"}"]
        odd += [b" " * 70_000, b"x" * 3_000_000, json.dumps(data.decode()).encode(), gzip.compress(data, mtime=0)]
        return self._random.choice(odd)

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
