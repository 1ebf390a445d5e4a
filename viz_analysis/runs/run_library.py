"""The runs of a folder or an address, opened when they are asked for.

Every request looks at the folder, so new runs are offered and deleted ones disappear without a restart. A run that
still has to be fetched or indexed is opened in the background: a request waits a few seconds for it and is then told to
ask again.
"""

import logging
import sqlite3
import tempfile
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, wait
from pathlib import Path
from threading import Lock, Thread
from typing import TypeVar

from sae_pipeline import __version__
from sae_pipeline.artefacts.checksums import Stamp
from sae_pipeline.artefacts.checksums import stamp as stamp_of
from sae_pipeline.errors import UserError
from sae_pipeline.runs.folders import RunEntry, UnknownRunError
from sae_pipeline.runs.index import Progress, UnwritableIndexError, build_index, delete_index
from sae_pipeline.runs.run_files import DamagedRunError
from sae_pipeline.schema.causes import INTERVENTIONS
from viz_analysis.api.problems import IndexingError, NothingToServeError
from viz_analysis.api.run_types import HealthAnswer, RunSummary
from viz_analysis.runs.checks import RunChecks
from viz_analysis.runs.indexed_run import IndexedRun
from viz_analysis.runs.meaning import SharedEncoder
from viz_analysis.runs.reader import IndexMisfitError
from viz_analysis.runs.sources import RunFolder

_LOG = logging.getLogger(__name__)
_PATIENCE = 5.0  # seconds that a request waits for an index
Answer = TypeVar("Answer")


class _Opening:
    """A run that is opened in the background, from files with the stamp `stamp`."""

    def __init__(self, stamp: str) -> None:
        self.stamp = stamp
        self.result: Future[IndexedRun] = Future()
        self.index: Path | None = None
        self.index_stamp: Stamp | None = None  # when the run was opened
        self.activity = "indexed"
        self.progress = (0, 1)  # bytes read, bytes in all

    def advance(self, done: int, total: int) -> None:
        self.progress = (done, total)

    def holds(self, stamp: str) -> bool:
        """Whether the run's files still have this stamp, and the index is as it was when the run was opened."""
        if self.index is None or self.index_stamp is None:
            return self.stamp == stamp
        try:
            return self.stamp == stamp and stamp_of(self.index) == self.index_stamp
        except OSError:
            return False


