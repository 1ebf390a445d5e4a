"""Refuse requests under foreign names, changes by foreign pages, and bodies that are too large or too deep."""

import ipaddress
import re
import socket
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import orjson
from flask import Flask, request
from flask.json.provider import DefaultJSONProvider
from flask_cors import CORS
from werkzeug.exceptions import BadRequest, Forbidden, UnsupportedMediaType

from viz_analysis.web.access import EVERY_ADDRESS

LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
DEVELOPMENT_SERVER = ("http://localhost:1234", "http://127.0.0.1:1234")  # of the viewer: sae-viewer/vite.config.ts
_PLAIN_NAME = re.compile(r"[a-z0-9.:_-]{1,100}")
MAX_BODY_BYTES = 64 * 1024
MAX_LABELS_BYTES = 4 << 20


def guard(app: Flask, host: str, allowed_hosts: tuple[str, ...] = ()) -> None:
    """Give an app the rules of this module. `host` is the address it is served on.

    `allowed_hosts` are other names for it: "gpu-box", "*.example.org" for all names that end in .example.org, "*".
    """
    app.before_request(partial(_refuse_foreign_hosts, host.lower(), allowed_hosts))
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    app.before_request(_refuse_large_bodies)
    app.before_request(_refuse_foreign_changes)
    app.json = _StrictJson(app)
    app.before_request(_refuse_other_bodies)
    CORS(app, origins=DEVELOPMENT_SERVER, methods=["GET"], expose_headers=["ETag"])


class _StrictJson(DefaultJSONProvider):
    """JSON as its standard defines it: finite numbers, valid characters, and here at most 1,024 levels of nesting."""

    def loads(self, s: str | bytes, **kwargs: Any) -> Any:
        return orjson.loads(s)


def _refuse_foreign_hosts(served_on: str, allowed: tuple[str, ...]) -> None:
    """Refuse requests that name another host.

    Another site can have its own name point at this machine (DNS rebinding) and then read the answers; its requests
    still carry that name. An address is no name, so a server that listens on every address answers for all of them.
    Flask's TRUSTED_HOSTS knows neither this rule nor IPv6 addresses. Such a site can send X-Forwarded-Host too, so the
    request's own host is checked as well as the one that a trusted proxy names.
    """
    behind_proxy = request.environ.get("werkzeug.proxy_fix.orig", {}).get("HTTP_HOST")
    for host in (request.host, behind_proxy or request.host):
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:  # brackets that hold no address
            name = host
        if not _is_own_name(name, served_on, allowed):
            raise Forbidden(
                f"This server does not answer for the host {name[:100]!r}; open it as localhost, or start it with "
                f"--allow-host {name if _PLAIN_NAME.fullmatch(name) else 'NAME'}."
            )


def _is_own_name(name: str, served_on: str, allowed: tuple[str, ...]) -> bool:
    if name in LOCAL_NAMES or name == served_on:
        return True
    if served_on in EVERY_ADDRESS and (name == socket.gethostname().lower() or _is_address(name)):
        return True
    return any(name == pattern or (pattern[0] == "*" and name.endswith(pattern[1:])) for pattern in allowed)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _refuse_large_bodies() -> None:
    if request.path == "/api/labels":
        request.max_content_length = MAX_LABELS_BYTES
    _ = request.stream  # Flask compares the size now, also where no endpoint would read the body


def _refuse_foreign_changes() -> None:
    """Refuse to change or compute anything for a page other than the viewer.

    Browsers say where a request comes from, even through the viewer's development server, which changes the host. A
    request without this information does not come from a browser.
    """
    if not _changes_something():
        return
    site = request.headers.get("Sec-Fetch-Site")
    origin = request.headers.get("Origin")
    own = (None, f"http://{request.host}", f"https://{request.host}")
    same = site in ("same-origin", "none") if site else origin in own
    if not same:
        raise Forbidden(
            f"Pages of {str(origin)[:100]!r} may not do this; open the viewer of this server, and if a "
            "proxy leads to it, let the proxy pass on the Host header, or start the server with --trust-proxy."
        )
    if request.mimetype != "application/json":
        raise UnsupportedMediaType("The body must be JSON, sent with Content-Type: application/json.")


def _refuse_other_bodies() -> None:
    if _changes_something() and not isinstance(request.get_json(silent=True), dict):
        raise BadRequest("The body must be a JSON object.")


def _changes_something() -> bool:
    return request.url_rule is not None and request.method not in ("GET", "HEAD", "OPTIONS")
