"""The pages of the documentation, taken apart: their prose, their code, the commands that they tell a reader to run."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md")), ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
PAGES += [ROOT / folder / "README.md" for folder in ("finbert_sae", "analysis_data", "sae-viewer")]
_ABOUT_PAGES = {"pages", "test_docs", "test_doc_commands"}  # their own text would name anything
RUNNABLE = ("make", "python", "torchrun", "pip", "npm", "curl", "cd", "export", "sae-explorer")


class Code(NamedTuple):
    """A fenced block of code."""

    page: Path
    language: str
    text: str


def name_of(page: Path) -> str:
    """The path of a page from the root."""
    return str(page.relative_to(ROOT))


def code_blocks(page: Path) -> list[Code]:
    """The fenced blocks of a page."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.M | re.S)
    return [Code(page, language, text) for language, text in found]


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)


def inline_code(page: Path) -> list[str]:
    """What stands between backticks in the prose of a page."""
    return re.findall(r"`([^`\n]+)`", prose(page))


def commands(page: Path) -> Iterator[str]:
    """The shell commands of a page: one per line of a bash block or part of `a && b`, and those in the prose."""
    lines = [line for block in code_blocks(page) if block.language == "bash" for line in _lines(block.text)]
    for line in [*lines, *(text for text in inline_code(page) if " " in text and text.split()[0] in RUNNABLE)]:
        yield from line.split(" && ")


def _lines(script: str) -> list[str]:
    """Lines of a script, continued ones joined and comments left out."""
    joined = script.replace("\\\n", " ")
    return [line for raw in joined.splitlines() if (line := re.sub(r"(^|\s)#.*", "", raw).strip())]


@cache
def sources() -> str:
    """All text of the programs in one string."""
    paths = [ROOT / name for name in ("Makefile", "Sentiment_Classification.ipynb", "sae-viewer/vite.config.ts")]
    for folder in ("sae_pipeline", "viz_analysis", "sae_explorer", "benchmarks", "tests"):
        paths += [path for path in (ROOT / folder).rglob("*.py") if path.stem not in _ABOUT_PAGES]
    return "\n".join(path.read_text(encoding="utf-8") for path in paths)
