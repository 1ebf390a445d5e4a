"""`/api/mending`: the file with the names of its features, and a sentence for a run without it."""

from pathlib import Path

from flask.testing import FlaskClient

from sae_pipeline.runs.folders import read_run
from tests.support.indexed_runs import client_of, get, mending_of, write_whole_run


def test_the_file_with_found_names(tmp_path: Path) -> None:
    """All that the file says, and the names that the analysis found for its features."""
    run = read_run(write_whole_run(tmp_path))
    answer = get(client_of(tmp_path), "mending")
    found = answer.pop("found_names")
    assert answer == mending_of(run)
    named = get(client_of(tmp_path), "feature_info", id=3)["found_name"]
    assert named and found["3"] == named


def test_a_run_without_it(client: FlaskClient) -> None:
    """404, and the command that makes it."""
    answer = client.get("/api/mending")
    assert (answer.status_code, answer.json["error"]["code"]) == (404, "no_mending")
    assert "`python -m sae_pipeline mend --run run-002` searches" in answer.json["error"]["message"]
