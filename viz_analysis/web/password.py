"""The password: a browser shows it once and gets a cookie, a script sends it with every request."""

import hashlib
import hmac
import secrets
import time
from collections import deque
from urllib.parse import quote, urlencode

from flask import Flask, Response, request
from markupsafe import Markup
from werkzeug.exceptions import Forbidden, TooManyRequests

from viz_analysis.web.answers import error_answer
from viz_analysis.web.base_path import way_up
from viz_analysis.web.pages import small_page, wants_page

MOST_WRONG, WINDOW_SECONDS = 10, 60.0  # wrong passwords, from all clients together: a proxy makes them look like one
_FORM = Markup(
    '<form method="post" action="{action}">{problem}<label for="password">Password or token</label>'
    '<input id="password" name="password" type="password" autocomplete="current-password" required autofocus>'
    '<input name="next" type="hidden" value="{inner}"><button>Open</button></form>'
    "<p><small>The program that serves this page prints its address with the token. Set a password of your own with"
    " --password-file.</small></p>"
)


def ask_password(app: Flask, password: str, frame_ancestors: str, is_random: bool = False) -> None:
    """Let an app answer only clients that know the password. Attempts at a random one are not limited.

    Without the password, each page is a form that asks for it, and the API answers 401. `/api/health` is an empty 204,
    which says only that the server runs.
    """
    app.before_request(_Door(password, frame_ancestors, is_random).check)


class _Door:
    """Compares what clients show with the password, in constant time, and counts the wrong ones."""

    def __init__(self, password: str, frame_ancestors: str, is_random: bool) -> None:
        self._password = _digest(password)
        self._is_limited = not is_random  # a limit would only let others lock out those who know the token
        self._session = secrets.token_urlsafe(32)  # a cookie holds no password, and ends with the process
        self._cookie = f"sae_explorer_{secrets.token_hex(4)}"  # servers on other ports of a host share its cookies
        self._frame_ancestors = frame_ancestors
        self._wrong: deque[float] = deque(maxlen=MOST_WRONG)

    def check(self) -> Response | None:
        """None for a client that may ask, else the answer to it. Raises `TooManyRequests` after many wrong ones."""
        if request.path == "/login" and request.method == "POST":
            return self._login()
        token = request.args.get("token") if wants_page() and request.method == "GET" else None
        known = hmac.compare_digest(_digest(request.cookies.get(self._cookie, "")), _digest(self._session))
        if token is not None and (known or self._is_password(token)):
            return self._welcome(f"./{quote(request.path.rpartition('/')[2])}{_query()}")
        if known:
            return None
        kind, _, shown = request.headers.get("Authorization", "").partition(" ")
        if kind.lower() == "bearer" and self._is_password(_header_text(shown)):
            return None
        if request.path == "/api/health":
            return Response(status=204)
        if wants_page():
            inner = quote(request.path.lstrip("/")) + _query()
            return self._form(inner, "This token is not the right one." if token else "")
        answer = error_answer(
            401,
            "password_needed",
            "This server asks for a password: reload the page, or send the header Authorization: Bearer PASSWORD.",
        )
        answer.headers["WWW-Authenticate"] = "Bearer"
        return answer

    def _login(self) -> Response:
        if request.headers.get("Sec-Fetch-Site") == "cross-site":
            raise Forbidden("A page of another site may not send passwords here; open this server's own page.")
        inner = request.form.get("next", "")
        if not inner.isascii() or not inner.isprintable():
            inner = ""
        if self._is_password(request.form.get("password", "")):
            return self._welcome(f"./{inner}")
        return self._form(inner, "This is not the password.")

    def _is_password(self, shown: str) -> bool:
        now = time.monotonic()
        if self._is_limited and len(self._wrong) == MOST_WRONG and now - self._wrong[0] < WINDOW_SECONDS:
            wait = int(WINDOW_SECONDS - (now - self._wrong[0])) + 1
            raise TooManyRequests(f"Too many wrong passwords; try again in {wait} seconds.", retry_after=wait)
        right = hmac.compare_digest(_digest(shown.strip()), self._password)
        if not right:
            self._wrong.append(now)
        return right

    def _welcome(self, address: str) -> Response:
        answer = Response(status=303, headers={"Location": address, "Cache-Control": "no-store"})
        answer.set_cookie(
            self._cookie,
            self._session,
            path=f"{request.script_root}/",
            secure=request.is_secure,
            httponly=True,
            samesite="Lax",
        )
        return answer

    def _form(self, inner: str, problem: str) -> Response:
        alert = Markup('<p role="alert">{}</p>').format(problem) if problem else ""
        content = _FORM.format(action=f"{way_up()}login", inner=inner, problem=alert)
        answer = Response(small_page("This viewer asks for a password", content), 401, mimetype="text/html")
        answer.headers["Cache-Control"] = "no-store"
        answer.headers["Content-Security-Policy"] = (
            "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; "
            f"frame-ancestors {self._frame_ancestors}"
        )
        return answer


def _digest(text: str) -> bytes:
    """A digest of equal length for all texts, so that comparing takes equally long."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _header_text(text: str) -> str:
    """A header's text, which WSGI gives byte by byte, and clients send as UTF-8 or as Latin-1."""
    try:
        return text.encode("latin-1").decode()
    except UnicodeError:
        return text


def _query() -> str:
    """The query of the address that is asked for, without the token."""
    rest = [(name, value) for name, value in request.args.items(multi=True) if name != "token"]
    return f"?{urlencode(rest)}" if rest else ""
