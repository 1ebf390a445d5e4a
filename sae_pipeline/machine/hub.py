"""Explanations of failed requests to the Hugging Face hub."""

from collections.abc import Iterator

_MEANINGS = {
    401: "the hub has nothing of this name, or asks for a login: run `hf auth login`",
    403: "the hub does not let this account read it: ask for access on its page",
    404: "the hub has nothing of this name",
    429: "the hub has had too many requests from here: try again in some minutes",
}
_CLIENTS = {"httpx", "httpx2", "httpcore", "requests", "urllib3"}  # packages that the hub's client may send with


def hub_trouble(error: BaseException) -> str | None:
    """Say in half a sentence why a download failed; None for an error that does not come from the hub."""
    from huggingface_hub import constants
    from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

    causes = list(_causes(error))
    for cause in causes:
        status = getattr(getattr(cause, "response", None), "status_code", None)
        if isinstance(status, int) and status >= 400:
            return _MEANINGS.get(status, f"the hub has a fault of its own ({status}): try again later")
    if any("ProtocolError" in type(cause).__name__ or "Read" in type(cause).__name__ for cause in causes):
        return "the download broke off: run the same command again"
    if constants.is_offline_mode():
        return "HF_HUB_OFFLINE is set, so the hub is not asked, and no copy was downloaded before"
    missing = any(isinstance(cause, (LocalEntryNotFoundError, OfflineModeIsEnabled)) for cause in causes)
    if missing or any(type(cause).__module__.partition(".")[0] in _CLIENTS for cause in causes):
        return "the hub cannot be reached, and no copy was downloaded before"
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield the error and its causes, the nearest first."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
