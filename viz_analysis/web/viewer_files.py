"""The built viewer, served beside the API."""

from pathlib import Path

from flask import Blueprint, Response, send_file
from werkzeug.exceptions import NotFound

from viz_analysis.web.base_path import way_up

# Scripts come from this server only. Styles may also stand in the page, because the dialogs of Radix write them there.
PAGE_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self' 'unsafe-inline'",
        "font-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'self'",
        "form-action 'none'",
    )
)
_ABOVE = Path(__file__).resolve().parents[2]
REPOSITORY = _ABOVE if (_ABOVE / "sae-viewer").is_dir() else None
"""The repository that this file stands in; None where the package was installed from a wheel."""

VIEWER_DIR = REPOSITORY / "sae-viewer" / "dist" if REPOSITORY else Path(__file__).resolve().parent / "viewer"
"""The built viewer: what `npm run build` writes, or the copy that setup.py puts into a wheel."""

BASE = '<base href="/"'  # in sae-viewer/index.html
NO_VIEWER = """<!doctype html><html lang="en"><meta charset="utf-8"><title>FinBERT SAE Explorer</title>
<body style="font: 16px/1.5 system-ui; max-width: 40rem; margin: 4rem auto">
<h1>This is the API of the FinBERT SAE Explorer</h1>
<p>The viewer is not built yet. <code>make serve</code> builds it and serves it with the API at
<a href="http://localhost:1234">localhost:1234</a>.</p>
<p>To develop it, start <code>cd sae-viewer &amp;&amp; npm start</code> beside this server.</p>
<p>The API describes itself at <a href="api/openapi.json">/api/openapi.json</a>.</p></body></html>
"""


def viewer_blueprint(folder: Path, frame_ancestors: str = "'none'") -> Blueprint:
    """Serve the files of `folder` at `/`, and its `index.html` for the addresses of the viewer's own pages.

    `frame_ancestors` are the sites that may show these pages in a frame. The `<base>` of each page is the relative
    address of the viewer's folder.
    """
    blueprint = Blueprint("viewer", __name__)

    def page(response: Response) -> Response:
        response.headers["Content-Security-Policy"] = f"{PAGE_POLICY}; frame-ancestors {frame_ancestors}"
        return response

    @blueprint.get("/", defaults={"path": ""})
    @blueprint.get("/<path:path>")
    def viewer(path: str) -> Response:
        if path == "api" or path.startswith("api/"):
            raise NotFound(f"There is no /{path[:200]}; /api/openapi.json lists the endpoints.")
        root = folder.resolve()
        index = root / "index.html"
        if not index.is_file():
            if path:
                raise NotFound(f"There is no /{path[:200]}, and the viewer is not built.")
            return page(Response(NO_VIEWER, mimetype="text/html"))
        file = _inside(root, path)
        if file is None and Path(path).suffix:
            raise NotFound(f"There is no /{path[:200]}.")
        if file in (None, index):
            content = index.read_text(encoding="utf-8").replace(BASE, f'<base href="{way_up()}"', 1)
            return page(Response(content, mimetype="text/html"))
        response = send_file(file, conditional=True)
        response.direct_passthrough = False
        response.make_sequence()  # in one piece, so that its length is known when it has been compressed
        if path.startswith("assets/"):  # the bundler puts a hash of the content into these names
            response.cache_control.max_age, response.cache_control.immutable = 31_536_000, True
            response.cache_control.no_cache = None
        return page(response)

    return blueprint


def _inside(root: Path, path: str) -> Path | None:
    """The file `path` in `root`; None where it does not exist or lies outside `root` by links or dots."""
    try:
        file = (root / path).resolve()
        return file if file.is_relative_to(root) and file.is_file() else None
    except (OSError, ValueError):  # a null byte, a name too long
        return None
