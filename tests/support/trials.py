"""The parts that trials of mutants share.

A trial uses a mutant as the public uses a study, and compares what is answered and made with the pristine study.

| outcome | what happened |
| --- | --- |
| refused | a sentence names the damage and a way out |
| named | the run is served without an optional file, and its list of damaged files names it |
| healed | all is as in the pristine study: what was damaged did not matter or has been made again |
| served_wrong | something is different and nothing said so |
| fault | a traceback, a 5xx, a sentence without a way out, or a good file that is gone |
"""

import logging
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

Outcome = Literal["refused", "named", "healed", "served_wrong", "fault"]
_WORST: tuple[Outcome, ...] = ("fault", "served_wrong", "refused", "named", "healed")


class Verdict(NamedTuple):
    """The outcome of a trial, the use that showed it, and what was said there."""

    outcome: Outcome
    use: str = ""
    said: str = ""
    way_out: str = ""  # the verbs that were followed from a refusal back to the pristine study

    @property
    def is_good(self) -> bool:
        """Whether nothing damaged was used in silence, and nothing broke."""
        return self.outcome in ("refused", "named", "healed")


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The verdict that matters: the first of the worst outcome."""
    return min(verdicts, key=lambda verdict: _WORST.index(verdict.outcome))


def difference(found: Any, expected: Any, place: str = "") -> str:
    """The first place where two answers differ."""
    if isinstance(found, dict) and isinstance(expected, dict) and found.keys() == expected.keys():
        return next(difference(found[n], expected[n], f"{place}.{n}") for n in found if found[n] != expected[n])
    if isinstance(found, list) and isinstance(expected, list) and len(found) == len(expected):
        pairs = enumerate(zip(found, expected, strict=True))
        return next(difference(a, b, f"{place}.{n}") for n, (a, b) in pairs if a != b)
    return f"{place}: {str(found)[:80]} is not {str(expected)[:80]}"


@contextmanager
def tracebacks() -> Iterator[list[str]]:
    """The tracebacks that are logged in this block."""
    found: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.exc_info:
                found.append(f"{record.getMessage()}: {record.exc_info[1]!r}")

    handler = Handler()
    logging.getLogger().addHandler(handler)
    try:
        yield found
    finally:
        logging.getLogger().removeHandler(handler)


_STEP = re.compile(r"`python -m sae_pipeline (\w+)[^`]*`")
_STEPS_IN_WORDS = {
    "rain it again": ("train",),
    "ake it again with the same settings": ("finetune", "train"),
    "nalyse again": ("analyze",),
}


def steps(said: str) -> tuple[str, ...]:
    """The verbs of the first way out that an error names."""
    sentence = said[max(0, said.rfind("error:")) :]
    commands = _STEP.findall(sentence)
    if commands:
        return (commands[0],)
    return next((verbs for words, verbs in _STEPS_IN_WORDS.items() if words in sentence), ())
