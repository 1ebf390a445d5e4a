"""What verbs found about a whole run: each file with its features' names, and a sentence for a run without it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from sae_pipeline.runs.folders import Run, read_run
from tests.support.indexed_runs import calibration_of, client_of, contrast_of, diff_of, get, mending_of, write_whole_run

FILES = [("contrast", contrast_of), ("mending", mending_of), ("calibration", calibration_of), ("diff", diff_of)]


@pytest.mark.parametrize(("name", "content"), FILES)
def test_the_file_with_found_names(name: str, content: Callable[[Run], dict[str, Any]], tmp_path: Path) -> None:
    """All that the file says, and the names that the analysis found for its features."""
    run = read_run(write_whole_run(tmp_path))
    answer = get(client_of(tmp_path), name)
    found = answer.pop("found_names")
    prompts = answer.pop("prompts", {})
    assert answer == content(run)
    named = get(client_of(tmp_path), "feature_info", id=3)["found_name"]
    assert named and found["3"] == named
    assert all(prompts[number]["text"] == run.prompts[int(number)].text for number in prompts)
    assert set(prompts) == ({"4"} if name == "diff" else set())


@pytest.mark.parametrize(
    ("name", "verb"), [("mending", "mend"), ("calibration", "calibrate"), ("contrast", "contrast"), ("diff", "diff")]
)
def test_a_run_without_it(name: str, verb: str, client: FlaskClient) -> None:
    """404, and the command that makes it."""
    answer = client.get(f"/api/{name}")
    assert (answer.status_code, answer.json["error"]["code"]) == (404, f"no_{name}")
    assert f"run `python -m sae_pipeline {verb} --run run-002`" in answer.json["error"]["message"]
