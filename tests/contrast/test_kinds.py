"""Kinds of change on texts whose change is known, and on those that a change must leave alone."""

from random import Random

import pytest

from sae_pipeline.contrast.kinds import KINDS, Changed, spans_of_change
from sae_pipeline.contrast.pairs import template_texts
from sae_pipeline.contrast.words import COMPANIES
from sae_pipeline.headlines.sample import sample_headlines

BY_NAME = {kind.name: kind for kind in KINDS}


def change(kind: str, text: str, seed: int = 0) -> Changed | None:
    return BY_NAME[kind].change(text, Random(seed))


@pytest.mark.parametrize(
    ("kind", "before", "after", "target"),
    [
        ("number", "Ford sales up 5% to $1,200.50 in 2019", "Ford sales up 5.5% to $1,320.55 in 2019", None),
        ("number", "S&P 500 down 9, -3.0% on May 12", "S&P 500 down 9, -3.3% on May 12", None),
        ("number", "$BA wins $90M, 10-year deal for 5G", "$BA wins $99M, 10-year deal for 5G", None),
        ("number", f"Raises ${'9' * 40} and 0.{'3' * 30}%", None, None),
        ("lower", "Apple RISES https://t.co/AbC", "apple rises https://t.co/AbC", None),
        ("upper", "Apple rises https://t.co/AbC", "APPLE RISES https://t.co/AbC", None),
        ("retweet", "Apple rises", "RT Apple rises", None),
        ("retweet", "RT @cnbc: Apple rises", "Apple rises", None),
        ("source", "Apple rises", "Apple rises - Reuters", None),
        ("source", "Apple rises - WSJ", "Apple rises", None),
        ("link", "Apple rises https://t.co/AbC now", "Apple rises now", None),
        ("link", "Apple rises", "Apple rises https://news.example/7kq2xw", None),
        ("direction", "Apple Rises, sales UP", "Apple Falls, sales DOWN", "Bearish"),
        ("direction", "Apple falls after profit warning", None, None),
        ("direction", "Apple downgraded", "Apple upgraded", "Bullish"),
        ("direction", "Apple cuts debt", None, None),
        ("direction", "Start-up follows", None, None),
        ("sign", "$AAPL +5.2% premarket", "$AAPL -5.2% premarket", "Bearish"),
        ("sign", "$AAPL -5% and $F +1%", None, None),
        ("sign", "guides 5-7% growth", None, None),
        ("hedge", "Apple beats estimates", "Apple may beat estimates", "Neutral"),
        ("hedge", "Dow extends gains", None, None),
        ("negation", "Apple shares rises", "Apple shares does not rise", "Bullish"),
        ("negation", "Apple misses estimates", "Apple does not miss estimates", "Bearish"),
        ("company", "Markets are closed today", None, None),
        ("company", ", ".join(COMPANIES), None, None),
        ("ticker", "Price is $5", None, None),
    ],
)
def test_a_known_change(kind: str, before: str, after: str | None, target: str | None) -> None:
    """The text, and the class that is expected."""
    assert change(kind, before) == (None if after is None else Changed(after, target))


def test_companies_and_tickers_are_swapped_consistently() -> None:
    """A name that comes twice is swapped for one other, two names for two, invented ones for invented ones."""
    for seed in range(20):
        swapped = change("company", "Apple sues Tesla; Apple may win", seed)
        assert swapped is not None and swapped.target is None
        first, second = swapped.text.split(" sues ")[0], swapped.text.split(" sues ")[1].split(";")[0]
        assert len({first, second, "Apple", "Tesla"}) == 4 and swapped.text.endswith(f"; {first} may win")
        invented = change("company", "Silicore rises", seed)
        assert invented is not None and "Silicore" not in invented.text
        ticker = change("ticker", "$AAPL and $AAPL", seed)
        assert ticker is not None and "AAPL" not in ticker.text and len(set(ticker.text.split(" and "))) == 1


def test_numbers_keep_their_order() -> None:
    """A comparison of two numbers stays true."""
    changed = change("number", " ".join(f"{n}% {n}.3% {n}.8%" for n in range(1, 40)))
    assert changed is not None
    numbers = [float(word.rstrip("%")) for word in changed.text.split()]
    assert numbers == sorted(set(numbers)) and numbers[0] == 1.1 and numbers[-1] == 43.8


@pytest.mark.parametrize("piece", ["$1 ", "+1", "\t", "http://a ", "Rises rises "])
def test_very_long_texts_are_changed_soon(piece: str) -> None:
    """The time grows as the length; were it the square, this would take minutes."""
    text = f"{piece * (150_000 // len(piece))}- x"
    for kind in KINDS:
        changed = kind.change(text, Random(1))
        assert changed is None or changed.text


def test_spans_of_very_long_texts_are_found_soon() -> None:
    """Matching all words would take hours; what stands before and after the change is left out all the same."""
    words = "a b " * 50_000
    assert spans_of_change(f"{words}x {words}", f"{words}y z {words}") == (
        [(len(words), len(words) + 1)],
        [(len(words), len(words) + 3)],
    )


def test_every_kind_applies_to_the_sample_and_changes_it() -> None:
    """No kind is idle; a change is a change; the same seed gives the same text; a template fits at least five kinds."""
    texts = [text for text, _ in sample_headlines()[:1500]]
    for kind in KINDS:
        found = [(text, kind.change(text, Random(1))) for text in texts]
        changed = [(text, one.text) for text, one in found if one]
        assert len(changed) >= 5 and all(before != after for before, after in changed), kind.name
        assert found == [(text, kind.change(text, Random(1))) for text in texts]
    for text in template_texts(0):
        assert sum(kind.change(text, Random(0)) is not None for kind in KINDS) >= 5


def test_spans_mark_what_differs() -> None:
    """Taking the marked spans out of both texts leaves the same; nothing else is marked than words that differ."""
    for before, after in (("RT Apple rises", "Apple rises"), ("Apple rises 5%", "Ford may rise 5% 📈"), ("a", "a")):
        removed, added = spans_of_change(before, after)
        assert _without(before, removed) == _without(after, added)
    assert spans_of_change("Apple rises 5%", "Apple falls 5%") == ([(6, 11)], [(6, 11)])


def _without(text: str, spans: list[tuple[int, int]]) -> str:
    return "".join(c for i, c in enumerate(text) if not any(start <= i < end for start, end in spans))
