"""Explanations of failed requests to the Hugging Face hub."""

import re
from collections.abc import Iterator

_MEANINGS = {
    401: "the hub has nothing of this name, or asks for a login: run `hf auth login`",
    403: "the hub does not let this account read it: ask for access on its page",
    404: "the hub has nothing of this name",
    409: "the repository has changed meanwhile: run the same command again",
    412: "the repository has changed meanwhile: run the same command again",
    429: "the hub has had too many requests from here: try again in some minutes",
}
_CLIENTS = {"httpx", "httpx2", "httpcore", "requests", "urllib3"}  # packages that the hub's client may send with


_SENDING = {
    401: "the hub asks for a login: run `hf auth login` with a token that may write",
    403: "this account may not write there: name a repository of your own, or log in with a token that may write",
    404: "the hub lets this account see nothing of this name: run `hf auth login`",
}
_BROKEN = re.compile("ProtocolError|Read|Write")  # in the names of a client's errors


def hub_trouble(error: BaseException, sending: bool = False) -> str | None:
    """Say in half a sentence why a request failed; None for an error that does not come from the hub.

    `sending` tells an upload from a download.
    """
    from huggingface_hub import constants
    from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

    causes = list(_causes(error))
    for cause in causes:
        status = getattr(getattr(cause, "response", None), "status_code", None)
        if isinstance(status, int) and status >= 400:
            meanings = _MEANINGS | _SENDING if sending else _MEANINGS
            return meanings.get(status, f"the hub has a fault of its own ({status}): try again later")
    if any(_BROKEN.search(type(cause).__name__) for cause in causes):
        return f"the {'upload' if sending else 'download'} broke off: run the same command again"
    if constants.is_offline_mode():
        return "HF_HUB_OFFLINE is set, so the hub is not asked, and no copy was downloaded before"
    unreached = (LocalEntryNotFoundError, OfflineModeIsEnabled, ConnectionError, TimeoutError)
    if any(isinstance(cause, unreached) or type(cause).__module__.partition(".")[0] in _CLIENTS for cause in causes):
        return "the hub cannot be reached" + ("" if sending else ", and no copy was downloaded before")
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield the error and its causes, the nearest first."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
