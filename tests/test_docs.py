"""The documentation is tested: what the pages tell a reader to run, click or open exists and works."""

import ast
import importlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from flask.testing import FlaskClient

from sae_explorer import __main__ as explorer
from sae_pipeline.analysis.feature_stats import FeatureStats
from sae_pipeline.flags import study_of, study_parser
from sae_pipeline.sae.kinds import stepper, unit_rows
from sae_pipeline.schema import kinds
from tests.conftest import SmallStudy
from viz_analysis.feature_probe_server import create_app
from viz_analysis.live.queue import ModelQueue
from viz_analysis.runs.sources import RunFolder
from viz_analysis.web import process

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md")), ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
PAGES += [ROOT / folder / "README.md" for folder in ("finbert_sae", "analysis_data", "sae-viewer")]
ELSEWHERE = ("/", "path/", "build/", "http", "-", "~", ".venv")  # names that are no files of the repository
RUNNABLE = ("make", "python", "torchrun", "pip", "npm", "curl", "cd", "export", "sae-explorer")
SOURCE_FILES = {".py", ".cpp", ".h", ".txt"}


class Code(NamedTuple):
    """A fenced block of code."""

    page: Path
    language: str
    text: str


def _name(page: Path) -> str:
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
def _makefile() -> str:
    return (ROOT / "Makefile").read_text(encoding="utf-8")


@cache
def _sources() -> str:
    """All program text in one string."""
    paths = [ROOT / name for name in ("Makefile", "Sentiment_Classification.ipynb", "sae-viewer/vite.config.ts")]
    for folder in ("sae_pipeline", "viz_analysis", "sae_explorer", "benchmarks", "tests"):
        paths += [path for path in (ROOT / folder).rglob("*.py") if path != Path(__file__)]
    return "\n".join(path.read_text(encoding="utf-8") for path in paths)


# --- links, images, names ------------------------------------------------------------------------------


def _anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to a page's headings."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_links(page: Path) -> None:
    """Every relative link leads to a file, and every anchor to a heading of it."""
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"https?://", target):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), f"{_name(page)} links to {target}"
        assert not anchor or anchor in _anchors(found), f"{_name(page)} links to {target}"


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
            assert len(text.split()) > 5, f"{_name(page)}: {target} needs a description"
            shown.add((page.parent / target).resolve())
    pictures = set((ROOT / "docs" / "images").iterdir())
    assert shown == pictures
    assert all(picture.stat().st_size < 120_000 for picture in pictures)


def test_readme_is_short() -> None:
    """The front page stays a front page."""
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 120


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_files(page: Path) -> None:
    """Every file and folder of the repository that a page names exists; every artefact is one that the code writes."""
    for name in inline_code(page):
        if re.search(r"[<>*…{}\s()\[\]=:]", name) or name.startswith(
            ("/", "path/", "build/", "http", "-", "~", ".venv")
        ):
            continue
        suffix = Path(name).suffix
        if name.endswith("/"):
            written = name.rstrip("/").rpartition("/")[2] in _sources()
            assert written or _exists(page, name), f"{_name(page)}: {name}"
        elif suffix in SOURCE_FILES | {".ts", ".tsx", ".ipynb", ".toml", ".md", ".cff"}:
            assert _exists(page, name), f"{_name(page)}: {name}"
        elif suffix in {".json", ".jsonl", ".pt", ".safetensors", ".sqlite", ".html"}:
            written = name.rpartition("/")[2] in _sources()
            assert written or _exists(page, name), f"{_name(page)}: {name}"


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


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_variables(page: Path) -> None:
    """Every environment variable and parameter that a page names in capitals is read by the code."""
    for name in inline_code(page):
        if re.fullmatch(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)+", name):
            assert re.search(rf"\b{name}\b", _sources()), f"{_name(page)}: {name}"


