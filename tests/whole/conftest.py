"""The fixture of tests that change a study."""

import os
import shutil
from pathlib import Path

import pytest

from tests.conftest import SmallStudy


@pytest.fixture
def copy(study: SmallStudy, tmp_path: Path) -> Path:
    """A copy of the small study that a test may change."""
    return Path(shutil.copytree(study.root, tmp_path / "copy", copy_function=_link))


def _link(source: str, target: str) -> None:
    """Link immutable artefacts and copy all else."""
    if "store" in source or source.endswith(".safetensors"):
        os.link(source, target)
    else:
        shutil.copy2(source, target)
