"""Runs the browser tests behind proxies, in JupyterLab and of the bench of a site. A part of `benchmarks/reach.py`."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

VIEWER = Path(__file__).resolve().parents[1] / "sae-viewer"


def browser() -> dict[str, Any]:
    """The seconds that each browser test took, and figures that tests noted.

    Raises AssertionError where one failed or was left out.
    """
    command = ["npx", "playwright", "test", "reach.spec", "shared-bench.spec", "--reporter=json"]
    environment = {"E2E_ANALYSIS_DIR": "../build/test-study/analysis_data"} | os.environ | {"REACH": "full"}
    done = subprocess.run(command, cwd=VIEWER, env=environment, capture_output=True, text=True)
    report = json.loads(done.stdout)
    tests = [test for suite in report["suites"] for test in _tests(suite)]
    assert tests and not report["errors"], report["errors"]
    wrong = {title: test["status"] for title, test in tests if test["status"] != "expected"}
    assert not wrong, wrong
    seconds = {title: round(sum(one["duration"] for one in test["results"]) / 1000, 1) for title, test in tests}
    return seconds | {note["type"]: float(note["description"]) for _, test in tests for note in test["annotations"]}


def _tests(suite: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The titles and results of a suite and the suites in it."""
    for spec in suite["specs"]:
        yield spec["title"], spec["tests"][0]
    for inner in suite.get("suites", []):
        yield from _tests(inner)
