"""Fixtures that several test files share."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from sae_pipeline.classifier.classifier import Classifier
from sae_pipeline.config import StudyConfig
from sae_pipeline.study import present
from tests.support.cases import Case
from tests.support.encoders import ENCODERS, save_encoder
from tests.support.small_study import build

REAL_DATA = Path(__file__).parent.parent.parent / "shared" / "data" / "twitter-financial-news-sentiment"

SHARED_TABLES = REAL_DATA.parent.parent / "tables"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first, so that two workers end together: those of whole studies, and of them the mutants."""
    items.sort(key=lambda item: (item.path.parent.name != "whole", item.path.name != "test_integrity.py"))


@dataclass(frozen=True)
class SmallStudy:
    """A finished small study."""

    root: Path
    config: StudyConfig

    @property
    def run(self) -> Path:
        """Its run folder."""
        return max((self.root / "analysis_data").glob("*_run-*"))

    def copied(self, into: Path) -> Path:
        """A root with copies of its weights and its run, which may be written to."""
        shutil.copytree(self.root / "finbert_sae", into / "finbert_sae")
        shutil.copytree(self.run, into / "analysis_data" / self.run.name)
        return into


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> SmallStudy:
    """Real BERT weights, fine-tuned, extracted, two SAEs, one run. Read only."""
    root = Path(os.environ.get("TEST_STUDY") or tmp_path_factory.mktemp("study"))
    return SmallStudy(root, build(root))


@pytest.fixture(scope="session")
def classifier(study: SmallStudy) -> Classifier:
    """The small study's classifier. Read only."""
    return present.load_classifier(study.root, torch.device("cpu"))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real headlines, which is not part of the repository."""
    if not REAL_DATA.is_dir():
        pytest.skip(f"the real headlines are not at {REAL_DATA}")
    return REAL_DATA


@pytest.fixture(scope="session")
def shared_tables() -> Path:
    """The folder of tables as people have them, which is not part of the repository."""
    if not SHARED_TABLES.is_dir():
        pytest.skip(f"the tables are not at {SHARED_TABLES}")
    return SHARED_TABLES


@pytest.fixture(scope="module", params=list(ENCODERS))
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    """One per family."""
    folder = tmp_path_factory.mktemp(request.param)
    save_encoder(request.param, folder)
    return Case(folder)


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Case:
    """BERT alone, where families do not matter."""
    folder = tmp_path_factory.mktemp("bert")
    save_encoder("bert", folder)
    return Case(folder)
