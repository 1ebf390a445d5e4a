"""Two runs behind a client of the API; tests only read them."""

from pathlib import Path

import pytest
from flask.testing import FlaskClient

from sae_pipeline.runs.folders import Run, read_run
from tests.support.run_factory import write_run
from viz_analysis.feature_probe_server import create_app

N_HEADLINES, D_SAE, TOP = 40, 2000, 15  # of the latest run; TOP features of each metric have examples


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two runs, of which the latest is the larger."""
    folder = tmp_path_factory.mktemp("analysis_data")
    write_run(folder, n_headlines=5, d_sae=64, seed=1)
    write_run(folder, N_HEADLINES, D_SAE, TOP, seed=2)
    return folder


@pytest.fixture(scope="session")
def run(runs: Path) -> Run:
    """The latest run, as its files say."""
    return read_run(max(runs.glob("*_run-002")))


@pytest.fixture(scope="session")
def client(runs: Path) -> FlaskClient:
    """A client of a server without a built viewer."""
    return create_app(runs, viewer_dir=runs / "no-viewer").test_client()
