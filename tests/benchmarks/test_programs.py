"""The programs in `benchmarks/`, most of which no test runs."""

from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in (ROOT / "benchmarks").rglob("*.py")
    if path.name != "__init__.py"
)


@pytest.mark.parametrize("name", MODULES)
def test_what_a_program_imports_is_there(name: str) -> None:
    """Also the names that it takes from the library and from other programs."""
    import_module(name)
