"""Fixtures of the tests about papers."""

from pathlib import Path

import pytest

from sae_pipeline.__main__ import main
from tests.conftest import SmallStudy


@pytest.fixture(scope="module")
def paper(study: SmallStudy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The paper of the small study, whose archive has no weights."""
    out = tmp_path_factory.mktemp("paper") / "out"
    assert main(["paper", "--root", str(study.root), "--out", str(out), "--weights", "no"]) == 0
    return out
