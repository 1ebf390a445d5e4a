"""The documentation is tested: what its pages tell a reader to run, ask or write works."""

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
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

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
from tests.support.pages import PAGES, README, ROOT, Code, code_blocks, commands, name_of, prose, sources
from viz_analysis.feature_probe_server import create_app
from viz_analysis.live.queue import ModelQueue
from viz_analysis.runs.sources import RunFolder
from viz_analysis.web import process


@cache
def _makefile() -> str:
    return (ROOT / "Makefile").read_text(encoding="utf-8")


# --- commands ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands(page: Path) -> None:
    """Every command of a page is one that its program takes."""
    for command in commands(page):
        words = shlex.split(command.replace("…", "x"))
        while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
            assert words.pop(0).split("=")[0] in sources(), command
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
        assert all(assignment.split("=")[0] in sources() for assignment in rest), command
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
            assert path in paths, f"{name_of(page)}: {path}"


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


@pytest.mark.parametrize("block", PYTHON, ids=lambda block: name_of(block.page))
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
