"""The built-in sample: labelled financial headlines from a small grammar, so that everything runs offline.

`sample.txt` holds templates for each class and the words that fill them. The templates of a class take turns until it
has enough different headlines. Each headline is made in three steps: companies are drawn, the template is filled with
them (`expand`), and some texts get what posts add to a headline (`dress`).

Companies, banks and people are invented. The headlines are the same on every platform and in every version of Python.
`benchmarks/sample_quality.py` measures how well a classifier does that was fine-tuned on them.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from random import Random
from typing import TypeVar

CLASS_SIZES = (900, 1200, 3900)  # Bearish, Bullish, Neutral: the proportions of the real headlines
_SECTIONS = ("bearish", "bullish", "neutral")  # of sample.txt, in the order of LABELS
_SEED = 20
_COMMON = 4  # turns of a template marked "* " in a round; the others have one
_TRIES = 5  # draws of a template for a headline that is new, before its turn is over
_LONG = 105  # characters; a longer headline may be cut short, as posts are
_SLOT = re.compile(r"\{(\w+)\}")
_RANGE = re.compile(r"<(\d+(?:\.(\d+))?)\.\.(\d+(?:\.\d+)?)>")
_CHOICE = re.compile(r"\[([^\[\]]*)\]")
_SMALL_WORDS = {
    "a", "an", "and", "as", "at", "by", "for", "from", "in",
    "into", "of", "on", "or", "over", "the", "to", "vs.", "with",
}  # fmt: skip
_TAGS = ("#stocks", "#markets", "#economy", "#investing", "#finance", "#trading", "#business")
_LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"

T = TypeVar("T")


@dataclass(frozen=True)
class _Company:
    name: str
    ticker: str
    sector: str


@dataclass(frozen=True)
class _Grammar:
    """The content of `sample.txt`; its first lines explain the notation."""

    companies: list[_Company]
    products: dict[str, list[str]]  # by sector
    numbers: dict[str, list[str]]  # by slot: ways to write the number
    slots: dict[str, list[str]]  # by slot: its values
    templates: dict[str, list[str]]  # by section; a common one stands there several times


@cache
def sample_headlines() -> tuple[tuple[str, int], ...]:
    """The text and label of every headline of the sample, in an order that mixes the classes."""
    grammar = _read_grammar()
    rng = Random(_SEED)
    rows: list[tuple[str, int]] = []
    for label, section in enumerate(_SECTIONS):
        rows += ((text, label) for text in _headlines(grammar, grammar.templates[section], CLASS_SIZES[label], rng))
    order = sorted(range(len(rows)), key=[rng.random() for _ in rows].__getitem__)
    return tuple(rows[i] for i in order)


def sample_companies() -> dict[str, str]:
    """The invented companies of the sample, and their tickers."""
    return {company.name: company.ticker for company in _read_grammar().companies}


def _read_grammar() -> _Grammar:
    grammar = _Grammar([], {}, {}, {}, {section: [] for section in _SECTIONS})
    section = ""
    for line in files(__package__).joinpath("sample.txt").read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("# "):
            continue
        if line.startswith("== "):
            section = line[3:]
        elif section in grammar.templates:
            common = line.startswith("* ")
            grammar.templates[section] += [line.removeprefix("* ")] * (_COMMON if common else 1)
        else:
            name, _, rest = line.partition(": ")
            if section == "companies":
                for entry in rest.split(", "):
                    company, _, ticker = entry.rpartition(" ")
                    grammar.companies.append(_Company(company, ticker, name))
            elif section == "products":
                grammar.products[name] = rest.split(", ")
            else:
                values = grammar.numbers if section == "numbers" else grammar.slots
                values[name] = rest.split(" | ")
    return grammar


def _headlines(grammar: _Grammar, templates: list[str], count: int, rng: Random) -> list[str]:
    """Make `count` different headlines, as evenly from all templates as their variety allows."""
    found: dict[str, str] = {}  # by the text in lower case, before it is dressed
    while len(found) < count:
        before = len(found)
        for template in templates:
            for _ in range(_TRIES):
                headline = _Headline(grammar, rng)
                text = headline.expand(template)
                if text.lower() not in found:
                    found[text.lower()] = headline.dress(text)
                    break
        if len(found) == before:
            raise RuntimeError(f"sample.txt has templates for {before} different headlines of a class, not {count}")
    texts = list(found.values())
    while len(texts) > count:
        texts.pop(int(rng.random() * len(texts)))
    return texts


@dataclass
class _Headline:
    """One headline in the making. A word is drawn once and stays; a number is drawn afresh at every use."""

    grammar: _Grammar
    rng: Random
    words: dict[str, str] = field(default_factory=dict)

    def expand(self, template: str) -> str:
        """Fill a template; return the plain text."""
        sectors, mark, body = template.rpartition("> ")
        self._draw_companies(sectors.split(",") if mark else None)
        for pattern, value in ((_SLOT, self._slot), (_CHOICE, self._choice)):
            while True:
                body, found = pattern.subn(value, body)
                if not found:
                    break
        text = " ".join(body.split()).replace(" ,", ",").replace("s's ", "s' ")
        text = re.sub(r"(?<=\? )[a-z]|(?<=^\")[a-z]", lambda match: match[0].upper(), text)
        return text[0].upper() + text[1:]

    def dress(self, text: str) -> str:
        """Add now and then what posts add to a headline: a ticker, capitals, tags, a link, an early end."""
        about_company = self.words["co"] in text
        if text[0] not in '$@."' and self._chance(0.12):
            text = " ".join(w if w in _SMALL_WORDS else w[:1].upper() + w[1:] for w in text.split(" "))
        if about_company and text[0] not in '$@."' and self._chance(0.12):
            text = f"${self.words['tk']}{self._pick((' - ', ': '))}{text}"
        if len(text) > _LONG and self._chance(0.3):
            text = text[: text.rindex(" ", 0, _LONG)].rstrip(" ,;:-") + "…"
        if self._chance(0.06):
            first = self._number(0, len(_TAGS))
            text += f" {_TAGS[first]} {_TAGS[first - 1 - self._number(0, len(_TAGS) - 1)]}"
        if self._chance(0.12):
            text += " https://news.example/" + "".join(self._pick(_LETTERS) for _ in range(6))
        return text

    def _draw_companies(self, sectors: list[str] | None) -> None:
        """Draw two companies of one sector, a product of theirs and two prices; `sectors` limits the choice."""
        companies = self.grammar.companies
        first = self._pick([c for c in companies if sectors is None or c.sector in sectors])
        second = self._pick([c for c in companies if c.sector == first.sector and c != first])
        self.words |= {"co": first.name, "tk": first.ticker, "co2": second.name, "tk2": second.ticker}
        self.words["prod"] = self._pick(self.grammar.products[first.sector])
        low, high = sorted(self._number(4, 330) for _ in range(2))
        self.words |= {"lo": str(low), "hi": str(max(high, low + 2))}

    def _slot(self, match: re.Match[str]) -> str:
        """The value of a slot; {name2} differs from {name}."""
        name = match[1]
        if name in self.words:
            return self.words[name]
        if (fresh := self._fresh(name)) is not None:
            return fresh
        base = name.removesuffix("2")
        if base == "name":
            value = f"{{first}} {{{name.replace('name', 'last')}}}"
        else:
            value = self._pick([v for v in self.grammar.slots[base] if v != self.words.get(base)])
        self.words[name] = value
        return value

    def _choice(self, match: re.Match[str]) -> str:
        """One of the options in brackets."""
        return self._pick(str(match[1]).split("|"))

    def _fresh(self, name: str) -> str | None:
        """A number, a date or a handle, or None where `name` is none of them."""
        slots = self.grammar.slots
        if name in self.grammar.numbers:
            return _RANGE.sub(self._in_range, self._pick(self.grammar.numbers[name]))
        if name == "date":
            return f"{self._pick(slots['month'])[:3]} {self._number(1, 29)}"
        if name == "handle":
            return f"{self._pick(slots['first'])}{self._pick(slots['last'])}".lower()
        return None

    def _in_range(self, match: re.Match[str]) -> str:
        """A number in a range, with as many digits as its lower bound: <01..48> gives 07, <0.1..1.9> gives 0.7."""
        low, decimals, high = match[1], match[2], match[3]
        if decimals:
            return f"{float(low) + self.rng.random() * (float(high) - float(low)):.{len(decimals)}f}"
        return f"{self._number(int(low), int(high) + 1):0{len(low)}}"

    def _number(self, low: int, high: int) -> int:
        """A whole number from `low` to `high - 1`.

        Random.randrange and Random.choice may change between versions of Python; Random.random may not.
        """
        return low + int(self.rng.random() * (high - low))

    def _pick(self, items: Sequence[T]) -> T:
        return items[self._number(0, len(items))]

    def _chance(self, share: float) -> bool:
        return self.rng.random() < share
