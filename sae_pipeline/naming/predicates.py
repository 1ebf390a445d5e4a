"""Predicates: what is true or false of a headline. The rules behind names are made of them.

They are words, the forms of one word, phrases of two and three words, and shapes of the text. What a text begins and
ends with, the predicted class, and the categories of the finance lexicon are predicates too.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from sae_pipeline.arrays import Floats
from sae_pipeline.headlines.text import link_spans
from sae_pipeline.naming.bits import Bits, packed
from sae_pipeline.naming.lexicon import categories_of
from sae_pipeline.naming.sample import SampledHeadline
from sae_pipeline.naming.shapes import FEW_WORDS, LINK, MANY_WORDS, SHAPES, TICKER, USER, shapes_in
from sae_pipeline.schema.names import MAX_NAME, Predicate, PredicateKind

MIN_SUPPORT = 3  # choosing headlines in which a predicate holds
LONGEST_PHRASE = 3  # words
_ORDER: tuple[PredicateKind, ...] = (
    "word",
    "stem",
    "phrase",
    "lexicon",
    "shape",
    "position",
    "class",
)  # earlier wins a tie
_LINKING = {"a", "an", "and", "are", "as", "at", "be", "by", "for", "from", "in", "is", "it", "its", "of", "on", "or"}
_LINKING |= {"that", "the", "this", "to", "was", "will", "with"}
_POSSESSIVE = re.compile(r"['’]s$")
_ENDING = re.compile(r"(?:ings?|ed|es|e|s)?(?:['’]s)?$")
_SHAPE_NAMES = {shape.key: shape.name for shape in SHAPES} | dict([FEW_WORDS, MANY_WORDS])
Key = tuple[PredicateKind, str]


@dataclass(frozen=True)
class PredicateTable:
    """Predicates, and the headlines of the choosing and of the testing half in which each holds."""

    predicates: list[Predicate]
    names: list[str]  # how a name says each of them
    cost: Floats  # [n_predicates] bits: the kind, and which one of its kind
    choosing: sparse.csr_matrix  # [n_choosing, n_predicates] 1 where it holds
    choosing_bits: Bits  # [n_predicates, …]
    testing_bits: Bits  # [n_predicates, …]

    @cached_property
    def is_class(self) -> NDArray[np.bool_]:
        """[n_predicates] whether each is a predicted class."""
        return np.array([predicate.kind == "class" for predicate in self.predicates], dtype=bool)


def predicate_table(
    choosing: Sequence[SampledHeadline], testing: Sequence[SampledHeadline], class_names: Sequence[str]
) -> PredicateTable:
    """The predicates that hold in at least `MIN_SUPPORT` choosing headlines."""
    frequent = _frequent_words(choosing)
    spelling: dict[str, str] = {}
    found = [list(_keys(h.text, h.words, class_names[h.prediction], frequent, spelling)) for h in choosing]
    support = Counter(chain.from_iterable(found))
    forms = _forms(choosing)
    support -= Counter({("stem", stem): support["stem", stem] for stem, listed in forms.items() if len(listed) < 2})
    kept = sorted((key for key, n in support.items() if n >= MIN_SUPPORT), key=_rank)
    place = {key: n for n, key in enumerate(kept)}
    sizes = Counter(kind for kind, _ in kept)
    sizes["position"] = 2 * max(sizes["word"], 1)  # a word, and one of two ends
    sizes["lexicon"] = max(sizes["lexicon"], sizes["word"])  # a category is worth it where it says more than one word
    later = [list(_keys(h.text, h.words, class_names[h.prediction], frequent, {})) for h in testing]
    holds = _matrix(found, place)
    return PredicateTable(
        predicates=[Predicate(kind=kind, value=value) for kind, value in kept],
        names=[_name(kind, value, spelling, forms) for kind, value in kept],
        cost=np.array([math.log2(len(_ORDER)) + math.log2(sizes[kind]) for kind, _ in kept]),
        choosing=holds,
        choosing_bits=packed(holds.T.tocsr()),
        testing_bits=packed(_matrix(later, place).T.tocsr()),
    )


def _rank(key: Key) -> tuple[int, bool, Key]:
    """The order of predicates: of two that hold in the same headlines, the earlier one makes the name."""
    kind, value = key
    words = value.split()
    return _ORDER.index(kind), kind == "phrase" and not _LINKING.isdisjoint((words[0], words[-1])), key


def holds(rule: Sequence[Predicate], text: str, words: Sequence[str], class_name: str) -> bool:
    """Whether a rule holds in a headline: whether one of its predicates does."""
    every_word = {word.casefold() for word in words}
    return not {(one.kind, one.value) for one in rule}.isdisjoint(_keys(text, words, class_name, every_word, {}))


def _matrix(found: Sequence[Sequence[Key]], place: dict[Key, int]) -> sparse.csr_matrix:
    rows = [sorted(place[key] for key in keys if key in place) for keys in found]
    ptr = np.cumsum([0, *map(len, rows)])
    columns = np.fromiter(chain.from_iterable(rows), np.int32, int(ptr[-1]))
    return sparse.csr_matrix((np.ones(len(columns), np.int32), columns, ptr), shape=(len(rows), len(place)))


def stem_of(word: str) -> str:
    """What the forms of an English word share: `rais` of raise, raises, raised, raising; "" of short words."""
    stem = _ENDING.sub("", word)
    if len(stem) == 3 and word.startswith(f"{stem}e"):
        stem += "e"  # here is no form of her
    return stem if len(stem) >= 3 and stem.isalpha() else ""


def _forms(headlines: Sequence[SampledHeadline]) -> dict[str, list[str]]:
    """The forms of each stem that the headlines hold, most frequent first."""
    seen = Counter(chain.from_iterable({word.casefold() for word in headline.words} for headline in headlines))
    forms: dict[str, list[str]] = {}
    for word, _ in sorted(seen.items(), key=lambda one: (-one[1], one[0])):
        if stem := stem_of(word):
            forms.setdefault(stem, []).append(word)
    return forms


def _frequent_words(headlines: Sequence[SampledHeadline]) -> set[str]:
    support = Counter(chain.from_iterable({word.casefold() for word in headline.words} for headline in headlines))
    return {word for word, n in support.items() if n >= MIN_SUPPORT}


def _keys(
    text: str, words: Sequence[str], class_name: str, frequent: set[str], spelling: dict[str, str]
) -> Iterator[Key]:
    """The predicates that hold in a headline, each once. How its words are written is noted in `spelling`."""
    words = [word for word in words if not link_spans(word)]
    folded = [word.casefold() for word in words]
    phrases = set[str]()
    for length in range(1, LONGEST_PHRASE + 1):
        for start in range(len(words) - length + 1):
            part = folded[start : start + length]
            if all(any(map(str.isalnum, word)) and word in frequent for word in part):
                phrase, written = " ".join(part), " ".join(words[start : start + length])
                phrases.add(phrase)
                if phrase not in spelling or written == phrase:  # lower case where it is ever written so
                    spelling[phrase] = written
    yield from (("phrase" if " " in phrase else "word", phrase) for phrase in phrases if len(phrase) <= MAX_NAME)
    yield from {("stem", stem) for word in folded if (stem := stem_of(word))}
    yield from (("lexicon", category) for category in categories_of(phrases))
    shapes = shapes_in(text)
    yield from (("shape", key) for key in shapes)
    n_words = sum(any(map(str.isalnum, word)) for word in words)
    if n_words <= 6:
        yield "shape", FEW_WORDS[0]
    if n_words >= 20:
        yield "shape", MANY_WORDS[0]
    yield from _at_the_ends(text.strip(), folded, frequent)
    yield "class", class_name


def _at_the_ends(text: str, folded: Sequence[str], frequent: set[str]) -> Iterator[Key]:
    spoken = [word for word in folded if any(map(str.isalnum, word))]
    if spoken and spoken[0] in frequent:
        yield "position", f"begins with {spoken[0]}"
    if spoken and spoken[-1] in frequent:
        yield "position", f"ends with {spoken[-1]}"
    for key, mark in ((TICKER, "$"), (USER, "@")):
        if text.startswith(mark) and key in shapes_in(text.split(maxsplit=1)[0]):
            yield "position", f"begins with {_SHAPE_NAMES[key]}"
    if link_spans(text) and link_spans(text)[-1][1] == len(text):
        yield "position", f"ends with {_SHAPE_NAMES[LINK]}"


def _name(kind: PredicateKind, value: str, spelling: dict[str, str], forms: dict[str, list[str]]) -> str:
    match kind:
        case "word" | "phrase":
            return spelling[value]
        case "stem":
            shown = dict.fromkeys(_POSSESSIVE.sub("", form) for form in forms[value])
            return "/".join(list(shown)[:3])
        case "shape":
            return _SHAPE_NAMES[value]
        case "class":
            return f"predicted {value}"
        case _:
            return value
