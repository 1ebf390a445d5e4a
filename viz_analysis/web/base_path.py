"""The server under a prefix of the path, and behind a proxy."""

from collections.abc import Iterable
from typing import TYPE_CHECKING
from urllib.parse import quote

from flask import Flask, Response, request
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix

from viz_analysis.web.answers import error_answer

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


def set_base_path(app: Flask, base_path: str, trust_proxy: bool) -> None:
    """Serve an app below `base_path` only. If `trust_proxy`, believe the X-Forwarded headers of one proxy."""
    served: WSGIApplication = app.wsgi_app
    if base_path:
        app.before_request(_add_slash)
        served = DispatcherMiddleware(_outside, {base_path: served})
    if trust_proxy:
        served = ProxyFix(served, x_for=1, x_proto=1, x_host=1, x_prefix=1)
    app.wsgi_app = served  # type: ignore[method-assign, assignment]  # as Flask's documentation has it


def way_up() -> str:
    """The relative address of the viewer's folder, seen from the page that is asked for.

    It is also right behind a proxy that removes a prefix, because it does not depend on the prefix. A slash that the
    browser sent as %2F belongs to a name, although Flask has decoded it.
    """
    sent = request.environ.get("REQUEST_URI", "").partition("?")[0]
    in_names = sent.lower().count("%2f")
    return "../" * (request.path.count("/") - 1 - in_names) or "./"


def _add_slash() -> Response | None:
    """Redirect the base path without its slash to the viewer, relatively, because a proxy may change the host."""
    if request.environ["PATH_INFO"]:
        return None
    query = quote(request.query_string, safe="%=&+;:/?@!$'()*,-._~")
    folder = request.script_root.rpartition("/")[2]
    return Response(status=308, headers={"Location": f"./{folder}/{'?' if query else ''}{query}"})


def _outside(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
    answer = error_answer(
        404,
        "not_found",
        "This address does not begin with the server's --base-path; leave it out if a proxy removes the prefix.",
    )
    answer.headers["X-Content-Type-Options"] = "nosniff"
    return answer(environ, start_response)
