"""How answers leave the server: models and errors as JSON, compressed, and only what the client does not have yet."""

import logging
from functools import partial
from pathlib import Path

import orjson
from flask import Flask, Response, request
from flask_compress import Compress
from pydantic import BaseModel, ValidationError
from werkzeug.exceptions import HTTPException, PreconditionRequired
from werkzeug.http import HTTP_STATUS_CODES
from werkzeug.wrappers import Response as BaseResponse

from sae_pipeline.errors import UserError
from viz_analysis.api.problems import ApiError, status_and_code
from viz_analysis.web.pages import small_page, wants_page

COMPRESSION = {
    "COMPRESS_ALGORITHM": ["gzip"],
    "COMPRESS_LEVEL": 1,  # higher levels cost more time than they save on the way
    "COMPRESS_MIN_SIZE": 1400,  # bytes; an answer that fits one packet gains nothing
    "COMPRESS_MIMETYPES": ["application/json", "text/html", "text/css", "text/javascript", "image/svg+xml"],
    "COMPRESS_EVALUATE_CONDITIONAL_REQUEST": False,  # `_send_only_news` has, before anything is compressed
    "COMPRESS_REGISTER": False,  # `_compress` calls it
}


def json_answer(model: BaseModel, etag: str | None = None) -> Response:
    """A model as JSON, with `etag` as its ETag if one is given."""
    response = Response(model.model_dump_json(), mimetype="application/json")
    if etag is not None:
        response.set_etag(etag)
    return response


def seen_etags() -> set[str] | None:
    """The ETags in If-Match; None for `*`. Raises 428 where it is missing, because a change must say what it replaces.

    The server makes ETags from the content, so a weak one identifies the content too.
    """
    if not request.if_match:
        raise PreconditionRequired("Send the ETag of what you have read as If-Match, so that no change is lost.")
    return None if request.if_match.star_tag else request.if_match.as_set(include_weak=True)


def error_answer(status: int, code: str, message: str) -> Response:
    """An error as JSON in the shape of `ErrorAnswer`, which all errors have."""
    body = orjson.dumps({"error": {"code": code, "message": message}})
    return Response(body, status, mimetype="application/json")


def bad_query(error: ValidationError) -> Response:
    """Answer 400 to a query that its model refuses, and name the first parameter that is wrong."""
    first = error.errors(include_url=False, include_input=False)[0]
    parameter = ".".join(str(part) for part in first["loc"])
    return error_answer(400, "bad_request", f"Parameter {parameter[:100]!r}: {first['msg']}.")


def set_answer_rules(app: Flask, study: Path) -> None:
    """Have an app send errors as JSON, answer conditional requests, and compress what is worth it.

    Errors name files by their path from the folder `study`, so that they do not say where it lies on this machine.
    """
    app.register_error_handler(UserError, partial(_user_error, study))
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _unexpected)
    app.config |= COMPRESSION
    compress = Compress(app)

    @app.after_request
    def finish(response: Response) -> Response:
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers.setdefault("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")  # no page
        _send_only_news(response)
        response.vary.add("Accept-Encoding")
        # Flask-Compress would take "gzip;q=0", which refuses gzip, for a request of it.
        return compress.after_request(response) if request.accept_encodings["gzip"] else response


def _send_only_news(response: Response) -> None:
    """Give an answer its ETag, and leave the body out where the client has it already.

    ETags are weak because they are the same for the plain and the compressed body.
    """
    if response.status_code != 200:
        return
    response.add_etag()
    etag, _ = response.get_etag()
    response.set_etag(etag or "", weak=True)
    if not response.cache_control:
        response.cache_control.no_cache = True  # browsers keep it, but ask each time whether it still holds
    if not request.if_match:  # which concerns changes, and would never match a weak ETag
        response.make_conditional(request)


def _user_error(study: Path, error: UserError) -> Response:
    message = str(error).replace(f"{study.absolute()}/", "").replace(f"{study.resolve()}/", "")
    answer = error_answer(*status_and_code(error), message)
    if isinstance(error, ApiError) and error.retry_after is not None:
        answer.headers["Retry-After"] = str(error.retry_after)
    return answer


def _http_error(error: HTTPException) -> BaseResponse:
    if isinstance(error.response, Response):
        return error.response  # `bad_query`
    status = error.code or 500
    if status < 400:
        return error.get_response()  # a redirect
    code = HTTP_STATUS_CODES.get(status, "error").lower().replace(" ", "_")
    message = error.description or code
    answer = _error_page(status, message) if wants_page() else error_answer(status, code, message)
    for name, value in error.get_headers():  # the Allow of a 405
        if name.lower() not in ("content-type", "content-length"):
            answer.headers.setdefault(name, value)
    return answer


def _error_page(status: int, message: str) -> Response:
    answer = Response(small_page(HTTP_STATUS_CODES.get(status, "Error"), message), status, mimetype="text/html")
    policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
    answer.headers["Content-Security-Policy"] = policy
    return answer


def _unexpected(error: Exception) -> Response:
    logging.getLogger(__name__).exception("%s %s failed", request.method, request.path)
    return error_answer(500, "internal_error", "The server made a mistake; its log says more.")
