"""What a benchmark measures where no study was named."""

from pathlib import Path

from tests.support.small_study import build


def here_or_small(there: bool, missing: str) -> Path:
    """The present folder if what is needed is `there`, else the tests' small study, built first (a minute)."""
    if there:
        return Path()
    root = Path("build/test-study")
    print(f"there is no {missing} here yet; using the tests' small study in {root}")
    build(root)
    return root
