"""The shapes of text that a name may be about: a ticker, a percentage, a link, a question."""

import re
from typing import NamedTuple

from sae_pipeline.headlines.text import link_spans


class Shape(NamedTuple):
    """A shape and the words that name it."""

    key: str
    name: str
    pattern: re.Pattern[str]


_MONTHS = (
    "jan(?:uary)?|feb(?:ruary)?|march|apr(?:il)?|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|"
    "dec(?:ember)?"
)
_DAYS = "monday|tuesday|wednesday|thursday|friday|saturday|sunday"


def _shape(key: str, name: str, pattern: str) -> Shape:
    return Shape(key, name, re.compile(pattern))


TICKER, USER, LINK = "ticker", "user", "link"
SHAPES = (
    _shape(TICKER, "a ticker ($ABC)", r"\$[A-Za-z]{1,6}(?:\.[A-Za-z])?\b"),
    _shape("tickers", "several tickers", r"\$[A-Za-z]{1,6}\b[\s\S]*?\$[A-Za-z]{1,6}\b"),
    _shape("percent", "a percentage", r"\d\s?(?:%|percent\b|pct\b)"),
    _shape("rise in percent", "a percentage with a plus sign", r"\+\s?\d+(?:\.\d+)?\s?%"),
    _shape("fall in percent", "a percentage with a minus sign", r"(?<!\d)[-−–]\s?\d+(?:\.\d+)?\s?%"),
    _shape("amount", "an amount of money", r"[$€£¥]\s?\d"),
    _shape("millions", "an amount in millions", r"(?i)\d\s?(?:m|mm|mln|million)\b"),
    _shape("billions", "an amount in billions", r"(?i)\d\s?(?:b|bn|bln|billion)\b"),
    _shape("number", "a number", r"\d"),
    _shape("decimal", "a number with decimals", r"\d\.\d"),
    _shape("large number", "a number with thousands", r"\d,\d{3}\b"),
    _shape("year", "a year", r"\b(?:19|20)\d\d\b"),
    _shape(
        "quarter", "a quarter (Q1 to Q4)", r"(?i)\bq[1-4]\b|\b[1-4]q\b|\b(?:first|second|third|fourth)[- ]quarter\b"
    ),
    _shape("month", "a month", rf"(?i)\b(?:{_MONTHS})\b"),
    _shape("weekday", "a day of the week", rf"(?i)\b(?:{_DAYS})\b"),
    _shape("date", "a date", rf"(?i)\b(?:{_MONTHS})\.?\s+\d{{1,2}}\b|\b\d{{1,2}}/\d{{1,2}}\b|\b\d{{4}}-\d\d-\d\d\b"),
    _shape("time", "a time of day", r"(?i)\b\d{1,2}:\d\d\b|\b\d{1,2}\s?[ap]\.?m\b"),
    _shape(LINK, "a link", r"(?!)"),  # found by `link_spans`
    _shape(USER, "a user (@name)", r"(?<!\w)@\w+"),
    _shape("hashtag", "a hashtag", r"(?<!\w)#[A-Za-z]\w*"),
    _shape("retweet", "a retweet", r"(?<!\w)RT\b"),
    _shape("question", "a question mark", r"\?"),
    _shape("exclamation", "an exclamation mark", r"!"),
    _shape("colon", "a colon", r"(?<!http)(?<!https):(?!\d)"),
    _shape("source", "a source or subject before a colon", r"^\W*+(?:[\w$&.'’-]++\s?){1,3}:(?!\d|//)"),
    _shape("dash", "a dash between words", r"\s[-–—]{1,2}\s"),
    _shape("quotation", "a quotation", r"[\"“”«]|(?<!\w)['‘]\w[^'’]{3,}['’](?!\w)"),
    _shape("parenthesis", "a parenthesis", r"\("),
    _shape("semicolon", "a semicolon", r";"),
    _shape("ellipsis", "an ellipsis", r"\.\.\.|…"),
    _shape("capitals", "a word in capitals", r"(?<![$\w])[A-Z]{5,}\b"),
    _shape("all capitals", "capital letters throughout", r"^[^A-Za-z]*+[A-Z][^a-z]*$"),
    _shape(
        "company", "a company form (Inc, Corp)", r"\b(?:Inc|Corp|Co|Ltd|LLC|LP|PLC|plc|AG|SA|NV|SE|Holdings|Group)\b"
    ),
    _shape("possessive", "a possessive ('s)", r"\w['’]s\b"),
    _shape("emoji", "an emoji", "[\U0001f300-\U0001faff\u2600-\u27bf]"),
)
FEW_WORDS, MANY_WORDS = ("few words", "at most 6 words"), ("many words", "20 words or more")


def shapes_in(text: str) -> list[str]:
    """The keys of the shapes that a text has."""
    links = link_spans(text)
    bare = text
    for start, end in reversed(links):
        bare = f"{bare[:start]} {bare[end:]}"
    found = [shape.key for shape in SHAPES if shape.pattern.search(bare)]
    return [*found, LINK] if links else found
