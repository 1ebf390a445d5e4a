"""What the text of a headline is to the rest: its links, its key for duplicates, its name."""

import hashlib
import re

_LINK = re.compile(r"(?:https?://|\bwww\.)[^\s<>\"“”«»]*[^\s<>\"“”«».,;:!?…)\]}'’]", re.IGNORECASE)


def link_spans(text: str) -> list[tuple[int, int]]:
    """Where links stand in `text`: half-open spans in code points."""
    return [match.span() for match in _LINK.finditer(text)]


def normalise(text: str) -> str:
    """The key by which duplicates are found and splits are drawn: no links, white space folded, lower case."""
    return " ".join(_LINK.sub(" ", text).split()).lower()


def headline_id(text: str) -> str:
    """12 hex characters that name a headline by its text as written: the same in every run."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]
