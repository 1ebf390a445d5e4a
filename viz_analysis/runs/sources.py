"""Where the runs that are served come from: a folder, or an address of which a folder in the cache is the copy.

Of an address, the list of runs and their `metadata.json` are looked at every few seconds in the background; no request
waits for that. A run's other files are fetched when somebody first asks for the run. Only files that belong to a run
are ever fetched, and an index never: it is made here.
"""

import json
import logging
import shutil
import time
from collections import defaultdict
from pathlib import Path
from threading import Thread

from sae_pipeline.artefacts.mirror import Mirror, RemoteFile, is_remote, local_path
from sae_pipeline.artefacts.writing import write_file
from sae_pipeline.errors import UserError
from sae_pipeline.runs.folders import (
    MAX_METADATA_BYTES,
    METADATA,
    DamagedRunError,
    RunEntry,
    UnknownRunError,
    damaged,
    find_run,
    list_runs,
)
from sae_pipeline.runs.index import INDEXED_FILES, Progress, run_stamp
from sae_pipeline.schema.run import DECODER, RunMetadata

LABELS = "labels"  # the folder of human labels beside the runs
_RUN_FILES = {*INDEXED_FILES, DECODER}


def run_source(address: str, pause: float = 10.0) -> "RunFolder":
    """The runs at a path or an address; the latter is watched from now on, every `pause` seconds.

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
        """The folder of a run, which need not be ready. Raises UnknownRunError."""
        return find_run(self.folder, run_id)

    def stamp(self, run: Path) -> str:
        """Equal as long as nobody has touched the run."""
        return run_stamp(run)

    def holds(self, run: Path, name: str) -> bool:
        """Whether a run has a file."""
        return (run / name).is_file()

    def make_ready(self, run: Path, progress: Progress) -> None:
        """Have all files of a run in its folder."""

    def study(self, run: RunMetadata) -> Path:
        """The folder whose `finbert_sae/` has the classifier and the SAE of a run."""
        return self.folder.resolve().parent

    def refresh(self, path: Path) -> None:
        """Have a file beside the runs as it is now."""

    def write(self, path: Path, data: bytes) -> None:
        """Write a file beside the runs, whole or not at all."""
        write_file(path, data)


class RemoteRuns(RunFolder):
    """The runs at an address."""

    def __init__(self, address: str) -> None:
        self._mirror = Mirror(address)
        self._runs: dict[str, dict[str, RemoteFile]] = {}  # replaced as a whole, so that readers need no lock
        self._unread: dict[str, UserError] = {}
        super().__init__(self._mirror.folder)

    def look(self) -> None:
        """Learn of new runs and labels, forget deleted ones. Raises RemoteError."""
        known, files = self._mirror.known(), self._mirror.look()  # in this order: a label may be written meanwhile
        runs = defaultdict[str, dict[str, RemoteFile]](dict)
        for path, file in files.items():
            folder, _, name = path.partition("/")
            if name in _RUN_FILES:
                runs[folder][name] = file
        whole = {folder: held for folder, held in runs.items() if METADATA in held}  # it is sent last
        small = {f"{folder}/{METADATA}": held[METADATA] for folder, held in whole.items()}
        small |= {n: f for n, f in files.items() if n.startswith(f"{LABELS}/") and n.endswith(".json")}
        small = {name: file for name, file in small.items() if file.size <= MAX_METADATA_BYTES}
        self._unread = self._mirror.pull_what_comes(small)
        for folder in whole:  # of which metadata.json could not be fetched, too
            (self.folder / folder).mkdir(exist_ok=True)
        self._runs = whole
        self._mirror.forget(known - files.keys())
        for left in self.folder.iterdir():
            if left.is_dir() and left.name[0] != "." and left.name != LABELS and left.name not in whole:
                shutil.rmtree(left, ignore_errors=True)

    def watch(self, pause: float) -> None:
        """Look every `pause` seconds for ever; while the address cannot be read, what was seen last holds."""
        failing = False
        while True:
            time.sleep(pause)
            try:
                self.look()
                failing = False
            except Exception as error:  # whatever it is: the runs that are here are served on
                if not failing:
                    logging.getLogger(__name__).warning("%s Serving what was there before.", error)
                failing = True

    def entries(self) -> list[RunEntry]:
        """All runs, newest first."""
        return list_runs(self.folder, self._runs, self._check)

    def find(self, run_id: str | None) -> Path:
        """The folder of a run, which need not be ready. Raises UnknownRunError."""
        try:
            return find_run(self.folder, run_id, self._runs)
        except UnknownRunError as error:
            raise UnknownRunError(str(error).replace(str(self.folder), self._mirror.address)) from error

    def stamp(self, run: Path) -> str:
        """Equal as long as nobody has touched the run at the address."""
        return json.dumps(sorted((name, file.stamp) for name, file in self._runs.get(run.name, {}).items()))

    def holds(self, run: Path, name: str) -> bool:
        """Whether a run has a file at the address."""
        return name in self._runs.get(run.name, {})

    def make_ready(self, run: Path, progress: Progress) -> None:
        """Fetch what is missing of a run. Raises RemoteError."""
        held = self._runs.get(run.name)
        if held is None:
            raise UnknownRunError(f"Run {run.name} is no longer at {self._mirror.address}.")
        if held[METADATA].size > MAX_METADATA_BYTES:
            raise damaged(run, METADATA, "", f"is larger than {MAX_METADATA_BYTES >> 20} MiB")
        self._mirror.pull({f"{run.name}/{name}": file for name, file in held.items()}, progress)
        if run.name not in self._runs:
            shutil.rmtree(run, ignore_errors=True)

    def study(self, run: RunMetadata) -> Path:
        """Fetch classifier and SAE of a run from beside the runs. Raises RemoteError."""
        parent = self._mirror.address.rpartition("/")[0]
        if parent.endswith(":/"):
            raise UserError(f"{self._mirror.address} has no finbert_sae/ beside it; serve a folder of the bucket.")
        mirror, store = Mirror(parent), "finbert_sae/store"
        for name in (run.classifier_hash, run.sae_hash):
            mirror.pull(mirror.look(f"{store}/{name}"))
        return mirror.folder

    def refresh(self, path: Path) -> None:
        """Have a file beside the runs as it is at the address now. Raises RemoteError."""
        self._mirror.refresh(path.relative_to(self.folder).as_posix())

    def write(self, path: Path, data: bytes) -> None:
        """Write a file at the address, then here. Raises RemoteError."""
        self._mirror.write(path.relative_to(self.folder).as_posix(), data)

    def _check(self, run: Path, name: str) -> None:
        """Raises DamagedRunError for a file that is not at the address."""
        if not self.holds(run, name):
            raise damaged(run, name, "", f"is not at {self._mirror.address}")
        if name == METADATA and f"{run.name}/{name}" in self._unread:
            raise DamagedRunError(str(self._unread[f"{run.name}/{name}"]))
