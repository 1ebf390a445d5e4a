"""Links in a headline's text, the key by which its copies are found, its id, and its half."""

import hashlib
import re
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

LINK = re.compile(r"(?:https?://|\bwww\.)[^\s<>\"“”«»]*[^\s<>\"“”«».,;:!?…)\]}'’]", re.IGNORECASE)


def link_spans(text: str) -> list[tuple[int, int]]:
    """The spans of links in `text`: half-open, in code points."""
    return [match.span() for match in LINK.finditer(text)]


def normalise(text: str) -> str:
    """The key by which copies are found and splits are drawn: no links, white space folded, lower case."""
    return " ".join(LINK.sub(" ", text).split()).lower()


def headline_id(text: str) -> str:
    """12 hex characters that depend on the text as written alone, so a headline has the same id in every run."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def sealed_key(text: str) -> str:
    """A hash by which a sealed headline and its copies are recognised, and which does not reveal them."""
    return hashlib.sha256(f"sealed\n{normalise(text)}".encode()).hexdigest()[:24]


def in_testing_half(headline_ids: Iterable[str]) -> NDArray[np.bool_]:
    """Which headlines test what the others have chosen, by a bit of their text's hash: the same in every run."""
    return np.array([int(name[-1], 16) & 1 for name in headline_ids], bool)


def shortened(text: str, most: int) -> str:
    """A text on one line for messages, cut to `most` code points."""
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1] + "…"
