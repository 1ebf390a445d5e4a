"""Writing runs: a run begins as a hidden draft folder, which is numbered and renamed when it is whole.

So a folder named `<YYYYmmdd-HHMMSS>_run-XXX` (UTC) is never half-written. A run's number is one higher than the highest
number in the folder, and is given under a lock, so that no two writers get the same one. A writer also holds a lock in
its draft. That lock is free when the writer has died, and then the next writer removes the draft.
"""

import errno
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from sae_pipeline.artefacts.checksums import file_sums, seal
from sae_pipeline.artefacts.locks import HeldError, locked
from sae_pipeline.errors import UserError, reason_of
from sae_pipeline.runs.compact_json import (
    ARRAY_END,
    NotFiniteError,
    RecordWriter,
    array,
    array_start,
    indented,
    lines,
)
from sae_pipeline.runs.fit import RunShape
from sae_pipeline.runs.folders import run_folders
from sae_pipeline.runs.index_draft import PARTIAL, IndexDraft
from sae_pipeline.schema.common import (
    FEATURE_STATS,
    FEATURE_TOKENS,
    HEADLINE_FEATURES,
    METADATA,
    PROMPTS,
    RUN_FILES,
    SCHEMA_VERSION,
)
from sae_pipeline.schema.dicts import (
    FeatureExamplesDict,
    FeatureStatsDict,
    HeadlineFeaturesDict,
    MadeWithDict,
    MetadataDict,
    NamesDict,
    NeighboursDict,
    Numbers,
    PromptDict,
)
from sae_pipeline.schema.names import NAMES, FeatureName
from sae_pipeline.schema.run import DECODER, NEIGHBOURS, RunMetadata

_DRAFT = ".draft-"
_ALIVE = ".alive"  # locked while the writer of the draft lives
_LOCK = ".lock"


@contextmanager
def new_run(analysis_dir: Path, made_with: MadeWithDict) -> Iterator["RunDraft"]:
    """Make a draft to fill. `finish` turns it into a run; a draft that is not finished in the block is removed.

    `made_with` are the models of the run, which each of its files names.

    Raises `UserError` if the folder cannot be written.
    """
    with ExitStack() as cleanup:
        with _errors_as_sentences(analysis_dir), locked(analysis_dir / _LOCK):
            _remove_dead_drafts(analysis_dir)
            folder = analysis_dir / f"{_DRAFT}{secrets.token_hex(8)}"
            cleanup.callback(shutil.rmtree, folder, ignore_errors=True)
            alive = cleanup.enter_context(ExitStack())
            alive.enter_context(locked(folder / _ALIVE))
        yield cleanup.enter_context(closing(RunDraft(folder, made_with, alive)))


# The bytes between and after the records of the files that have a record for each headline.
_PER_HEADLINE = {PROMPTS: (b"\n", b"\n"), HEADLINE_FEATURES: (b",\n", ARRAY_END)}


