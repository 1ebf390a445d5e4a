"""The access log: a line of JSON for each request with its time, address, status, size and duration."""

import json
import logging
import re
import sys
import time
from datetime import UTC, datetime
from logging.handlers import WatchedFileHandler

from flask import Flask, Response, g, request

from sae_pipeline.errors import UserError

_TOKEN = re.compile(r"\btoken=[^&]*")  # a password
_LOG = logging.getLogger("feature_probe_server.access")


def log_requests(app: Flask, path: str) -> None:
    """Append a line for each request to the file `path`, or write it to stdout for "-".

    A file that is moved away is created again. Call this before other hooks are registered, so that the log counts
    their time too. Raises `UserError` where the file cannot be written.
    """
    try:
        handler = logging.StreamHandler(sys.stdout) if path == "-" else WatchedFileHandler(path, encoding="utf-8")
    except OSError as error:
        raise UserError(f"The access log {path} cannot be written ({error.strerror}); name another file.") from error
    handler.setFormatter(logging.Formatter("%(message)s"))
    _LOG.handlers = [handler]
    _LOG.setLevel(logging.INFO)
    _LOG.propagate = False
    app.before_request(_begin)
    app.after_request(_log)


def _begin() -> None:
    g.began = time.perf_counter()


def _log(response: Response) -> Response:
    line = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "client": request.remote_addr,
        "method": request.method,
        "path": request.path,
        "query": _TOKEN.sub("token=…", request.query_string.decode("latin-1")),
        "status": response.status_code,
        "bytes": response.content_length,
        "ms": round(1000 * (time.perf_counter() - g.get("began", time.perf_counter())), 2),
    }
    _LOG.info(json.dumps(line))
    return response
