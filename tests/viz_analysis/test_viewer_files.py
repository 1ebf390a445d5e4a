"""The built viewer, served beside the API."""

import gzip
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from tests.support.api_client import error
from viz_analysis.feature_probe_server import create_app


@pytest.fixture
def viewer(tmp_path: Path) -> FlaskClient:
    dist = tmp_path / "dist"
    (dist / "assets").mkdir(parents=True)
    (dist / "index.html").write_text("<title>viewer</title>")
    (dist / "assets" / "index-a1b2.js").write_text("let x = 1;" * 1000)
    (tmp_path / "secret.txt").write_text("secret")
    (dist / "link.txt").symlink_to(tmp_path / "secret.txt")
    return create_app(tmp_path / "runs", viewer_dir=dist).test_client()


def test_the_built_viewer_is_served_with_its_own_addresses(viewer: FlaskClient) -> None:
    for address in ("/", "/index.html", "/features", "/features/12?metric=entropy", "/assets"):
        response = viewer.get(address)
        assert response.status_code == 200 and "<title>viewer" in response.text
        assert response.headers["Cache-Control"] == "no-cache"
    script = viewer.get("/assets/index-a1b2.js", headers={"Accept-Encoding": "gzip"})
    assert gzip.decompress(script.data).startswith(b"let x") and "javascript" in script.mimetype
    assert "immutable" in script.headers["Cache-Control"]
    asked = {"If-None-Match": script.headers["ETag"], "Accept-Encoding": "gzip"}
    assert viewer.get("/assets/index-a1b2.js", headers=asked).status_code == 304


@pytest.mark.parametrize(
    "address", ["/link.txt", "/../secret.txt", "/..%2fsecret.txt", "/assets/../../secret.txt", "/old.js", "/%00.js"]
)
def test_nothing_else_is_served(viewer: FlaskClient, address: str) -> None:
    assert error(viewer, address)[0] == 404


def test_without_a_built_viewer_a_page_says_where_it_is(client: FlaskClient) -> None:
    page = client.get("/")
    assert page.status_code == 200 and "localhost:1234" in page.text and "make serve" in page.text