class RunPart:
    """One process's share of the files that have a record for each headline, in a folder of its own.

    Each process writes its share, and rank 0 joins them in the draft.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def writing(self, name: str) -> Iterator[RecordWriter]:
        """Write the records of `prompts.jsonl` or `headline_features.json` as they come."""
        with self._file(name) as write:
            yield RecordWriter(write, _PER_HEADLINE[name][0])

    @contextmanager
    def _file(self, name: str) -> Iterator[Callable[[bytes], None]]:
        """Open a file and give the function that writes to it.

        An error of the system and a number that is not finite become a UserError.
        """
        with _errors_as_sentences(self.folder.parent):
            file = (self.folder / name).open("wb", buffering=1 << 20)

        def write(data: bytes) -> None:  # only here, because the block's own OSErrors are not about this file
            with _errors_as_sentences(self.folder.parent):
                file.write(data)

        try:
            yield write
        except NotFiniteError as error:
            raise UserError(f"{name}, {error}; make it finite, no run was saved.") from error
        finally:
            with _errors_as_sentences(self.folder.parent):
                file.close()


class RunDraft(RunPart):
    """The files of a run that is being written, made by `new_run`.

    The records are of the types in `schema/dicts.py`, or their finished JSON. Floats are written with 6 significant
    digits. A number that is not finite is a `UserError` that names its place. `made_with` are the models of the run.
    """

    def __init__(self, folder: Path, made_with: MadeWithDict, alive: ExitStack) -> None:
        super().__init__(folder)
        self.made_with = made_with
        self.index: IndexDraft | None = None
        self._alive = alive  # holds the lock that says so

    def index_headlines(self, run: RunShape) -> None:
        """Fill the run's index with its headlines as they are written."""
        self.index = IndexDraft(self.folder, run)

    def close(self) -> None:
        """Close the index, whatever has become of it."""
        if self.index:
            self.index.close()

    @contextmanager
    def writing(self, name: str) -> Iterator[RecordWriter]:
        """Write the whole of `prompts.jsonl` or `headline_features.json`, record by record as they come."""
        between, end = _PER_HEADLINE[name]
        start = array_start(self.made_with, "headlines") + b"\n" if name == HEADLINE_FEATURES else b""
        with self._file(name) as write:
            write(start)
            seen = partial(self.index.add, name) if self.index else None
            writer = RecordWriter(write, between, len(start), seen)
            yield writer
            write(end if writer.n or name != PROMPTS else b"")

    def write_prompts(self, prompts: Iterable[PromptDict | bytes]) -> None:
        """Write `prompts.jsonl`."""
        with self.writing(PROMPTS) as file:
            file.add(prompts)

    def write_neighbours(self, neighbours: NeighboursDict, decoder: bytes) -> None:
        """Write `neighbours.json`, and `decoder.safetensors` as it is given."""
        self._write(NEIGHBOURS, lines([{**self.made_with, **neighbours}]))
        self._write(DECODER, iter([decoder]))

    def write_names(self, head: NamesDict, features: Iterable[FeatureName]) -> None:
        """Write `names.json`, one feature per line."""
        records = (one.model_dump() for one in features)
        self._write(NAMES, array({**self.made_with, **head}, "features", records))

    def write_feature_stats(self, stats: FeatureStatsDict) -> None:
        """Write `feature_stats.json`, one metric per line."""
        header = {**self.made_with, **{key: value for key, value in stats.items() if key != "metrics"}}
        self._write(FEATURE_STATS, array(header, "metrics", stats["metrics"]))

    def write_feature_tokens(self, histogram_edges: Numbers, features: Iterable[FeatureExamplesDict | bytes]) -> None:
        """Write `feature_tokens.json`; the features' histograms have one bin less than there are edges."""
        header = {**self.made_with, "histogram_edges": histogram_edges}
        self._write(FEATURE_TOKENS, array(header, "features", features))

    def write_headline_features(self, headlines: Iterable[HeadlineFeaturesDict | bytes]) -> None:
        """Write `headline_features.json`."""
        with self.writing(HEADLINE_FEATURES) as file:
            file.add(headlines)

    def finish(self, metadata: MetadataDict) -> Path:
        """Number the run, write `metadata.json` with the sizes and checksums of all files, and rename the draft.

        Returns the run's folder.
        """
        missing = [name for name in RUN_FILES[1:] if not (self.folder / name).exists()]
        if missing:
            raise ValueError(f"write {', '.join(missing)} before finish")
        analysis_dir = self.folder.parent
        if self.index:
            self.index.finish()
        with _errors_as_sentences(analysis_dir):
            paths = [path for path in self.folder.iterdir() if path.name not in (_ALIVE, PARTIAL)]
            for path in paths:
                _sync(path)
            files = file_sums(self.folder, [path.name for path in paths])
            with locked(analysis_dir / _LOCK):
                number = 1 + max((number for _, number in run_folders(analysis_dir)), default=0)
                now = datetime.now(UTC)
                whole = RunMetadata.model_validate(
                    {
                        **metadata,
                        **self.made_with,
                        "schema_version": SCHEMA_VERSION,
                        "run_id": f"run-{number:03d}",
                        "created_at": now.isoformat(timespec="seconds"),
                        "files": files,
                    }
                )
                (self.folder / METADATA).write_bytes(seal(indented(whole.model_dump())))
                _sync(self.folder / METADATA)
                self._alive.close()  # Windows renames no open file; the lock above keeps the draft from being removed
                (self.folder / _ALIVE).unlink()
                _sync(self.folder)
                run = analysis_dir / f"{now:%Y%m%d-%H%M%S}_{whole.run_id}"
                self.folder.rename(run)
                _sync(analysis_dir)
        return run

    def _write(self, name: str, pieces: Iterator[bytes]) -> None:
        with self._file(name) as write:
            for piece in pieces:
                write(piece)


def _remove_dead_drafts(analysis_dir: Path) -> None:
    """Remove the drafts whose writer has died. The folder's lock must be held, as drafts are made and renamed under it.

    A draft may lack its lock file, if its writer was killed while making or finishing it; then the file is made.
    """
    for folder in analysis_dir.glob(f"{_DRAFT}*"):
        with suppress(HeldError, OSError), locked(folder / _ALIVE, wait=False):
            shutil.rmtree(folder, ignore_errors=True)


def _sync(path: Path) -> None:
    """Wait until the disk holds what was written to a file or folder; Windows does not wait for folders."""
    if path.is_dir() and not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _errors_as_sentences(analysis_dir: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _unsaved(analysis_dir, error) from error


def _unsaved(analysis_dir: Path, error: OSError) -> UserError:
    cure = {
        errno.ENOSPC: "free some space there",
        errno.EDQUOT: "free some space there",
        errno.EACCES: "make the folder writable",
        errno.EROFS: "choose a folder on a writable disk",
    }.get(error.errno or 0, "choose another folder")
    return UserError(f"The run cannot be saved in {analysis_dir} ({reason_of(error)}); {cure} and analyse again.")
