"""The questions that a language model is asked about a feature, and what its answers mean.

Detection and fuzzing are the tests of Paulo et al. (2024): from the explanation alone, find the headlines in which the
feature fires, and those whose marked words are the ones on which it fires.
"""

import json
import re
from collections.abc import Sequence

import numpy as np

from sae_pipeline.explaining.endpoint import Message
from sae_pipeline.explaining.shown import Headline, ShownHeadlines
from sae_pipeline.schema.explanations import MAX_EXPLANATION

_EXPLAIN = (
    "You study one feature inside a classifier of financial headlines. You see headlines in which it fires, strongest "
    "first{marks}, and headlines in which it does not. Say in at most 10 words "
    "what makes it fire. Name what the firing headlines share and the others lack. Answer with these words only."
)
_MARKS = ", with «» around the words on which it fires"
_DETECT = (
    "A feature of a classifier of financial headlines fires on what the description says. Which of the numbered "
    "headlines does it fire in? Answer with a JSON list of their numbers only, such as [2, 5], or [] for none."
)
_FUZZ = (
    "A feature of a classifier of financial headlines fires on what the description says. In each numbered headline "
    "some words stand in «». In which headlines are these the words that make the feature fire? Answer with a JSON "
    "list of their numbers only, such as [2, 5], or [] for none."
)
_THOUGHT = re.compile(r"<think>.*?(?:</think>|$)", re.DOTALL | re.IGNORECASE)
_LIST = re.compile(r"\[[\d\s,]*\]")
_MOST_SHOWN = 400  # characters of a headline


def explain_question(shown: ShownHeadlines) -> list[Message]:
    """Ask for an explanation."""
    fires = [_line(one.marked(one.fired_words)) for one in shown.strongest]
    silent = [_line(one.plain) for one in shown.silent]
    parts = [
        "It fires in:",
        *(f"- {text}" for text in fires),
        "",
        "It does not fire in:",
        *(f"- {text}" for text in silent),
    ]
    marks = _MARKS if any(one.positions for one in shown.strongest) else ""
    return _messages(_EXPLAIN.format(marks=marks), "\n".join(parts))


def detection_question(explanation: str, shown: ShownHeadlines) -> tuple[list[Message], list[bool]]:
    """Ask in which headlines of the testing half the feature fires. Returns also the right answers."""
    both = [(one.plain, True) for one in shown.positive] + [(one.plain, False) for one in shown.negative]
    return _numbered(_DETECT, explanation, both, shown.feature)


def fuzzing_question(explanation: str, shown: ShownHeadlines) -> tuple[list[Message], list[bool]]:
    """Ask in which headlines the marked words are the right ones; in every second one they are others.

    A feature that fires on headlines as a whole gets a question about none.
    """
    rng = np.random.default_rng([1, shown.feature])
    positive = [one for one in shown.positive if one.positions]
    both = [(_with_marks(one, right, rng), right) for one, right in _halved(positive)]
    return _numbered(_FUZZ, explanation, both, shown.feature)


def explanation_in(answer: str) -> str | None:
    """The explanation in an answer: its first line with words, without quotation marks; None where there is none."""
    for line in _THOUGHT.sub("", answer).splitlines():
        text = "".join(letter for letter in " ".join(line.split()) if letter.isprintable()).strip("\"'“”*`#- ")
        if any(map(str.isalpha, text)):
            return text if len(text) <= MAX_EXPLANATION else None
    return None


def choice_in(answer: str, n: int) -> list[bool] | None:
    """Which of n headlines an answer names, by the last list of numbers in it; None where there is none."""
    lists = _LIST.findall(_THOUGHT.sub("", answer))
    if not lists:
        return None
    try:
        numbers = set(json.loads(lists[-1]))
    except ValueError:
        return None
    return [number in numbers for number in range(1, n + 1)] if numbers <= set(range(1, n + 1)) else None


def _numbered(
    task: str, explanation: str, headlines: Sequence[tuple[str, bool]], feature: int
) -> tuple[list[Message], list[bool]]:
    order = np.random.default_rng([2, feature]).permutation(len(headlines)).tolist()
    lines = [f"{n}. {_line(headlines[i][0])}" for n, i in enumerate(order, 1)]
    content = "\n".join([f"Description: {explanation}", "", *lines])
    return _messages(task, content), [headlines[i][1] for i in order]


def _halved(headlines: Sequence[Headline]) -> list[tuple[Headline, bool]]:
    """Every second headline is to be marked wrongly. One in which the feature fires on all words is left out."""
    return [(one, n % 2 == 0) for n, one in enumerate(headlines) if n % 2 == 0 or one.other_words]


def _with_marks(headline: Headline, right: bool, rng: np.random.Generator) -> str:
    words = headline.fired_words
    others = rng.permutation(sorted(headline.other_words))[: len(words)]
    return headline.marked(words if right else set(others.tolist()))


def _line(text: str) -> str:
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"


def _messages(task: str, content: str) -> list[Message]:
    return [{"role": "system", "content": task}, {"role": "user", "content": content}]