class RunLibrary:
    """The runs of a source by id. The default one is `pinned`, or the latest at the time of asking.

    At most `capacity` runs stay open; an open run holds a few files and some numbers per feature.
    """

    def __init__(self, source: RunFolder, pinned: str | None = None, capacity: int = 8) -> None:
        self._source = source
        self._pinned = pinned
        self._capacity = capacity
        self._checks = RunChecks(source.compare)
        self._encoder = SharedEncoder()
        self._openings: OrderedDict[Path, _Opening] = OrderedDict()  # the one asked for last at the end
        self._lock = Lock()
        self._elsewhere: tempfile.TemporaryDirectory[str] | None = None  # indices of runs in read-only folders

    def get(self, run_id: str | None = None) -> IndexedRun:
        """A run ready to answer. Raises `UnknownRunError`, `DamagedRunError`, `IndexingError`."""
        folder = self._find(run_id)
        opening = self._opening(folder)
        if _is_done(opening, _PATIENCE):
            return self._run_of(folder, opening)
        done, total = opening.progress
        raise IndexingError(
            f"Run {folder.name} is being {opening.activity} ({done / total:.0%}); ask again in a moment."
        )

    def wait(self, progress: Progress) -> IndexedRun:
        """The default run, however long its index takes; `progress` is told how far it is. Raises like `get`."""
        folder = self._find(None)
        opening = self._opening(folder)
        while not _is_done(opening, 0.1):
            progress(*opening.progress)
        run = self._run_of(folder, opening)
        self.summaries()  # which begins to compare the other runs
        return run

    def ask(self, run_id: str | None, question: Callable[[IndexedRun], Answer]) -> Answer:
        """A run's answer to a question. A damaged index is built again, once. Raises like `get`."""
        run = self.get(run_id)
        try:
            return question(run)
        except (sqlite3.Error, IndexMisfitError, LookupError, ValueError) as error:
            _LOG.warning("The index of %s is damaged (%s); building it again.", run.folder, error)
            self._discard(run)
        try:
            return question(self.get(run_id))
        except (sqlite3.Error, IndexMisfitError) as error:
            raise UserError(f"Run {run.folder.name} changes while it is read ({error}); ask again.") from error

    def health(self) -> HealthAnswer:
        """What the default run holds. Raises `NothingToServeError` without one, else like `get`."""
        try:
            metadata = self.get().metadata
        except UnknownRunError as error:
            raise NothingToServeError(str(error)) from error
        return HealthAnswer(
            status="ok",
            version=__version__,
            run_id=metadata.run_id,
            n_headlines=metadata.totals.n_headlines,
            n_features=metadata.totals.n_features,
        )

    def newest_by_sae(self) -> dict[str, str]:
        """The newest run of every SAE that has one, by its hash."""
        oldest_first = reversed(self._source.entries())
        return {entry.metadata.sae_hash: entry.run_id for entry in oldest_first if entry.metadata}

    def summaries(self) -> list[RunSummary]:
        """All runs, newest first. Their files are compared with the checksums in the background."""
        entries = self._source.entries()
        default = self._find(None) if entries else None
        return [self._summary(entry, entry.folder == default) for entry in entries]

    def _find(self, run_id: str | None) -> Path:
        return self._source.find(run_id or self._pinned)

    def _opening(self, folder: Path) -> _Opening:
        """The opening of a run, which begins again where its files have changed."""
        stamp = self._source.stamp(folder)
        with self._lock:
            for deleted in [path for path in self._openings if not path.exists()]:
                del self._openings[deleted]  # closes its files, which would keep their space on the disk
            opening = self._openings.get(folder)
            if opening is None or not opening.holds(stamp):
                opening = self._openings[folder] = _Opening(stamp)
                Thread(target=self._open, args=(folder, opening), daemon=True).start()
            self._openings.move_to_end(folder)
            while len(self._openings) > self._capacity:
                self._openings.popitem(last=False)
        return opening

    def _open(self, folder: Path, opening: _Opening) -> None:
        try:
            opening.activity = "fetched"
            self._source.make_ready(folder, opening.advance)
            opening.activity = "indexed"
            try:
                opening.index = build_index(folder, opening.advance)
            except UnwritableIndexError:
                opening.index = build_index(folder, opening.advance, self._folder_elsewhere(folder.name))
            try:
                run = IndexedRun(folder, opening.index, self._encoder)
            except (sqlite3.Error, IndexMisfitError):  # its checksum fits, but it does not hold what this version reads
                delete_index(opening.index)
                run = IndexedRun(folder, build_index(folder, opening.advance, opening.index.parent), self._encoder)
            opening.index_stamp = stamp_of(opening.index)
            opening.result.set_result(run)
        except Exception as error:  # raised in the threads that wait for the run
            opening.result.set_exception(error)

    def _run_of(self, folder: Path, opening: _Opening) -> IndexedRun:
        """The run of an opening that is done, or its error.

        After an error that may pass, like a full disk, the next request tries again.
        """
        error = opening.result.exception()
        if error is not None and not isinstance(error, DamagedRunError):
            with self._lock:
                if self._openings.get(folder) is opening:
                    del self._openings[folder]
        return opening.result.result()

    def _discard(self, run: IndexedRun) -> None:
        """Close a run and delete its index."""
        with self._lock:
            opening = self._openings.get(run.folder)
            if opening is not None and _opened(opening) is run:
                del self._openings[run.folder]
                if opening.index:
                    delete_index(opening.index)

    def _folder_elsewhere(self, name: str) -> Path:
        with self._lock:
            self._elsewhere = self._elsewhere or tempfile.TemporaryDirectory(prefix="sae-index-")
        folder = Path(self._elsewhere.name) / name
        folder.mkdir(exist_ok=True)
        return folder

    def _summary(self, entry: RunEntry, is_default: bool) -> RunSummary:
        reason = entry.reason or self._damage(entry.folder)
        metadata = entry.metadata
        report = metadata.sae.report if metadata else None
        return RunSummary(
            run_id=entry.run_id,
            folder=entry.folder.name,
            created_at=metadata.created_at if metadata else None,
            readable=reason is None,
            reason=reason,
            is_default=is_default,
            preset=metadata.preset if metadata else None,
            model=metadata.classifier.model if metadata else None,
            sae_size=metadata.sae.size if metadata else None,
            layer=metadata.hookpoint.layer if metadata else None,
            n_headlines=metadata.totals.n_headlines if metadata else None,
            has_interventions=self._source.holds(entry.folder, INTERVENTIONS),
            sae_hash=metadata.sae_hash if metadata else None,
            d_sae=metadata.sae.d_sae if metadata else None,
            l0=report.held_out.l0 if report else None,
            fvu=report.held_out.fvu if report else None,
            unchanged=report.spliced.unchanged if report else None,
        )

    def _damage(self, folder: Path) -> str | None:
        """Why a run cannot be opened; None if no damage of its present files has been found yet."""
        stamp, opening = self._source.stamp(folder), self._openings.get(folder)
        if opening is not None and opening.stamp == stamp and opening.result.done():
            error = opening.result.exception()
            return str(error) if isinstance(error, DamagedRunError) else None
        return self._checks.damage(folder, stamp)


def _is_done(opening: _Opening, seconds: float) -> bool:
    """Whether a run is open or has failed to open, `seconds` from now at the latest."""
    return opening.result.done() or bool(wait([opening.result], seconds).done)


def _opened(opening: _Opening) -> IndexedRun | None:
    if not opening.result.done() or opening.result.exception() is not None:
        return None
    return opening.result.result()
