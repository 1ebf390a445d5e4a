"""Where the runs that are served come from: a folder, or an address with a copy in a folder of the cache.

A thread in the background looks every few seconds at the list of runs at an address and fetches their `metadata.json`;
no request waits for that. The other files of a run are fetched when a request first names the run. Only files that
belong to a run are fetched. The index is not fetched but built here.
"""

import json
import logging
import shutil
import time
from collections import defaultdict
from pathlib import Path
from threading import Thread

from sae_pipeline.artefacts.checksums import MAX_RECORD_BYTES
from sae_pipeline.artefacts.mirror import Mirror
from sae_pipeline.artefacts.remote_files import RemoteFile, is_remote, local_path
from sae_pipeline.artefacts.writing import write_file
from sae_pipeline.errors import UserError
from sae_pipeline.runs.folders import RunEntry, UnknownRunError, check_all_files, check_run, find_run, list_runs
from sae_pipeline.runs.index import INDEXED_FILES, Progress, index_is_current, run_stamp
from sae_pipeline.runs.run_files import DamagedRunError, damaged
from sae_pipeline.schema.common import METADATA
from sae_pipeline.schema.labels import LABELS
from sae_pipeline.schema.run import RunMetadata


def run_source(address: str, pause: float = 10.0) -> "RunFolder":
    """The runs at a path or an address. An address is looked at every `pause` seconds from now on.

    Raises UserError for an address that cannot be read.
    """
    if not is_remote(address):
        return RunFolder(local_path(address))
    source = RemoteRuns(address)
    source.look()
    Thread(target=source.watch, args=(pause,), daemon=True).start()
    return source


class RunFolder:
    """The runs in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def entries(self) -> list[RunEntry]:
        """All runs, newest first."""
        return list_runs(self.folder)

    def find(self, run_id: str | None) -> Path:
        """The folder of a run, whose files may still be missing. Raises UnknownRunError."""
        return find_run(self.folder, run_id)

    def stamp(self, run: Path) -> str:
        """A stamp that changes when the run's files change."""
        return run_stamp(run)

    def holds(self, run: Path, name: str) -> bool:
        """Whether a run has a file."""
        return (run / name).is_file()

    def make_ready(self, run: Path, progress: Progress) -> None:
        """Fetch the files of a run that are missing in its folder; here none are."""

    def compare(self, run: Path) -> None:
        """Compare the files of a run with their checksums, unless they fit its index. Raises DamagedRunError."""
        if not index_is_current(run):
            check_run(run)

    def study(self, run: RunMetadata) -> Path:
        """The folder whose `finbert_sae/` has the classifier and the SAE of a run."""
        return self.folder.resolve().parent

    def refresh(self, path: Path) -> RemoteFile | None:
        """Fetch the present state of a file beside the runs; here it is always present."""
        return None

    def replace(self, path: Path, data: bytes, seen: RemoteFile | None) -> None:
        """Write a file beside the runs, whole or not at all; `seen` is what `refresh` returned."""
        write_file(path, data)


