"""The map of a run, also of one whose names or neighbours are damaged."""

from pathlib import Path

import pytest

from sae_pipeline.analysis.feature_map import feature_map
from sae_pipeline.runs.folders import read_run
from sae_pipeline.schema.names import NAMES
from sae_pipeline.schema.run import NEIGHBOURS
from tests.support.indexed_runs import D_SAE, write_whole_run
from tests.support.run_edits import contradicting, replaced


def test_a_damaged_file_that_the_run_can_do_without_is_named_and_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whether its checksum or its content is wrong, all features that fire have a place."""
    folder = write_whole_run(tmp_path)
    whole = feature_map(read_run(folder), 0, None, None)
    assert capsys.readouterr().out == ""
    contradicting(NEIGHBOURS, lambda d: d["by_cofiring"][3].__setitem__(0, D_SAE))(folder)
    replaced(NAMES, b"0.8125", b"0.8126")(folder)
    found = feature_map(read_run(folder), 0, None, None)
    assert found.features == whole.features and found.method != whole.method
    beyond, changed = capsys.readouterr().out.splitlines()
    assert f"without this file: {NEIGHBOURS}, by_cofiring.3: are not up to" in beyond
    assert f"without this file: {NAMES} has changed since" in changed
