"""The built viewer, served beside the API."""

import gzip
import re
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from tests.support.api_client import error
from viz_analysis.feature_probe_server import create_app
from viz_analysis.web.viewer_files import VIEWER_DIR


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


def policy(client: FlaskClient, address: str) -> dict[str, list[str]]:
    """What a browser lets the page of an address do: the sources of each kind of content."""
    parts = client.get(address).headers["Content-Security-Policy"].split("; ")
    return {name: sources for name, *sources in map(str.split, parts)}


def test_a_page_runs_only_scripts_of_this_server(viewer: FlaskClient, client: FlaskClient) -> None:
    """The built viewer, and the page that stands in for it."""
    for served, address in ((viewer, "/"), (viewer, "/features/12"), (viewer, "/assets/index-a1b2.js"), (client, "/")):
        allowed = policy(served, address)
        assert allowed["default-src"] == ["'none'"] and allowed["script-src"] == ["'self'"]
        assert allowed["form-action"] == allowed["frame-ancestors"] == ["'none'"]
        assert allowed["base-uri"] == ["'self'"]


@pytest.mark.parametrize(
    "address", ["/api/run", "/old.js", "/api/no_such", "/api/openapi.json", "/api/headlines?limit=x"]
)
def test_an_answer_of_the_api_is_no_page(client: FlaskClient, address: str) -> None:
    assert policy(client, address) == {"default-src": ["'none'"], "frame-ancestors": ["'none'"]}


def test_the_viewers_page_has_no_script_in_it() -> None:
    """A browser would not run it."""
    page = (VIEWER_DIR.parent / "index.html").read_text()
    scripts = re.findall(r"<script([^>]*)>(.*?)</script>", page, re.DOTALL)
    assert len(scripts) == page.count("<script") == 2
    assert all("src=" in attributes and not content for attributes, content in scripts)
    assert not re.search(r"\bon[a-z]+=", page)
