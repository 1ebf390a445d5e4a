"""Answers are compressed where that pays, and sent only if they are new to the client."""

import gzip
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from tests.support.run_factory import write_run
from viz_analysis.feature_probe_server import create_app


def test_large_answers_are_compressed_where_asked(client: FlaskClient) -> None:
    plain = client.get("/api/headlines")
    packed = client.get("/api/headlines", headers={"Accept-Encoding": "br, gzip"})
    assert "Content-Encoding" not in plain.headers and packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.data) == plain.data and len(packed.data) < len(plain.data) / 2
    assert "Accept-Encoding" in packed.headers["Vary"] and "Accept-Encoding" in plain.headers["Vary"]
    refused = client.get("/api/headlines", headers={"Accept-Encoding": "gzip;q=0"})
    assert "Content-Encoding" not in refused.headers
    small = client.get("/api/health", headers={"Accept-Encoding": "gzip"})
    assert "Content-Encoding" not in small.headers


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_an_unchanged_answer_is_not_sent_twice(tmp_path: Path, encoding: str) -> None:
    client = create_app(tmp_path).test_client()
    write_run(tmp_path, 10, 64)
    first = client.get("/api/headlines", headers={"Accept-Encoding": encoding})
    asked = {"Accept-Encoding": encoding, "If-None-Match": first.headers["ETag"]}
    again = client.get("/api/headlines", headers=asked)
    assert again.status_code == 304 and again.data == b"" and again.headers["ETag"] == first.headers["ETag"]
    write_run(tmp_path, 11, 64)
    assert client.get("/api/headlines", headers=asked).status_code == 200