def test_the_architecture_page_names_every_source_file() -> None:
    """docs/architecture.md lists the files of the library and the server, all of them and no others."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named: set[str] = set()
    for section in re.split(r"^## ", page, flags=re.M):
        folder = re.match(r"`((?:sae_pipeline|viz_analysis|sae_explorer)/[\w/]*)`", section)
        if folder:
            named |= {folder[1] + name for name in re.findall(r"^- `([\w/.]+)`: ", section, re.M)}
    present = {
        _name(path)
        for package in ("sae_pipeline", "viz_analysis", "sae_explorer")
        for path in (ROOT / package).rglob("*.*")
        if path.suffix in SOURCE_FILES and (path.name != "__init__.py" or path.stat().st_size > 100)
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


# --- commands ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_commands(page: Path) -> None:
    """Every command of a page is one that its program takes."""
    for command in commands(page):
        words = shlex.split(command.replace("…", "x"))
        while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
            assert words.pop(0).split("=")[0] in _sources(), command
        if words:
            _check(words, command)


def _check(words: list[str], command: str) -> None:
    program, rest = words[0].removeprefix(".venv/bin/"), words[1:]
    if program == "make":
        targets = [word for word in rest if "=" not in word]
        assert targets and all(re.search(rf"^{target}:", _makefile(), re.M) for target in targets), command
    elif program in ("python", "torchrun"):
        _check_python(rest, command)
    elif program == "sae-explorer":
        try:
            explorer.command_line().parse_args(rest)
        except SystemExit as done:
            assert done.code == 0, command  # it has printed something
    elif program == "uvx":
        assert rest[0] == "--from" and rest[2] == "sae-explorer", command
        _check(rest[2:], command)
    elif program == "docker" and rest[0] == "run":
        _check(rest[rest.index("sae-explorer") :], command)
    elif program == "docker":
        assert rest == ["build", "-t", "sae-explorer", "."] and (ROOT / "Dockerfile").is_file(), command
    elif program == "ssh":
        assert re.fullmatch(r"-L (\d+):localhost:\1 \S+", " ".join(rest)), command
    elif program == "pip":
        _check_pip(rest, command)
    elif program == "npm":
        scripts = json.loads((ROOT / "sae-viewer" / "package.json").read_bytes())["scripts"]
        assert rest[-1] in scripts or rest[0] in ("install", "test", "start"), command
    elif program == "cd":
        assert (ROOT / rest[0]).is_dir(), command
    elif program == "export":
        assert all(assignment.split("=")[0] in _sources() for assignment in rest), command
    else:
        assert program == "curl", f"no test knows how to check: {command}"  # test_requests sends it


def _check_python(words: list[str], command: str) -> None:
    while words[0] != "-m" and not words[0].endswith(".py"):
        words = words[2:] if words[0] == "--nproc-per-node" else words[1:]
    if words[0] == "-m":
        words = words[1:]
    name, flags = words[0], words[1:]
    if name == "sae_pipeline" and flags in ([], ["VERB"]):
        return  # the program's name in a sentence
    if name == "sae_pipeline":
        arguments = study_parser(None).parse_args(flags)
        if arguments.verb not in ("inspect", "report", "verify"):  # the others have configs
            arguments.config = None  # the reader's own file
            study_of(arguments, ROOT)
    elif name == "viz_analysis/feature_probe_server.py":
        process.command_line().parse_args(flags)
    elif name == "pytest":
        assert all((ROOT / flag).exists() for flag in flags if not flag.startswith("-")), command
    else:
        path = ROOT / (name if name.endswith(".py") else f"{name.replace('.', '/')}.py")
        source = path.read_text(encoding="utf-8")
        assert all(f'"{flag}"' in source for flag in flags if flag.startswith("--")), command


def _check_pip(words: list[str], command: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    known = {re.split(r"[<>=;\[]", name)[0] for names in extras.values() for name in names}
    assert words[0] == "install", command
    for word in words[1:]:
        if word.startswith(".["):
            assert word[2:-1] in extras, command
        elif own := re.fullmatch(r"finbert-sae-explorer(?:\[([\w,]+)\])?", word):
            assert own[1] is None or {*own[1].split(",")} <= extras.keys(), command
        elif word.endswith(".whl"):
            assert word == f"finbert_sae_explorer-{project['version']}-py3-none-any.whl", command
        elif not word.startswith("-"):
            assert (ROOT / word).is_file() or word in known, command


def test_the_nginx_block_is_one_that_nginx_takes(tmp_path: Path) -> None:
    """docs/reach.md has it, for the port at which the server listens."""
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if nginx is None:
        pytest.skip("nginx is not installed: apt-get install nginx-light")
    (block,) = [block.text for block in code_blocks(ROOT / "docs" / "reach.md") if block.language == "nginx"]
    assert f"127.0.0.1:{process.command_line().parse_args([]).port}/;" in block
    kinds_of_files = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = "".join(f"{kind}_temp_path {tmp_path}/{kind};" for kind in kinds_of_files)
    server = f"server {{ listen 127.0.0.1:8080; {block} }}"
    config = f"pid {tmp_path}/pid; events {{}} http {{ access_log off; {places} {server} }}"
    (tmp_path / "nginx.conf").write_text(config)
    done = subprocess.run([nginx, "-t", "-e", "stderr", "-c", tmp_path / "nginx.conf"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# --- the API -------------------------------------------------------------------------------------------


def _endpoints() -> set[tuple[str, str]]:
    paths = json.loads((ROOT / "sae-viewer" / "openapi.json").read_bytes())["paths"]
    return {(method.upper(), path) for path, methods in paths.items() for method in methods}


def test_endpoints() -> None:
    """docs/api.md names every endpoint with its method, and no page names another."""
    named = set(re.findall(r"`(GET|PUT|POST) (/api/\w+)`", prose(ROOT / "docs" / "api.md")))
    assert named == _endpoints()
    paths = {path for _, path in _endpoints()} | {"/api/openapi.json"}
    for page in PAGES:
        for path in re.findall(r"(?<![\w-])/api/[\w.]*\w", page.read_text(encoding="utf-8")):
            assert path in paths, f"{_name(page)}: {path}"


@pytest.fixture(scope="module")
def client(study: SmallStudy) -> FlaskClient:
    """The server with live probing on the small study's run."""
    source = RunFolder(study.root / "analysis_data")
    return create_app(source, live=ModelQueue(source, timeout_seconds=600)).test_client()


