"""Asking the API in tests."""

import re
from typing import Any

from flask.testing import FlaskClient


def get(client: FlaskClient, address: str) -> Any:
    """The JSON that an address answers with status 200."""
    response = client.get(address)
    assert response.status_code == 200, response.text
    assert response.mimetype == "application/json"
    return response.json


def error(client: FlaskClient, address: str, **request: Any) -> tuple[int, str]:
    """The status and message of an error, having checked its shape."""
    response = client.get(address, **request)
    answer = response.json
    assert set(answer) == {"error"} and set(answer["error"]) == {"code", "message"}, answer
    assert re.fullmatch("[a-z_]+", answer["error"]["code"]) and answer["error"]["message"]
    return response.status_code, answer["error"]["message"]
