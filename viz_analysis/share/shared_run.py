"""Find and open the run that is shared."""

import tempfile
from pathlib import Path

from flask.testing import FlaskClient

from sae_pipeline.runs.folders import find_run
from sae_pipeline.runs.index import UnwritableIndexError, build_index, shown_progress
from sae_pipeline.runs.run_files import read_metadata
from viz_analysis.feature_probe_server import create_app
from viz_analysis.share.archive import ArchiveWriter
from viz_analysis.share.bench import live_answer
from viz_analysis.share.contents import Grain, add_run


class SharedRun:
    """A run of the study in `root`, by its number or name; the latest for None. Raises UserError."""

    def __init__(self, root: Path, run: str | None) -> None:
        self._folder = find_run(root / "analysis_data", run)
        self.metadata = metadata = read_metadata(self._folder)
        self.run_id = metadata.run_id
        self.n_headlines, self.d_sae = metadata.totals.n_headlines, metadata.totals.n_features
        self.title = f"FinBERT SAE Explorer {self.run_id}"

    def add_to(self, archive: ArchiveWriter, grain: Grain, has_model: bool = False) -> None:
        """Add the run to an archive; `has_model` says that its model is beside it. Raises `DamagedRunError`."""
        with tempfile.TemporaryDirectory() as elsewhere, shown_progress("Indexing the run") as progress:
            try:
                index = build_index(self._folder, progress)
            except UnwritableIndexError:
                index = build_index(self._folder, progress, Path(elsewhere))
            live = live_answer(self.run_id) if has_model else None
            add_run(archive, self._folder, index, self._client(), grain, live)

    def _client(self) -> FlaskClient:
        """A client of a server whose default run is this one."""
        return create_app(self._folder.parent, self._folder.name).test_client()
