"""How every answer leaves the server: errors as JSON, conditional requests, gzip, and who may ask."""

import gzip
import ipaddress
import logging
import re
import socket
from functools import partial
from urllib.parse import urlsplit

import orjson
from flask import Flask, Response, request
from flask_cors import CORS
from pydantic import BaseModel, ValidationError
from werkzeug.exceptions import (
    Forbidden,
    HTTPException,
    PreconditionRequired,
    RequestEntityTooLarge,
    UnsupportedMediaType,
)
from werkzeug.http import HTTP_STATUS_CODES
from werkzeug.wrappers import Response as BaseResponse

from sae_pipeline.errors import UserError
from sae_pipeline.runs.folders import DamagedRunError, UnknownRunError
from viz_analysis.runs.feature_answers import UnknownFeatureError, UnknownMetricError
from viz_analysis.runs.headline_answers import UnknownHeadlineError
from viz_analysis.runs.indexed_run import NoInterventionsError
from viz_analysis.runs.labels import BadLabelsError, DamagedLabelsError, LabelsChangedError
from viz_analysis.runs.library import IndexingError

LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
EVERY_ADDRESS = ("0.0.0.0", "::")
MAX_BODY_BYTES = 64 * 1024
LARGE_BODIES = {"/api/labels": 1 << 20}  # bytes
MIN_GZIP_BYTES = 1400  # an answer of one packet gains nothing
LOCAL_ORIGIN = re.compile(r"https?://(localhost|127\.0\.0\.1|\[::1\])(:[0-9]{1,5})?\Z")
COMPRESSIBLE = ("application/json", "text/html", "text/css", "text/javascript", "image/svg+xml")

# What a mistake of the user's is over HTTP. A damaged run is no fault of the server, nor is it absent.
STATUS: dict[type[UserError], tuple[int, str]] = {
    UnknownRunError: (404, "unknown_run"),
    UnknownFeatureError: (404, "unknown_feature"),
    UnknownMetricError: (404, "unknown_metric"),
    UnknownHeadlineError: (404, "unknown_headline"),
    NoInterventionsError: (404, "no_interventions"),
    DamagedRunError: (409, "damaged_run"),
    IndexingError: (503, "indexing"),
    DamagedLabelsError: (409, "damaged_labels"),
    LabelsChangedError: (412, "labels_changed"),
    BadLabelsError: (400, "bad_labels"),
}


def json_answer(model: BaseModel, etag: str | None = None) -> Response:
    """A model as JSON, under its own ETag where it has one."""
    response = Response(model.model_dump_json(), mimetype="application/json")
    if etag is not None:
        response.set_etag(etag)
    return response


def seen_etags() -> set[str] | None:
    """The ETags that If-Match names, None for `*`. Raises 428 where it is missing: a change says what it replaces."""
    if not request.if_match:
        raise PreconditionRequired("Send the ETag of what you have read as If-Match, so that nobody's change is lost.")
    # Our ETags name the content, so that one which gzip made weak still tells.
    return None if request.if_match.star_tag else request.if_match.as_set(include_weak=True)


def error_answer(status: int, code: str, message: str) -> Response:
    """`ErrorAnswer`, the one shape of all errors."""
    body = orjson.dumps({"error": {"code": code, "message": message}})
    return Response(body, status, mimetype="application/json")


def bad_query(error: ValidationError) -> Response:
    """400 for a query that its model refuses, naming the first parameter."""
    first = error.errors(include_url=False, include_input=False)[0]
    parameter = ".".join(str(part) for part in first["loc"])
    return error_answer(400, "bad_request", f"Parameter {parameter!r}: {first['msg']}.")


def set_rules(app: Flask, host: str) -> None:
    """Give an app the rules of this module. `host` is the address it is served on."""
    app.before_request(partial(_refuse_foreign_hosts, host.lower()))
    app.before_request(_refuse_large_bodies)
    app.before_request(_refuse_foreign_changes)
    app.after_request(_economise)
    CORS(app, origins=LOCAL_ORIGIN, methods=["GET"], expose_headers=["ETag"])
    app.register_error_handler(UserError, _user_error)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _unexpected)


def _user_error(error: UserError) -> Response:
    status, code = STATUS.get(type(error), (503, "unavailable"))
    answer = error_answer(status, code, str(error))
    if isinstance(error, IndexingError):
        answer.headers["Retry-After"] = "2"
    return answer


def _http_error(error: HTTPException) -> BaseResponse:
    if isinstance(error.response, Response):
        return error.response  # `bad_query`
    status = error.code or 500
    if status < 400:
        return error.get_response()  # a redirect
    code = HTTP_STATUS_CODES.get(status, "error").lower().replace(" ", "_")
    answer = error_answer(status, code, error.description or code)
    for name, value in error.get_headers():  # the Allow of a 405
        if name.lower() not in ("content-type", "content-length"):
            answer.headers.setdefault(name, value)
    return answer


def _unexpected(error: Exception) -> Response:
    logging.getLogger(__name__).exception("%s %s failed", request.method, request.path)
    return error_answer(500, "internal_error", "The server made a mistake; its log says more.")


def _refuse_foreign_hosts(served_on: str) -> None:
    """Refuse requests that name another host.

    Another site's page can have its own name point at this machine (DNS rebinding) and then read the answers;
    its requests still carry that name. An address is no name: it is safe where the server takes all of them.
    """
    name = urlsplit(f"//{request.host}").hostname or ""
    if name in LOCAL_NAMES or name == served_on:
        return
    if served_on in EVERY_ADDRESS and (name == socket.gethostname().lower() or _is_address(name)):
        return
    raise Forbidden(f"This server does not answer for the host {name!r}; open it as localhost.")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _refuse_large_bodies() -> None:
    if (request.content_length or 0) > LARGE_BODIES.get(request.path, MAX_BODY_BYTES):
        raise RequestEntityTooLarge


def _refuse_foreign_changes() -> None:
    """Refuse to change or compute anything for another page than the viewer's.

    Browsers say where a request comes from, also through the viewer's development server, which changes the host;
    a request that says nothing comes from no browser.
    """
    if request.method in ("GET", "HEAD", "OPTIONS") or request.url_rule is None:
        return
    site = request.headers.get("Sec-Fetch-Site")
    origin = request.headers.get("Origin")
    same = site in ("same-origin", "none") if site else origin is None or urlsplit(origin).netloc == request.host
    if not same:
        raise Forbidden(f"Pages of {str(origin)[:100]!r} may not do this; open the viewer of this server.")
    if request.mimetype != "application/json":
        raise UnsupportedMediaType("The body must be JSON, sent with Content-Type: application/json.")


def _economise(response: Response) -> Response:
    """Send nothing that the browser has already, and the rest compressed if it is worth it."""
    response.headers["X-Content-Type-Options"] = "nosniff"
    if response.status_code != 200:
        return response
    compressible = response.mimetype in COMPRESSIBLE
    if compressible:
        response.vary.add("Accept-Encoding")
    if not response.direct_passthrough:  # a file from disk has brought its own
        response.add_etag(weak=True)
        response.cache_control.no_cache = True  # keep it, but ask each time whether it still holds
        response.make_conditional(request)
    large = (response.content_length or 0) >= MIN_GZIP_BYTES
    if not (compressible and large and response.status_code == 200 and request.accept_encodings["gzip"]):
        return response
    response.direct_passthrough = False
    response.set_data(gzip.compress(response.get_data(), compresslevel=1, mtime=0))
    response.content_encoding = "gzip"
    etag, _ = response.get_etag()
    if etag:
        response.set_etag(etag, weak=True)
    return response
