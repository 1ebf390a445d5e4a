"""The built viewer, served beside the API where there is one."""

from pathlib import Path

from flask import Blueprint, Response, send_file
from werkzeug.exceptions import NotFound

NO_VIEWER = """<!doctype html><html lang="en"><meta charset="utf-8"><title>FinBERT SAE Explorer</title>
<body style="font: 16px/1.5 system-ui; max-width: 40rem; margin: 4rem auto">
<h1>This is the API of the FinBERT SAE Explorer</h1>
<p>The viewer runs at <a href="http://localhost:1234">localhost:1234</a> once it is started:
<code>cd sae-viewer &amp;&amp; npm start</code>.</p>
<p>To have it here too, build it: <code>cd sae-viewer &amp;&amp; npm run build</code>.</p>
<p>The API describes itself at <a href="/api/openapi.json">/api/openapi.json</a>.</p></body></html>
"""


def viewer_blueprint(folder: Path) -> Blueprint:
    """The files of `folder` at `/`, and its `index.html` for addresses that only the viewer knows."""
    blueprint = Blueprint("viewer", __name__)

    @blueprint.get("/", defaults={"path": ""})
    @blueprint.get("/<path:path>")
    def viewer(path: str) -> Response:
        if path == "api" or path.startswith("api/"):
            raise NotFound(f"There is no /{path[:200]}; /api/openapi.json lists what there is.")
        root = folder.resolve()
        index = root / "index.html"
        if not index.is_file():
            if path:
                raise NotFound(f"There is no /{path[:200]}, and the viewer is not built.")
            return Response(NO_VIEWER, mimetype="text/html")
        file = _inside(root, path)
        if file is None and Path(path).suffix:
            raise NotFound(f"There is no /{path[:200]}.")
        response = send_file(file or index, conditional=True)
        if path.startswith("assets/") and file:  # the bundler puts a hash of the content into these names
            response.cache_control.max_age, response.cache_control.immutable = 31_536_000, True
            response.cache_control.no_cache = None
        response.headers["Content-Security-Policy"] = "frame-ancestors 'none'; object-src 'none'; base-uri 'self'"
        return response

    return blueprint


def _inside(root: Path, path: str) -> Path | None:
    """The file `path` of `root`; None where there is none or where links or dots lead out of `root`."""
    try:
        file = (root / path).resolve()
        return file if file.is_relative_to(root) and file.is_file() else None
    except (OSError, ValueError):  # a null byte, a name too long
        return None