def test_requests(client: FlaskClient) -> None:
    """Every curl line of the pages is answered with 200."""
    sent = 0
    for page in PAGES:
        for command in commands(page):
            if command.startswith("curl") and "PUT" not in command:
                words = shlex.split(command)
                address = next(word for word in words if word.startswith("localhost:8765"))
                body = words[words.index("-d") + 1] if "-d" in words else None
                path = address.removeprefix("localhost:8765")
                answer = client.post(path, json=json.loads(body)) if body else client.get(path)
                assert answer.status_code == 200, f"{command}: {answer.get_json()}"
                sent += 1
    assert sent >= 7


# --- Python --------------------------------------------------------------------------------------------

PYTHON = [block for page in PAGES for block in code_blocks(page) if block.language == "python"]


@pytest.mark.parametrize("block", PYTHON, ids=lambda block: _name(block.page))
def test_snippets_compile_and_import(block: Code) -> None:
    """Every Python block is valid, and what it imports exists; the new kind's own module is the page's to define."""
    for node in ast.walk(ast.parse(block.text)):
        if isinstance(node, ast.ImportFrom):
            module = importlib.import_module(node.module or "")
            assert all(hasattr(module, name.name) or _is_module(module, name.name) for name in node.names)


def _is_module(package: ModuleType, name: str) -> bool:
    return importlib.import_module(f"{package.__name__}.{name}") is not None


def test_the_snippet_of_the_front_page(
    study: SmallStudy, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The README's six lines, with an SAE of the small study, print five features with their words."""
    (snippet,) = [block.text for block in PYTHON if block.page == README]
    assert len([line for line in snippet.splitlines() if line]) == 6
    assert snippet.count("layer_4_32k.pt") == 1
    monkeypatch.chdir(study.root)
    exec(snippet.replace("layer_4_32k.pt", "layer_4_2k.pt"), {})
    printed = capsys.readouterr().out
    assert len(re.findall(r"^\d+ \[['\"].+\]$", printed, re.M)) == 5, printed


def _extend(title: str) -> list[str]:
    """The Python blocks of a section of docs/extend.md."""
    page = (ROOT / "docs" / "extend.md").read_text(encoding="utf-8")
    section = page.split(f"\n## {title}\n")[1].split("\n## ")[0]
    return re.findall(r"```python\n(.*?)```", section, re.S)


def test_the_metric_of_the_extend_page() -> None:
    """The metric that the page defines gives one finite number per feature."""
    definition, _, _ = _extend("A metric")[0].partition("run = ")
    names: dict[str, Any] = {}
    exec(definition, names)
    values = names["mine"].compute(FeatureStats.empty(7, n_classes=3))
    assert values.shape == (7,) and np.isfinite(values).all()


def test_the_kind_of_the_extend_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """The step and the record that the page shows are all that a new kind needs: it trains."""
    step, record = _extend("A kind of SAE")
    *setup, call = ast.parse(record).body
    names: dict[str, Any] = {}
    exec(compile(ast.Module(setup, []), "extend.md", "exec"), names)
    assert isinstance(call, ast.Expr)
    made = eval(compile(ast.Expression(call.value), "extend.md", "eval"), names)
    module = ModuleType(made.step.partition(":")[0])
    exec(step, module.__dict__)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(kinds.KINDS, made.name, made)
    generator = torch.Generator().manual_seed(0)
    training = stepper(made.name, unit_rows(64, 16, generator))
    x = torch.randn(256, 16, generator=generator)
    losses = [training.step(x, 4e-3, 0.1).loss for _ in range(20)]
    assert losses[-1] < losses[0]
