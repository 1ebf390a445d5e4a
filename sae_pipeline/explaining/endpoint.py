"""An OpenAI-compatible endpoint: one question, one answer, within bounds of time, bytes and tries.

The key comes from the environment variable OPENAI_API_KEY. It is sent to the endpoint and written nowhere.
"""

import asyncio
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TypedDict
from urllib.parse import urlsplit

import httpx

from sae_pipeline.errors import UserError
from sae_pipeline.headlines.text import shortened

MAX_BYTES = 1 << 20  # of an answer
_TRIES = 5
_LONGEST_WAIT = 60.0  # seconds between two tries
_AGAIN = {429, 500, 502, 503, 504}


class Message(TypedDict):
    """A message of a conversation."""

    role: str
    content: str


class EndpointError(UserError):
    """The endpoint does not answer, or refuses."""


@dataclass(frozen=True)
class Endpoint:
    """Where questions go. One answer may take `timeout` seconds, from the question to its last byte."""

    url: str
    model: str
    timeout: float

    @classmethod
    def at(cls, url: str, model: str, timeout: float) -> "Endpoint":
        """Check the address of an endpoint, the model's name and the key. Raises UserError."""
        try:
            parts = urlsplit(url)
            usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:  # an address in brackets that is none, a port that is no number
            usable = False
        if not usable:
            raise UserError(f"{shortened(url, 80)!r} is no address of an endpoint; write http://host:port/v1.")
        if not model.isprintable():
            raise UserError("The model's name has letters that cannot be sent; give --model as the endpoint knows it.")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise UserError("The endpoint's address holds a password or a query; put the key into OPENAI_API_KEY.")
        _key()
        return cls(url.rstrip("/"), model, timeout)

    @property
    def host(self) -> str:
        """The host that the headlines are sent to."""
        return str(urlsplit(self.url).netloc)

    def ask(self, messages: Sequence[Message], max_tokens: int) -> str:
        """The text of the answer; "" where the answer has none. Raises EndpointError.

        Busy and failing endpoints are asked again, after the time that they name.
        """
        body = {"model": self.model, "messages": list(messages), "temperature": 0, "max_tokens": max_tokens}
        for tried in range(1, _TRIES + 1):
            status, retry_after, data = self._post({**body, "stream": False})
            if status == 200:
                return _text_of(data)
            if status not in _AGAIN or tried == _TRIES:
                break
            wait = _seconds(retry_after) if retry_after else min(2.0**tried, _LONGEST_WAIT)
            if wait > _LONGEST_WAIT:
                raise EndpointError(f"{self.host} is busy and asks to wait {wait:,.0f} s; run the same command then.")
            time.sleep(wait)
        raise EndpointError(f"{self.host} answers with status {status}{_said(data)}; {_CURES.get(status, _CURE)}.")

    def _post(self, body: object) -> tuple[int, str, bytes]:
        """The status, the header Retry-After and the body of an answer. Raises EndpointError."""
        try:
            return asyncio.run(self._answer(body))
        except (TimeoutError, httpx.TimeoutException) as error:
            raise EndpointError(
                f"{self.host} does not answer within {self.timeout:g} s; raise --timeout or take a faster model."
            ) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise EndpointError(
                f"{self.host} cannot be reached ({shortened(str(error), 80)}); start the endpoint or change --endpoint."
            ) from error

    async def _answer(self, body: object) -> tuple[int, str, bytes]:
        """The same, unless the time is over. httpx bounds each read alone, and so not heads that never end."""
        headers = {"Accept-Encoding": "identity", **({"Authorization": f"Bearer {key}"} if (key := _key()) else {})}
        data = bytearray()
        async with (
            asyncio.timeout(self.timeout),
            _client(self.timeout) as client,
            client.stream("POST", f"{self.url}/chat/completions", json=body, headers=headers) as answer,
        ):
            async for piece in answer.aiter_raw():  # as sent: a packed answer could be of any size
                data += piece
                if len(data) > MAX_BYTES:
                    raise EndpointError(f"{self.host} sends more than {MAX_BYTES >> 20} MiB for one answer.")
            return answer.status_code, answer.headers.get("retry-after", ""), bytes(data)


def _client(timeout: float) -> httpx.AsyncClient:
    """A client that follows no redirects. Raises UserError where the environment's proxy cannot be used."""
    try:
        return httpx.AsyncClient(follow_redirects=False, timeout=timeout)
    except (ImportError, ValueError) as error:
        raise UserError(
            f"The proxy of the environment cannot be used ({shortened(str(error), 80)}); unset ALL_PROXY or set an "
            "http:// one."
        ) from error


def _key() -> str:
    """The key, "" where there is none. Raises UserError, which does not show it, where a header cannot hold it."""
    key = os.environ.get("OPENAI_API_KEY", "").strip()
    if not (key.isascii() and key.isprintable()):
        raise UserError("OPENAI_API_KEY has letters that no key has; set it again, without quotes or line ends.")
    return key


_CURE = "look at the endpoint's own messages"
_CURES = {
    401: "set OPENAI_API_KEY",
    403: "set OPENAI_API_KEY",
    **dict.fromkeys((301, 302, 303, 307, 308), "give --endpoint the address that it points to"),
    404: "check --endpoint (it usually ends in /v1) and --model",
    429: "wait and run the same command again",
}


def _text_of(data: bytes) -> str:
    """The text of a completion. What is no completion has none."""
    try:
        content = json.loads(data)["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return ""
    return content if isinstance(content, str) else ""


def _said(data: bytes) -> str:
    """What an endpoint says of its error, on one line."""
    try:
        message = json.loads(data)["error"]["message"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return ""
    printable = "".join(letter for letter in str(message) if letter.isprintable())
    return f" ({shortened(printable, 120)})" if printable else ""


def _seconds(retry_after: str) -> float:
    """The seconds that a header Retry-After asks for: a number, or a date."""
    try:
        return max(0.0, float(retry_after))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
    except (ValueError, OverflowError):
        return 2.0
