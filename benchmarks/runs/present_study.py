"""The study that a benchmark uses when none was named."""

from pathlib import Path

from tests.support.small_study import build


def here_or_small(is_here: bool, missing: str) -> Path:
    """The present folder if it has what is needed, else the tests' small study, which is built first (a minute)."""
    if is_here:
        return Path()
    root = Path("build/test-study")
    print(f"There is no {missing} here yet, so the tests' small study in {root} is used.")
    build(root)
    return root
