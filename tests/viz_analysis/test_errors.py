"""Bad requests: every error is one sentence with its own status."""

from pathlib import Path

import pytest
from flask.testing import FlaskClient

from tests.support.api_client import error, get
from viz_analysis.feature_probe_server import create_app

BAD = {
    "/api/feature_info": 400,
    "/api/feature_info?id=": 400,
    "/api/feature_info?id=x": 400,
    "/api/feature_info?id=-1": 400,
    "/api/feature_info?id=1.5": 400,
    f"/api/feature_info?id={10**30}": 400,
    f"/api/feature_info?id={'9' * 8000}": 400,
    "/api/feature_info?id=2000": 404,
    "/api/features?metric=no_such": 404,
    "/api/confusion?label=1": 400,
    "/api/confusion?min_confidence=2": 400,
    "/api/confusion?run=99": 404,
    "/api/features?limit=0": 400,
    "/api/features?limit=-5": 400,
    "/api/features?limit=501": 400,
    f"/api/features?offset={10**30}": 400,
    "/api/features?offset=-1": 400,
    "/api/features?typo=1": 400,
    f"/api/headlines?q={'x' * 8000}": 400,
    "/api/headlines?sort=text": 400,
    "/api/headlines?correct=perhaps": 400,
    "/api/headlines?label=bullish": 400,
    "/api/headlines?run=99": 404,
    "/api/headlines?run=../../etc/passwd": 404,
    "/api/headlines?run=..%2f..%2fetc": 404,
    "/api/headlines?run=%00": 404,
    f"/api/headlines?run={10**30}": 404,
    f"/api/headlines?run={'9' * 8000}": 400,
    "/api/no_such": 404,
    "/api": 404,
    "/api/": 404,
    "/api/../../etc/passwd": 404,
    "/no/such/page": 404,
    "/%00": 404,
    "/" + "x" * 8000: 404,
}


@pytest.mark.parametrize("address", BAD, ids=lambda address: address[:50])
def test_bad_requests_are_clear_errors(client: FlaskClient, address: str) -> None:
    status, message = error(client, address)
    assert status == BAD[address]
    assert len(message) < 600 and "\n" not in message


def test_other_mistakes_have_the_same_shape(client: FlaskClient) -> None:
    for method in ("post", "put", "delete", "patch"):
        response = getattr(client, method)("/api/headlines")
        assert response.status_code == 405 and response.json["error"]["code"] == "method_not_allowed"
        assert "GET" in response.headers["Allow"]
    hostile = "%27%3B%20DROP%20TABLE%20headlines%3B--"
    assert get(client, f"/api/headlines?q={hostile}")["total"] == 0
    assert get(client, "/api/headlines?q=%00%ff")["total"] == 0


def test_a_programming_error_is_a_plain_500(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = create_app(runs)
    monkeypatch.setattr(app.extensions["runs"], "ask", lambda run_id, question: 1 / 0)
    status, message = error(app.test_client(), "/api/headlines")
    assert status == 500 and "log" in message and "division" not in message
