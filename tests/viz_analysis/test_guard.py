"""Who may ask: other hosts, pages of other sites, and bodies that are too large."""

from pathlib import Path

import pytest
from flask.testing import FlaskClient

from viz_analysis.feature_probe_server import create_app


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
    client = create_app(runs, host=served_on).test_client()
    response = client.get("/api/health", headers={"Host": host})
    assert response.status_code == status
    assert status == 200 or response.json["error"]["code"] == "forbidden"


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("http://localhost:1234", True),
        ("http://127.0.0.1:5173", True),
        ("http://[::1]:1234", True),
        ("https://evil.example", False),
        ("http://localhost.evil.example", False),
        ("http://evil.example?localhost:1234", False),
        ("null", False),
    ],
)
def test_only_local_pages_may_read_answers(client: FlaskClient, origin: str, allowed: bool) -> None:
    response = client.get("/api/health", headers={"Origin": origin})
    assert response.headers.get("Access-Control-Allow-Origin") == (origin if allowed else None)
    assert "Access-Control-Allow-Credentials" not in response.headers


def test_large_bodies_are_refused_even_where_no_endpoint_reads_them(client: FlaskClient) -> None:
    response = client.get("/api/headlines", data=b"x" * 100_000)
    assert response.status_code == 413 and response.json["error"]["code"] == "request_entity_too_large"
