"""The finance lexicon: words and phrases by category, in `lexicon.txt`."""

from collections.abc import Iterable
from functools import cache
from importlib.resources import files


@cache
def lexicon() -> dict[str, list[str]]:
    """The categories of each word and phrase, which is case-folded."""
    text = (files("sae_pipeline.naming") / "lexicon.txt").read_text("utf-8")
    categories: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            category, _, words = line.partition(":")
            for word in dict.fromkeys(words.split(",")):
                categories.setdefault(word.strip().casefold(), []).append(category.strip())
    return categories


def categories_of(phrases: Iterable[str]) -> set[str]:
    """The categories to which any of these words and phrases belongs."""
    known = lexicon()
    return {category for phrase in phrases for category in known.get(phrase, ())}
