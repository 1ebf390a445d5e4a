"""The runs of a folder or an address, opened when they are asked for.

A folder is looked at on every request: a new run is offered and a deleted one gone without a restart. A run that is
not here yet or without a current index gets ready first, in the background: whoever asks meanwhile waits a little and
is then told to come back.
"""

import logging
import os
import sqlite3
import tempfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from threading import Event, Lock, Thread
from typing import TypeVar

from sae_pipeline.errors import UserError
from sae_pipeline.runs.folders import DamagedRunError, RunEntry
from sae_pipeline.runs.index import Progress, build_index
from sae_pipeline.schema.causes import INTERVENTIONS
from viz_analysis.api.types import RunSummary
from viz_analysis.runs.indexed_run import IndexedRun
from viz_analysis.runs.reader import IndexMisfitError
from viz_analysis.runs.sources import RunFolder

_PATIENCE = 5.0  # seconds that a request waits for an index
Answer = TypeVar("Answer")


class IndexingError(UserError):
    """The run is being fetched or its index made; the message says how far that is."""


class _Shelf:
    """A run at one state of its files: being indexed, open, or why it cannot be."""

    def __init__(self, stamp: str) -> None:
        self.stamp = stamp
        self.done = Event()
        self.run: IndexedRun | Exception | None = None
        self.index: Path | None = None
        self.doing = "indexed"
        self.progress = (0, 1)  # bytes read, of

    def advance(self, done: int, total: int) -> None:
        self.progress = (done, total)


class RunLibrary:
    """The runs of a source by id. The default one is `pinned`, or the latest at the time of asking.

    At most `capacity` runs stay open; an open one holds a few files and some numbers per feature.
    """

    def __init__(self, source: RunFolder, pinned: str | None = None, capacity: int = 8) -> None:
        self._source = source
        self._pinned = pinned
        self._capacity = capacity
        self._shelves: OrderedDict[Path, _Shelf] = OrderedDict()
        self._lock = Lock()
        self._elsewhere: tempfile.TemporaryDirectory[str] | None = None  # indices of runs that we may not write to

    def get(self, run_id: str | None = None) -> IndexedRun:
        """A run ready to answer. Raises `UnknownRunError`, `DamagedRunError`, `IndexingError`."""
        folder = self._find(run_id)
        shelf = self._shelf(folder)
        if not shelf.done.wait(_PATIENCE):
            read, total = shelf.progress
            raise IndexingError(
                f"Run {folder.name} is being {shelf.doing} ({read / total:.0%}); ask again in a moment."
            )
        return self._opened(folder, shelf)

    def wait(self, progress: Progress) -> IndexedRun:
        """The default run, however long its index takes; `progress` is told how far it is. Raises like `get`."""
        folder = self._find(None)
        shelf = self._shelf(folder)
        while not shelf.done.wait(0.1):
            progress(*shelf.progress)
        return self._opened(folder, shelf)

    def ask(self, run_id: str | None, question: Callable[[IndexedRun], Answer]) -> Answer:
        """A run's answer; an index that turns out damaged is made anew, once. Raises like `get`."""
        run = self.get(run_id)
        try:
            return question(run)
        except (sqlite3.Error, IndexMisfitError, LookupError, ValueError) as error:
            logging.getLogger(__name__).warning("the index of %s is damaged (%s); making it anew", run.folder, error)
            self._discard(run)
        try:
            return question(self.get(run_id))
        except (sqlite3.Error, IndexMisfitError) as error:
            raise UserError(f"Run {run.folder.name} changes while it is read ({error}); ask again.") from error

    def newest_by_sae(self) -> dict[str, str]:
        """The newest run of every SAE that has one, by its hash."""
        oldest_first = reversed(self._source.entries())
        return {entry.metadata.sae_hash: entry.run_id for entry in oldest_first if entry.metadata}

    def summaries(self) -> list[RunSummary]:
        """All runs, newest first."""
        entries = self._source.entries()
        default = self._find(None) if entries else None
        return [self._summary(entry, entry.folder == default) for entry in entries]

    def _find(self, run_id: str | None) -> Path:
        return self._source.find(run_id or self._pinned)

    def _shelf(self, folder: Path) -> _Shelf:
        stamp = self._source.stamp(folder)
        with self._lock:
            for gone in [path for path in self._shelves if not path.exists()]:
                del self._shelves[gone]  # closes its files, which would keep their space on the disk
            shelf = self._shelves.get(folder)
            if shelf is None or shelf.stamp != stamp:
                shelf = self._shelves[folder] = _Shelf(stamp)
                Thread(target=self._open, args=(folder, shelf), daemon=True).start()
            self._shelves.move_to_end(folder)
            while len(self._shelves) > self._capacity:
                self._shelves.popitem(last=False)
        return shelf

    def _open(self, folder: Path, shelf: _Shelf) -> None:
        try:
            shelf.doing = "fetched"
            self._source.make_ready(folder, shelf.advance)
            shelf.doing = "indexed"
            into = None if os.access(folder, os.W_OK) else self._folder_elsewhere(folder.name)
            shelf.index = build_index(folder, shelf.advance, into)
            try:
                shelf.run = IndexedRun(folder, shelf.index)
            except (sqlite3.Error, IndexMisfitError):  # it was there already, and is not what it says
                shelf.index.unlink(missing_ok=True)
                shelf.run = IndexedRun(folder, build_index(folder, shelf.advance, into))
        except Exception as error:  # whoever asked raises it
            shelf.run = error
        finally:
            shelf.done.set()

    def _opened(self, folder: Path, shelf: _Shelf) -> IndexedRun:
        if isinstance(shelf.run, IndexedRun):
            return shelf.run
        if not isinstance(shelf.run, DamagedRunError):  # may pass, like a full disk: try anew when asked again
            with self._lock:
                if self._shelves.get(folder) is shelf:
                    del self._shelves[folder]
        assert shelf.run is not None
        raise shelf.run

    def _discard(self, run: IndexedRun) -> None:
        with self._lock:
            shelf = self._shelves.get(run.folder)
            if shelf is not None and shelf.run is run:
                del self._shelves[run.folder]
                if shelf.index:
                    shelf.index.unlink(missing_ok=True)

    def _folder_elsewhere(self, name: str) -> Path:
        with self._lock:
            self._elsewhere = self._elsewhere or tempfile.TemporaryDirectory(prefix="sae-index-")
        folder = Path(self._elsewhere.name) / name
        folder.mkdir(exist_ok=True)
        return folder

    def _summary(self, entry: RunEntry, is_default: bool) -> RunSummary:
        shelf = self._shelves.get(entry.folder)
        known = shelf.run if shelf and shelf.stamp == self._source.stamp(entry.folder) else None
        reason = entry.reason or (str(known) if isinstance(known, DamagedRunError) else None)
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
