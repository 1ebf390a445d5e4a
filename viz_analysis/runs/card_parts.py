"""What the sections of a feature's card are made of: tables, numbers and sentences."""

from collections.abc import Sequence

from sae_pipeline.errors import command
from sae_pipeline.runs.seed_stability import FOUND_IN_SEEDS
from viz_analysis.api.card_types import CardExample, CardSection, CardTable
from viz_analysis.api.feature_types import FeatureInfo
from viz_analysis.runs.reader import RunReader


def card_table(header: list[str], rows: list[list[str]]) -> CardTable | None:
    """A table; None where it has no rows."""
    return CardTable(header=header, rows=rows) if rows else None


def card_section(
    title: str, sentences: list[str], table: CardTable | None = None, examples: Sequence[CardExample] = ()
) -> CardSection:
    """A section with its sentences, and where they are given its table and examples."""
    return CardSection(title=title, sentences=sentences, table=table, examples=list(examples))


def ends(low: float | None, high: float | None, digits: int) -> str:
    """The ends of an interval; a dash where it was not measured."""
    return "–" if low is None or high is None else f"{low:.{digits}f} to {high:.{digits}f}".replace("-", "−")


def signed(effect: float) -> str:
    """An effect with its sign and three digits."""
    return f"{effect:+.3f}".replace("-", "−")


def rate(q: float | None) -> str:
    """A false-discovery rate with two significant digits."""
    return "–" if q is None else f"{q:.2g}".replace("e-0", "e−").replace("e-", "e−")


def unmeasured(what: str, verb: str) -> str:
    """A sentence that something has not been measured, and which command measures it."""
    return f"{what} not been measured; {command(verb)} does so."


def found_again(run: RunReader, info: FeatureInfo) -> str:
    """In how many other seeds the feature is found; empty where it was looked for in none."""
    times = next((int(stat.value) for stat in info.stats if stat.name == FOUND_IN_SEEDS), None)
    if run.stability is None or times is None:
        return ""
    n = len(run.stability.seeds)
    return f" Found in {times} of {n} other {'seed' if n == 1 else 'seeds'}."
