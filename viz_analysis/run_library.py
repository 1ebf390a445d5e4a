"""The runs of a folder, loaded when they are asked for.

The folder is looked at on every request: a new run is offered and a deleted one gone without a restart. A
loaded run is kept until its files change or `capacity` others have been used since.
"""

import gc
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from sae_pipeline.runs import DamagedRunError, RunEntry, find_run, list_runs, read_run
from sae_pipeline.schema import INTERVENTIONS, RUN_FILES, InterventionsFile
from viz_analysis.api_types import CompareAnswer, CompareQuery, FeatureMatches, InterventionsAnswer, RunSummary
from viz_analysis.loaded_run import LoadedRun, NoInterventionsError

Stamp = tuple[tuple[int, int] | None, ...]


@dataclass
class _Shelf:
    """A run at one state of its files: loaded, or why it cannot be."""

    stamp: Stamp
    run: LoadedRun | DamagedRunError


class RunLibrary:
    """Runs of `analysis_dir` by id. The default one is `pinned`, or the latest at the time of asking."""

    def __init__(self, analysis_dir: Path, pinned: str | None = None, capacity: int = 4) -> None:
        self.analysis_dir = analysis_dir
        self._pinned = pinned
        self._capacity = capacity
        self._shelves: OrderedDict[Path, _Shelf] = OrderedDict()
        self._lock = Lock()

    def get(self, run_id: str | None = None) -> LoadedRun:
        """A run ready to answer. Raises `UnknownRunError`, `DamagedRunError`."""
        folder = find_run(self.analysis_dir, run_id or self._pinned)
        stamp = _stamp(folder)
        with self._lock:  # also while loading: two requests for one run shall not both read it
            shelf = self._shelves.get(folder)
            if shelf is None or shelf.stamp != stamp:
                shelf = self._shelves[folder] = _Shelf(stamp, _load(folder))
            self._shelves.move_to_end(folder)
            while len(self._shelves) > self._capacity:
                self._shelves.popitem(last=False)
        if isinstance(shelf.run, DamagedRunError):
            raise shelf.run
        return shelf.run

    def summaries(self) -> list[RunSummary]:
        """All runs, newest first."""
        entries = list_runs(self.analysis_dir)
        default = find_run(self.analysis_dir, self._pinned) if entries else None
        return [self._summary(entry, entry.folder == default) for entry in entries]

    def interventions(self, run_id: str | None) -> InterventionsAnswer:
        """`interventions.json` without its headlines. Raises `NoInterventionsError` and like `get`."""
        run = self.get(run_id).metadata.run_id
        folder = find_run(self.analysis_dir, run_id or self._pinned)
        if not (folder / INTERVENTIONS).is_file():
            raise NoInterventionsError(
                f"{run} has no causal evidence yet; make it with `python -m sae_pipeline intervene`."
            )
        whole = InterventionsFile.model_validate_json((folder / INTERVENTIONS).read_bytes())
        return InterventionsAnswer.model_validate(whole.model_dump(exclude={"headlines"}))

    def compare(self, query: CompareQuery) -> CompareAnswer:
        """The same headline in several runs. Raises like `get`."""
        runs = [self.get(name) for name in query.runs.split(",")]
        return CompareAnswer(
            runs=[run.metadata for run in runs],
            headlines=[run.headline_of(query.headline_id) for run in runs],
            matches=[FeatureMatches(run_id=run.metadata.run_id, features=[]) for run in runs[1:]],
        )

    def _summary(self, entry: RunEntry, is_default: bool) -> RunSummary:
        shelf = self._shelves.get(entry.folder)
        found_damaged = shelf and isinstance(shelf.run, DamagedRunError) and shelf.stamp == _stamp(entry.folder)
        reason = entry.reason or (str(shelf.run) if shelf and found_damaged else None)
        metadata = entry.metadata
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
            has_interventions=(entry.folder / INTERVENTIONS).is_file(),
            sae_hash=metadata.sae_hash if metadata else None,
            d_sae=metadata.sae.d_sae if metadata else None,
            l0=metadata.sae.report.held_out.l0 if metadata else None,
            fvu=metadata.sae.report.held_out.fvu if metadata else None,
            unchanged=metadata.sae.report.spliced.unchanged if metadata else None,
        )


def _load(folder: Path) -> LoadedRun | DamagedRunError:
    gc.disable()  # a run is many small objects without cycles, which the collector would walk again and again
    try:
        return LoadedRun(read_run(folder))
    except DamagedRunError as error:
        return error
    finally:
        gc.freeze()  # nor shall it walk them later, during requests
        gc.enable()


def _stamp(folder: Path) -> Stamp:
    """When each file was last changed, in ns, and its size in bytes; None where it is missing."""
    stamps: list[tuple[int, int] | None] = []
    for name in RUN_FILES:
        try:
            status = (folder / name).stat()
            stamps.append((status.st_mtime_ns, status.st_size))
        except OSError:
            stamps.append(None)
    return tuple(stamps)
