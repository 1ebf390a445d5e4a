"""The rules of SQLite and Python for letters, as tables for the browser, whose Unicode version may be another one.

A search means the same in a shared run as on the server only if both divide texts into the same words.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import cache
from typing import Any

_ASSIGNED = (range(0x80, 0xD800), range(0xE000, 0x32000), range(0xE0000, 0xE0200))
"""The code points behind ASCII that may be letters, without the planes of private use."""

_PRIVATE = ((0xF0000, 0xFFFFD), (0x100000, 0x10FFFD))


@cache
def letters() -> dict[str, Any]:
    """Make the tables.

    | key | content |
    | --- | --- |
    | `alnum` | [first, last] of the runs of code points that Python calls alphanumeric |
    | `casefold` | [code point, text] where case folding changes a character |
    | `starts` | [first, last] of the runs of code points that begin a word of the text index, or go on with one |
    | `goes_on` | the same for code points that only go on with one |
    | `folded` | [code point, its form in the text index] where the form differs; 0 if it has none |
    """
    starts, goes_on, folded = _of_text_index()
    return {
        "alnum": list(_runs(lambda code: chr(code).isalnum())),
        "casefold": [(code, chr(code).casefold()) for code in _codes() if chr(code).casefold() != chr(code)],
        "starts": [*_runs(starts.__contains__), *(span for span in _PRIVATE if span[0] in starts)],
        "goes_on": list(_runs(goes_on.__contains__)),
        "folded": sorted(folded.items()),
    }


def _of_text_index() -> tuple[set[int], set[int], dict[int, int]]:
    """Find (starts, goes_on, folded) by indexing each code point alone, and between two letters."""
    codes = [*_codes(), *(first for first, _ in _PRIVATE)]
    starts, between, folded = set[int](), dict.fromkeys(codes, ""), dict[int, int]()
    with closing(sqlite3.connect(":memory:")) as sql:
        sql.execute("CREATE VIRTUAL TABLE letter USING fts5 (text, content = '', tokenize = 'unicode61')")
        sql.execute("CREATE VIRTUAL TABLE word USING fts5vocab (letter, instance)")
        texts = ((2 * code + n, text) for code in codes for n, text in enumerate((chr(code), f"a{chr(code)}a")))
        sql.executemany("INSERT INTO letter (rowid, text) VALUES (?, ?)", texts)
        for term, row, offset in sql.execute("SELECT term, doc, offset FROM word"):
            code, is_between = divmod(row, 2)
            if not is_between:
                starts.add(code)
            elif offset == 0:
                between[code] = term
    joined = {code for code, term in between.items() if len(term) > 1}  # else it divides "a" from "a"
    for code in joined:
        form = between[code][1:-1]
        if form != chr(code):
            folded[code] = ord(form) if form else 0
    return starts, joined - starts, folded


def _codes() -> Iterator[int]:
    yield from range(0x80)
    for span in _ASSIGNED:
        yield from span


def _runs(holds: Callable[[int], bool]) -> Iterator[tuple[int, int]]:
    """[first, last] of the runs of consecutive code points for which `holds`."""
    first = last = None
    for code in _codes():
        if not holds(code):
            continue
        if last is None or first is None:
            first = last = code
        elif code == last + 1:
            last = code
        else:
            yield first, last
            first = last = code
    if first is not None and last is not None:
        yield first, last