class RemoteRuns(RunFolder):
    """The runs at an address."""

    def __init__(self, address: str) -> None:
        self._parent = address.rstrip("/").rpartition("/")[0]
        self._mirror = Mirror(address)
        self._runs: dict[str, dict[str, RemoteFile]] = {}  # replaced as a whole, so that readers need no lock
        self._unread: dict[str, UserError] = {}
        super().__init__(self._mirror.folder)

    def look(self) -> None:
        """Note new runs and labels, and forget deleted ones. Raises RemoteError."""
        recorded = self._mirror.recorded()  # before the files are listed, as a label may be written meanwhile
        files = self._mirror.list_files()
        runs = defaultdict[str, dict[str, RemoteFile]](dict)
        for path, file in files.items():
            folder, _, name = path.partition("/")
            if name in INDEXED_FILES:
                runs[folder][name] = file
        whole = {folder: held for folder, held in runs.items() if METADATA in held}  # which is sent last
        small = {f"{folder}/{METADATA}": held[METADATA] for folder, held in whole.items()}
        small |= {n: f for n, f in files.items() if n.startswith(f"{LABELS}/") and n.endswith(".json")}
        small = {name: file for name, file in small.items() if file.size <= MAX_RECORD_BYTES}
        self._unread = self._mirror.pull_available(small)
        for folder in whole:  # also those whose metadata.json could not be fetched
            (self.folder / folder).mkdir(exist_ok=True)
        self._runs = whole
        self._mirror.forget(recorded - files.keys())
        for left in self.folder.iterdir():
            if left.is_dir() and left.name[0] != "." and left.name != LABELS and left.name not in whole:
                shutil.rmtree(left, ignore_errors=True)

    def watch(self, pause: float) -> None:
        """Look every `pause` seconds for ever. While the address cannot be read, the runs seen last are served."""
        failing = False
        while True:
            time.sleep(pause)
            try:
                self.look()
                failing = False
            except Exception as error:  # of any kind: the runs that were fetched are still served
                if not failing:
                    logging.getLogger(__name__).warning("%s Serving the runs that were fetched before.", error)
                failing = True

    def entries(self) -> list[RunEntry]:
        """All runs, newest first."""
        return list_runs(self.folder, self._runs, self._size_of)

    def find(self, run_id: str | None) -> Path:
        """The folder of a run, whose files may still be missing. Raises UnknownRunError."""
        try:
            return find_run(self.folder, run_id, self._runs)
        except UnknownRunError as error:
            raise UnknownRunError(str(error).replace(str(self.folder), self._mirror.address)) from error

    def stamp(self, run: Path) -> str:
        """A stamp that changes when the run's files at the address change."""
        return json.dumps(sorted((name, file.stamp) for name, file in self._runs.get(run.name, {}).items()))

    def holds(self, run: Path, name: str) -> bool:
        """Whether a run has a file at the address."""
        return name in self._runs.get(run.name, {})

    def make_ready(self, run: Path, progress: Progress) -> None:
        """Fetch the files of a run that are missing in its folder. Raises RemoteError."""
        held = self._runs.get(run.name)
        if held is None:
            raise UnknownRunError(f"Run {run.name} is no longer at {self._mirror.address}.")
        if held[METADATA].size > MAX_RECORD_BYTES:
            raise damaged(run, METADATA, "", f"is larger than {MAX_RECORD_BYTES >> 20} MiB")
        files = {f"{run.name}/{name}": file for name, file in held.items()}
        self._mirror.pull(files, progress)
        try:
            check_all_files(run)
        except DamagedRunError:  # the copy may have been damaged since it was fetched
            shutil.rmtree(run, ignore_errors=True)
            self._mirror.pull(files, progress)
        if run.name not in self._runs:
            shutil.rmtree(run, ignore_errors=True)

    def compare(self, run: Path) -> None:
        """Leave the files alone: they are compared when they have been fetched."""

    def study(self, run: RunMetadata) -> Path:
        """Fetch a run's classifier and SAE into a folder of the cache; that folder. Raises RemoteError."""
        if self._parent.endswith(":/"):
            raise UserError(f"{self._mirror.address} has no finbert_sae/ beside it; serve a folder of the bucket.")
        mirror, store = Mirror(self._parent), "finbert_sae/store"
        for name in (run.classifier_hash, run.sae_hash):
            mirror.pull(mirror.list_files(f"{store}/{name}"))
        return mirror.folder

    def refresh(self, path: Path) -> RemoteFile | None:
        """Fetch the present state of a file beside the runs. Raises RemoteError."""
        return self._mirror.refresh(path.relative_to(self.folder).as_posix())

    def replace(self, path: Path, data: bytes, seen: RemoteFile | None) -> None:
        """Write a file at the address, then its copy. Raises RemoteError, and ChangedFileError as `Mirror.replace`."""
        self._mirror.replace(path.relative_to(self.folder).as_posix(), data, seen)

    def _size_of(self, run: Path, name: str) -> int:
        """The bytes of a file at the address. Raises DamagedRunError where there is none."""
        if not self.holds(run, name):
            raise damaged(run, name, "", f"is not at {self._mirror.address}")
        if name == METADATA and f"{run.name}/{name}" in self._unread:
            raise DamagedRunError(str(self._unread[f"{run.name}/{name}"]))
        return self._runs[run.name][name].size
