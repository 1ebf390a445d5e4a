"""Who may ask: other hosts, pages of other sites, and bodies that are too large."""

from pathlib import Path

import pytest
from flask.testing import FlaskClient

from viz_analysis.feature_probe_server import create_app
from viz_analysis.web.access import Access


@pytest.mark.parametrize(
    ("host", "served_on", "status"),
    [
        ("localhost:8765", "127.0.0.1", 200),
        ("127.0.0.1", "127.0.0.1", 200),
        ("[::1]:8765", "127.0.0.1", 200),
        ("LOCALHOST", "127.0.0.1", 200),
        ("box.lan:8765", "box.lan", 200),
        ("evil.example", "127.0.0.1", 403),
        ("localhost.evil.example", "127.0.0.1", 403),
        ("10.1.2.3", "127.0.0.1", 403),
        ("10.1.2.3:8765", "0.0.0.0", 200),
        ("evil.example", "0.0.0.0", 403),
        ("a b", "127.0.0.1", 403),
        ("[::1", "127.0.0.1", 403),
        ("@localhost", "127.0.0.1", 403),
    ],
)
def test_foreign_hosts_are_refused(runs: Path, host: str, served_on: str, status: int) -> None:
    client = create_app(runs, access=Access(served_on)).test_client()
    response = client.get("/api/health", headers={"Host": host})
    assert response.status_code == status
    assert status == 200 or response.json["error"]["code"] == "forbidden"


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("http://localhost:1234", True),
        ("http://127.0.0.1:1234", True),
        ("https://localhost:1234", False),
        ("http://localhost:12345", False),
        ("http://127.0.0.1:5173", False),
        ("http://localhost", False),
        ("http://[::1]:1234", False),
        ("https://evil.example", False),
        ("http://localhost.evil.example", False),
        ("http://evil.example?localhost:1234", False),
        ("null", False),
    ],
)
def test_only_the_viewers_development_server_may_read_answers(client: FlaskClient, origin: str, allowed: bool) -> None:
    response = client.get("/api/health", headers={"Origin": origin})
    assert response.headers.get("Access-Control-Allow-Origin") == (origin if allowed else None)
    assert "Access-Control-Allow-Credentials" not in response.headers


def test_large_bodies_are_refused_even_where_no_endpoint_reads_them(client: FlaskClient) -> None:
    response = client.get("/api/headlines", data=b"x" * 100_000)
    assert response.status_code == 413 and response.json["error"]["code"] == "request_entity_too_large"


DEEP = [b'{"labels": {"1": {"name": ' + b"[" * n + b"]" * n + b"}}}" for n in (1_000, 15_000)]
DEEP += [b"[" * n for n in (1_000, 50_000)] + [b'{"a":' * 10_000]
NOT_JSON = [b'{"top": NaN}', b'{"top": 1e999}', b'{"top": -Infinity}', b'{"top": 1' + b"0" * 5_000 + b"}"]
NOT_JSON += [b'{"text": "\\ud800"}', b'{"text": "\xff"}', b"\xef\xbb\xbf{}", b'"{}"', b"null", b"7", b"", b"{'a': 1}"]


@pytest.mark.parametrize("address", ["probe", "intervene", "flip", "audit", "labels"])
@pytest.mark.parametrize("body", DEEP + NOT_JSON, ids=lambda body: repr(body[:20]))
def test_bodies_that_are_no_json_or_too_deep_are_refused(client: FlaskClient, address: str, body: bytes) -> None:
    """Each is 400 and one sentence, also without --live."""
    method = "PUT" if address == "labels" else "POST"
    response = client.open(
        f"/api/{address}", method=method, data=body, content_type="application/json", headers={"If-Match": "*"}
    )
    assert response.status_code == 400, response.text
    assert response.json["error"]["message"].endswith(".") and len(response.json["error"]["message"]) < 200


def test_numbers_and_words_of_a_body_are_bounded(client: FlaskClient) -> None:
    """A number of any size and repeated keys are judged like any other value."""
    for body, message in (
        (b'{"text": "up", "top": ' + b"9" * 300 + b"}", "integer"),
        (b'{"text": "up", "top": 1, "top": 101}', "less than or equal to 100"),
        (b'{"text": "up", "\\u0000": 1}', "Extra inputs"),
    ):
        response = client.post("/api/probe", data=body, content_type="application/json")
        assert response.status_code == 400 and message in response.json["error"]["message"], response.text
