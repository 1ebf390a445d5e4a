"""The viewer's page, changed so that it reads a shared run instead of asking a server."""

import base64
import hashlib
import html
import re
from collections.abc import Callable
from pathlib import Path

from sae_pipeline.errors import UserError

ONE_PAGE = "one-page"
"""The folder of the built viewer that has all scripts and all styles in one file each."""

LICENCES = "licenses.md"
"""The licences of the packages and fonts in the built viewer, which ask to be copied with them."""

_POLICY = (
    "default-src 'none'; script-src {scripts}; style-src {styles}; font-src {fonts}; img-src 'self' data:; "
    "connect-src {data}; base-uri 'none'; form-action 'none'"
)
_BASE = re.compile(r"\s*<base [^>]*>")
_NOT_STARTED = re.compile(r'(<p id="not-started">).*?(</p>)', re.DOTALL)
_TITLE = re.compile(r"<title>.*?</title>", re.DOTALL)
_LINK = re.compile(r'\s*<link rel="(?P<rel>[a-z]+)"[^>]*? href="(?P<href>[^"]+)"[^>]*>')
_SCRIPT = re.compile(r'\s*<script (?P<module>type="module" )?[^>]*?src="(?P<src>[^"]+)"[^>]*></script>')


def viewer_file(viewer: Path, name: str) -> str:
    """A file of the built viewer as text. Raises UserError where the viewer is not built."""
    try:
        return (viewer / name).read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(
            f"The viewer is not built ({name} is missing); run `make viewer-build` or install the package from a wheel."
        ) from error


def site_page(viewer: Path, title: str, source: str, model: str | None = None) -> str:
    """The page of a site. It reads the archive whose manifest is at the relative address `source`.

    `model` is the relative address of a folder with the files of the bench. Only with it may WebAssembly run.
    """
    page = _with_head(viewer_file(viewer, "index.html"), title, source, model)
    scripts = "'self'" if model is None else "'self' 'wasm-unsafe-eval'"
    return _with_policy(page, scripts=scripts, styles="'self' 'unsafe-inline'", fonts="'self'", data="'self'")


def whole_page(viewer: Path, title: str, manifest: bytes, packs: list[bytes]) -> str:
    """The page with everything in it: scripts, styles, fonts, icon, and the archive as base64."""
    page = _with_head(viewer_file(viewer, "index.html"), title, "#archive")
    scripts = {
        "theme.js": _inert(viewer_file(viewer, "theme.js")),
        "viewer.js": _inert(viewer_file(viewer, f"{ONE_PAGE}/viewer.js")),
    }
    styles = viewer_file(viewer, f"{ONE_PAGE}/viewer.css").replace("</", "<\\/")
    icon = base64.b64encode(viewer_file(viewer, "favicon.svg").encode()).decode()
    links = {
        "icon": f'<link rel="icon" type="image/svg+xml" href="data:image/svg+xml;base64,{icon}" />',
        "stylesheet": f"<style>{styles}</style>",
    }
    page = _LINK.sub(_constant(lambda found: links.get(found["rel"], "")), page)
    page = _SCRIPT.sub(
        _constant(lambda found: "" if found["module"] else f"<script>{scripts['theme.js']}</script>"), page
    )
    data = "".join(
        f'<script type="text/plain" data-archive>{base64.b64encode(block).decode()}</script>\n'
        for block in (manifest, *packs)
    )
    licences = f'<script type="text/plain" id="licences">\n{_inert(viewer_file(viewer, LICENCES))}</script>\n'
    module = f'{licences}{data}<script type="module">{scripts["viewer.js"]}</script>\n  </body>'
    page = page.replace("</body>", module, 1)
    hashes = " ".join(f"'sha256-{_sha256(script)}'" for script in scripts.values())
    return _with_policy(page, scripts=hashes, styles="'unsafe-inline'", fonts="data:", data="'none'")


def _with_head(page: str, title: str, source: str, model: str | None = None) -> str:
    """The page without its `<base>`, with a title, the place of its data, and a message for too old a browser."""
    head = f"<title>{html.escape(title)}</title>"
    for name, place in (("run", source), ("model", model)):
        head += f'\n    <meta name="{name}" content="{html.escape(place)}" />' if place is not None else ""
    page = _NOT_STARTED.sub(
        r"\1The viewer’s scripts have not run: this page is not whole, or the browser is older than 2024.\2", page
    )
    return _TITLE.sub(lambda _: head, _BASE.sub("", page), count=1)


def _with_policy(page: str, **sources: str) -> str:
    policy = f'<meta http-equiv="Content-Security-Policy" content="{_POLICY.format(**sources)}" />'
    return page.replace("<head>", f"<head>\n    {policy}", 1)


def _inert(script: str) -> str:
    """Escape what would end the script's element; inside strings and patterns the escaped form means the same."""
    return script.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _constant(text: Callable[[re.Match[str]], str]) -> Callable[[re.Match[str]], str]:
    return lambda found: f"\n    {text(found)}" if text(found) else ""


def _sha256(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
