"""The documentation is tested: its links, pictures, files and names exist."""

import re
from pathlib import Path

import pytest

from tests.support.pages import PAGES, README, ROOT, inline_code, name_of, prose, sources

SOURCE_FILES = {".py", ".cpp", ".h", ".txt"}


def _anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to a page's headings."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links(page: Path) -> None:
    """Every relative link leads to a file, and every anchor to a heading of it."""
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"https?://", target):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), f"{name_of(page)} links to {target}"
        assert not anchor or anchor in _anchors(found), f"{name_of(page)} links to {target}"


def test_every_page_is_in_the_index() -> None:
    """docs/index.md links to all pages."""
    index = ROOT / "docs" / "index.md"
    linked = {(index.parent / target).resolve() for target in re.findall(r"\]\(([\w/.-]+\.md)\)", prose(index))}
    assert linked == {page.resolve() for page in (ROOT / "docs").rglob("*.md")} - {index.resolve()}


def test_pictures() -> None:
    """All pictures are shown, described in words, and light to load."""
    shown: set[Path] = set()
    for page in PAGES:
        for text, target in re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", prose(page)):
            assert len(text.split()) > 5, f"{name_of(page)}: {target} needs a description"
            shown.add((page.parent / target).resolve())
    pictures = set((ROOT / "docs" / "images").iterdir())
    assert shown == pictures
    assert all(picture.stat().st_size < 120_000 for picture in pictures)


def test_readme_is_short() -> None:
    """The front page stays a front page."""
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 120


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_files(page: Path) -> None:
    """Every file and folder of the repository that a page names exists; every artefact is one that the code writes."""
    for name in inline_code(page):
        if re.search(r"[<>*…{}\s()\[\]=:]", name) or name.startswith(
            ("/", "path/", "build/", "http", "-", "~", ".venv")
        ):
            continue
        suffix = Path(name).suffix
        if name.endswith("/"):
            written = name.rstrip("/").rpartition("/")[2] in sources()
            assert written or _exists(page, name), f"{name_of(page)}: {name}"
        elif suffix in SOURCE_FILES | {".ts", ".tsx", ".ipynb", ".toml", ".md", ".cff"}:
            assert _exists(page, name), f"{name_of(page)}: {name}"
        elif suffix in {".json", ".jsonl", ".pt", ".safetensors", ".sqlite", ".html"}:
            written = name.rpartition("/")[2] in sources()
            assert written or _exists(page, name), f"{name_of(page)}: {name}"


def _exists(page: Path, name: str) -> bool:
    """Whether a path from the root or the page exists, or a plain name stands in a folder that the page names."""
    if any((folder / name).exists() for folder in (ROOT, page.parent, page.parent / "src")):
        return True
    named = [ROOT / text for text in inline_code(page) if re.fullmatch(r"\w[\w./-]*/[\w./-]*", text)]
    return any((path / name).is_file() or (path.parent / name).is_file() for path in named)


def test_names_in_files() -> None:
    """Where a page says "`name` in `file`", the file has the name."""
    pairs = [pair for page in PAGES for pair in re.findall(r"`(\w+)` in `([\w/.]+\.py)`", prose(page))]
    assert len(pairs) >= 3
    for name, file in pairs:
        assert re.search(rf"\b{name}\b", (ROOT / file).read_text(encoding="utf-8")), f"{name} in {file}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_variables(page: Path) -> None:
    """Every environment variable and parameter that a page names in capitals is read by the code."""
    for name in inline_code(page):
        if re.fullmatch(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)+", name):
            assert re.search(rf"\b{name}\b", sources()), f"{name_of(page)}: {name}"


def test_the_architecture_page_names_every_source_file() -> None:
    """docs/architecture.md lists the files of the library and the server, all of them and no others."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named: set[str] = set()
    for section in re.split(r"^## ", page, flags=re.M):
        folder = re.match(r"`((?:sae_pipeline|viz_analysis|sae_explorer)/[\w/]*)`", section)
        if folder:
            named |= {folder[1] + name for name in re.findall(r"^- `([\w/.]+)`: ", section, re.M)}
    present = {
        name_of(path)
        for package in ("sae_pipeline", "viz_analysis", "sae_explorer")
        for path in (ROOT / package).rglob("*.*")
        if path.suffix in SOURCE_FILES | {".bib"} and (path.name != "__init__.py" or path.stat().st_size > 100)
    }
    assert named == present


def test_notebook_parameters() -> None:
    """The user's parameters stand in the documentation and in the notebook's one parameters cell."""
    page = (ROOT / "docs" / "study.md").read_text(encoding="utf-8")
    notebook = (ROOT / "Sentiment_Classification.ipynb").read_text(encoding="utf-8")
    for name in (
        "LAYER_TO_EXTRACT",
        "LATENT_DIMS",
        "L1_COEFFICIENT",
        "NUM_EPOCHS",
        "SAE_SIZE",
        "MAX_SAMPLES",
        "TOP_FEATURES",
        "TOP_TOKENS_PER_FEATURE",
    ):
        assert f"\n{name} =" in page
        assert f'"{name} =' in notebook
