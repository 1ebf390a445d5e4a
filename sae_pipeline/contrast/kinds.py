"""Kinds of change: how a text is changed, and what is expected of the prediction.

An invariance test expects the same prediction, a directional test a shift toward or away from a class (Ribeiro et al.
2020, "Beyond accuracy: behavioral testing of NLP models with CheckList"). A change returns None for a text that it does
not apply to.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from difflib import SequenceMatcher
from functools import cache
from itertools import accumulate
from random import Random
from typing import NamedTuple

from sae_pipeline.contrast import words
from sae_pipeline.headlines.labels import FINANCIAL
from sae_pipeline.headlines.sample import sample_companies
from sae_pipeline.headlines.text import link_spans
from sae_pipeline.schema.contrast import Expectation

_BEARISH, _BULLISH, _NEUTRAL = FINANCIAL
_UP = words.OPPOSITES
_DOWN = {down: up for up, down in reversed(_UP.items())}  # of several words up, the first
_TURNED = re.compile(rf"\b(?:{'|'.join(words.TURNED_AROUND)})\b", re.IGNORECASE)
_DIRECTION = re.compile(rf"(?<![\w-])(?:{'|'.join([*_UP, *_DOWN])})(?![\w-])", re.IGNORECASE)
_VERB = re.compile(rf"(?:\b(?:[A-Z][\w&'.]*|{'|'.join(words.SUBJECTS)})) (?P<verb>{'|'.join(words.VERBS)})(?![\w-])")
_SIGN = re.compile(r"(?<![\w.,])[+-](?=\d+(?:[.,]\d+)*\s?%)")
_TICKER = re.compile(r"\$[A-Z]{1,5}\b")
_NUMBER = re.compile(
    r"(?<![\w.,:/])(?<!\w-)(\d+(?:,\d{3})*)(\.\d+)?(?:(?=[MBKmbk]n?\b)|(?![\w:/]|[.,]\d|-\w))"  # no 5G, 10-year, 10:30
)
_UNIT = re.compile(r"\s?(?:%|[MBKmbk]n?\b|[mb]illion\b|percent\b)")
_CURRENCIES = ("$", "€", "£")
_FIXED = re.compile(rf"\b(?:{'|'.join(map(re.escape, words.FIXED_NUMBERS))})[a-z]*\.?\s*$")
_MOST_COMPARED = 1_000_000  # words of one text times words of the other
_BEFORE = 80  # letters before a number in which a word may fix it
_MOST_DIGITS = 20  # of a number that is multiplied; Decimal keeps 28
_YEAR = re.compile(r"(?:19|20)\d\d")
_RETWEET = re.compile(r"RT\b[ :]*(?:@\w+:?\s*)?")
_SOURCE = re.compile(rf"(?<!\s)\s+[-–—|]\s*(?:{'|'.join(map(re.escape, words.SOURCES))})$")


class Changed(NamedTuple):
    """A changed text, and the class that the expectation is about."""

    text: str
    target: str | None = None  # None: the prediction stays


Change = Callable[[str, Random], Changed | None]
Spans = list[tuple[int, int]]


@dataclass(frozen=True)
class Kind:
    """A kind of change. With `financial` it needs the classes Bearish, Bullish and Neutral."""

    name: str
    label: str
    description: str
    expectation: Expectation
    change: Change

    @property
    def financial(self) -> bool:
        """Whether the expectation is about a class of financial sentiment."""
        return self.expectation != "same"


# --- invariance ----------------------------------------------------------------------------------------


@cache
def _company_groups() -> list[dict[str, str]]:
    """Companies and their tickers: real ones, and those of the built-in sample. Swaps stay within a group."""
    return [words.COMPANIES, sample_companies()]


@cache
def _company_pattern() -> re.Pattern[str]:
    names = sorted((name for group in _company_groups() for name in group), key=len, reverse=True)
    return re.compile(rf"(?<![\w$#])(?:{'|'.join(map(re.escape, names))})(?![\w])")


def _company(text: str, random: Random) -> Changed | None:
    found = dict.fromkeys(_company_pattern().findall(text))
    swaps: dict[str, str] = {}
    for name in found:
        group = next(group for group in _company_groups() if name in group)
        others = [other for other in group if other not in found and other not in swaps.values()]
        if not others:
            return None
        swaps[name] = random.choice(others)
    return Changed(_company_pattern().sub(lambda match: swaps[match[0]], text)) if swaps else None


def _ticker(text: str, random: Random) -> Changed | None:
    swaps: dict[str, str] = {}
    for name in dict.fromkeys(_TICKER.findall(text)):
        groups = (set(group.values()) for group in _company_groups())
        tickers = next((group for group in groups if name[1:] in group), set(words.COMPANIES.values()))
        swaps[name] = "$" + random.choice(sorted(tickers - {name[1:]}))
    return Changed(_TICKER.sub(lambda match: swaps[match[0]], text)) if swaps else None


def _number(text: str, _: Random) -> Changed | None:
    """All amounts and percentages a tenth larger, so that their order stays. Of other numbers only round ones change.

    Years, days and numbers in names or links stay.
    """
    links = link_spans(text)

    def larger(match: re.Match[str]) -> str:
        whole, decimals = match[1], match[2] or ""
        in_link = any(start <= match.start() < end for start, end in links)
        too_long = len(whole + decimals) > _MOST_DIGITS
        before = text[max(0, match.start() - _BEFORE) : match.start()]
        if too_long or in_link or _FIXED.search(before) or (not decimals and _YEAR.fullmatch(whole)):
            return match[0]
        value, places = Decimal(whole.replace(",", "") + decimals), max(len(decimals) - 1, 0)
        more = value * Decimal("1.1")
        if more != round(more, places):
            if not _UNIT.match(text, match.end()) and before[-1:] not in _CURRENCIES:
                return match[0]
            places = max(places, 1)
        return f"{more:{',' if ',' in whole else ''}.{places}f}"

    return _unless_equal(text, _NUMBER.sub(larger, text))


def _lower(text: str, _: Random) -> Changed | None:
    return _unless_equal(text, _outside_links(text, str.lower))


def _upper(text: str, _: Random) -> Changed | None:
    return _unless_equal(text, _outside_links(text, str.upper))


def _retweet(text: str, _: Random) -> Changed | None:
    bare = _RETWEET.sub("", text, count=1) if _RETWEET.match(text) else ""
    return Changed(bare or words.RETWEET + text)


def _source(text: str, _: Random) -> Changed | None:
    bare = _SOURCE.sub("", text)
    return Changed(bare if bare != text else f"{text.rstrip()} - {words.SOURCES[0]}")


def _link(text: str, _: Random) -> Changed | None:
    spans = link_spans(text)
    bounds = [0, *(place for span in spans for place in span), len(text)]
    kept = "".join(text[start:end] for start, end in zip(bounds[::2], bounds[1::2], strict=True))
    bare = re.sub(r"\s{2,}", " ", kept).strip()
    return Changed(bare if spans and bare else f"{text.rstrip()} {words.LINK}")


# --- directional ---------------------------------------------------------------------------------------


def _direction(text: str, _: Random) -> Changed | None:
    """Every word of direction by its opposite, where all point one way."""
    found = {word.lower() for word in _DIRECTION.findall(text)}
    if not found or _TURNED.search(text) or (found & _UP.keys() and found & _DOWN.keys()):
        return None
    opposite = _UP if found & _UP.keys() else _DOWN
    turned = _DIRECTION.sub(lambda match: _cased_like(match[0], opposite[match[0].lower()]), text)
    return Changed(turned, _BEARISH if opposite is _UP else _BULLISH)


def _sign(text: str, _: Random) -> Changed | None:
    signs = set(_SIGN.findall(text))
    if len(signs) != 1 or _TURNED.search(text):
        return None
    return Changed(_SIGN.sub("-" if "+" in signs else "+", text), _BEARISH if "+" in signs else _BULLISH)


def _negation(text: str, _: Random) -> Changed | None:
    return _with_verb(text, "does not {}", None)


def _hedge(text: str, _: Random) -> Changed | None:
    return _with_verb(text, "may {}", _NEUTRAL)


def _with_verb(text: str, form: str, target: str | None) -> Changed | None:
    """The first verb of direction in another form; without a target, away from the class that the verb speaks for."""
    match = _VERB.search(text)
    if match is None or _TURNED.search(text):
        return None
    verb, (start, end) = match["verb"], match.span("verb")
    changed = text[:start] + form.format(words.VERBS[verb]) + text[end:]
    return Changed(changed, target or (_BULLISH if verb in _UP else _BEARISH))


# --- in general ----------------------------------------------------------------------------------------


KINDS = (
    Kind("company", "Company swapped", "the names of companies are swapped for others", "same", _company),
    Kind("ticker", "Ticker swapped", "each $TICKER is swapped for another", "same", _ticker),
    Kind("number", "Numbers changed", "amounts and percentages are made a tenth larger", "same", _number),
    Kind("lower", "In lower case", "all letters are made small", "same", _lower),
    Kind("upper", "In capitals", "all letters are made capital", "same", _upper),
    Kind("retweet", "RT added or removed", "“RT” is put in front, or taken away where it stands", "same", _retweet),
    Kind("source", "Source added or removed", "“- Reuters” is put behind, or a source is taken away", "same", _source),
    Kind("link", "Link added or removed", "a link is put behind, or links are taken away", "same", _link),
    Kind(
        "direction", "Direction flipped", "words such as “rises” are replaced by their opposites", "toward", _direction
    ),
    Kind("sign", "Sign flipped", "the sign of each percentage is flipped", "toward", _sign),
    Kind("hedge", "Hedged", "“rises” becomes “may rise”", "toward", _hedge),
    Kind("negation", "Negated", "“rises” becomes “does not rise”", "away", _negation),
)  # fmt: skip


def spans_of_change(before: str, after: str) -> tuple[Spans, Spans]:
    """The spans that differ, in words: what the change removes from `before`, and what it puts into `after`.

    In very long texts it is one span each, from the first to the last difference, because the time of a comparison
    grows as the product of their lengths.
    """
    old, new = (re.findall(r"\s+|\w+|[^\w\s]", text) for text in (before, after))
    starts = [list(accumulate(map(len, pieces), initial=0)) for pieces in (old, new)]
    removed: Spans = []
    added: Spans = []
    for i, j, k, n in _differences(old, new):
        removed += [(starts[0][i], starts[0][j])] if i < j else []
        added += [(starts[1][k], starts[1][n])] if k < n else []
    return removed, added


def _differences(old: list[str], new: list[str]) -> list[tuple[int, int, int, int]]:
    """What differs: (start, end) in `old`, (start, end) in `new`."""
    if len(old) * len(new) <= _MOST_COMPARED:
        matched = SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
        return [(i, j, k, n) for tag, i, j, k, n in matched if tag != "equal"]
    same = _in_common(old, new)
    last = _in_common(old[same:][::-1], new[same:][::-1])
    return [(same, len(old) - last, same, len(new) - last)]


def _in_common(one: list[str], other: list[str]) -> int:
    """How many words two lists begin with alike."""
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _unless_equal(text: str, changed: str) -> Changed | None:
    return None if changed == text else Changed(changed)


def _outside_links(text: str, change: Callable[[str], str]) -> str:
    parts, start = [], 0
    for begin, end in link_spans(text):
        parts += [change(text[start:begin]), text[begin:end]]
        start = end
    return "".join([*parts, change(text[start:])])


def _cased_like(model: str, word: str) -> str:
    if model.isupper() and len(model) > 1:
        return word.upper()
    return word.capitalize() if model[0].isupper() else word
