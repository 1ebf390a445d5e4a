"""`index.sqlite`: where each record lies in a run's JSON files, and the tables for searching and sorting them.

The index can be deleted at any time, and is then made from the run's files alone. Building it compares the files with
their checksums, and reads them record by record. While `analyze` writes headlines, it fills their tables already.
Besides one record, memory holds about 50 bytes per headline and the columns of d_sae numbers. `index.json` is written
last: it has the checksums and stamps of all these files and of the index. A file with another stamp is compared with
its checksum again, and the index is made again only if a content has changed.

| table | a row is |
| --- | --- |
| `about` | totals, metrics, columns, family, files left out, regions, what verbs found, head of causal findings |
| `vector` | one numpy array over all headlines or all features |
| `headline` | a headline: its id, and the byte offsets and lengths of its records |
| `headline_text` | its words (FTS5) |
| `column_value` | a value of one of the table's other columns: its place in their order, from 1, and its headlines |
| `posting` | a feature's headlines among 262,144 consecutive ones, and its weight in each (uint32, float32) |
| `feature` | a feature: the place of its examples, word, coarse histogram, found name, and `FeatureFacts` as JSON |
| `fired` | a case-folded word on which a feature fires |

The weights of a headline are its strongest features' activations divided by their Euclidean length. Vectors over
headlines: `cell` (label · number of labels + prediction), `confidence`, and for every sort key and direction the
headlines in that order, and `column 0`, `column 1`, …: the place of each headline's value, 0 where it has none. Vectors
over features: `headline_counts`, `density`, `leaning`, and `metric NAME` for all. Vectors over the
features on the map: `map feature`, `map x`, `map y`, `map region`. For the other SAEs of `family.json`, by their
place in `about`: `family 0 feature`, `family 0 cosine`, `family 0 found`, …: each feature's counterpart there.
"""

import json
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Literal

from tqdm.auto import tqdm

from sae_pipeline.artefacts.checksums import SETTLED_NS, Stamp, read_record, sha256, stamp, write_record
from sae_pipeline.artefacts.locks import locked_folder
from sae_pipeline.artefacts.writing import move_aside
from sae_pipeline.errors import DamageError, ResourceError, UserError
from sae_pipeline.runs.added_tables import fill_added
from sae_pipeline.runs.feature_tables import FeatureTables
from sae_pipeline.runs.folders import check_run
from sae_pipeline.runs.headline_tables import read_headlines
from sae_pipeline.runs.index_draft import PARTIAL, IndexDraft, new_partial, open_partial
from sae_pipeline.runs.index_tables import INDICES, RunTables
from sae_pipeline.runs.run_files import ADDED_BY, DamagedRunError, added_limit
from sae_pipeline.schema.common import RUN_FILES, FileName, Record, Sha256
from sae_pipeline.schema.names import NAMES
from sae_pipeline.schema.run import DECODER, NEIGHBOURS, RunMetadata

INDEX, INDEX_RECORD = INDEX_FILES = ("index.sqlite", "index.json")
INDEXED_FILES = (
    *RUN_FILES,
    NEIGHBOURS,
    DECODER,
    NAMES,
    *ADDED_BY,
)
Progress = Callable[[int, int], None]


class UnwritableIndexError(UserError):
    """The index cannot be written in its folder."""


class SeenFile(Record):
    """A file as it was when the index was made from it."""

    stamp: Stamp
    sha256: Sha256 | None  # null: not a plain file, or not of a size that it may have, so left out unread


class IndexRecord(Record):
    """`index.json`."""

    version: Literal[9]
    seen_at: int  # ns since 1970, before the files were read
    files: dict[FileName, SeenFile]  # of the run, and the index itself


def run_stamp(folder: Path) -> str:
    """The stamps of a run's files as text, which changes when a file does."""
    stamps = {}
    for name in INDEXED_FILES:
        with suppress(OSError):
            stamps[name] = stamp(folder / name)
    return json.dumps(stamps)


def open_index(path: Path) -> sqlite3.Connection:
    """A read-only connection to a finished index. Raises `sqlite3.Error`.

    The file is not trusted: its schema may not call functions, and its pages are checked as they are read.
    """
    if path.is_symlink() or not path.is_file():
        raise sqlite3.DatabaseError(f"{path.name} is not a plain file")
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True, check_same_thread=False)
    connection.executescript("PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; PRAGMA query_only = ON;")
    return connection


def index_is_current(folder: Path, path: Path | None = None) -> bool:
    """Whether the run has an index that is whole and fits its files. Files whose stamps have changed are read."""
    path = path or folder / INDEX
    try:
        record = read_record(path.with_name(INDEX_RECORD), IndexRecord)
        now, paths = time.time_ns(), [*_present(folder), path]
        if {file.name for file in paths} != record.files.keys():
            return False
        stamps = _stamps(paths)
        unsure = [file for file in paths if not _is_sure(record, file.name, stamps[file.name])]
        if any(_has_changed(file, record.files[file.name], stamps[file.name]) for file in unsure):
            return False
    except (DamageError, OSError):
        return False
    if unsure:
        files = {name: SeenFile(stamp=stamps[name], sha256=seen.sha256) for name, seen in record.files.items()}
        with suppress(OSError, ResourceError):  # the next reader compares the files again
            write_record(path.with_name(INDEX_RECORD), IndexRecord(version=9, seen_at=now, files=files))
    return True


def build_index(
    folder: Path, progress: Progress | None = None, into: Path | None = None, draft: IndexDraft | None = None
) -> Path:
    """Make the index of a run, unless it has a current one. Returns the path of the index.

    The index is written in the run's folder, or in the folder `into`, under a temporary name. Processes that build the
    same index wait for each other. `progress` is told the bytes read and the bytes in all. A `draft` has the headlines
    of a run that has just been written. Raises `DamagedRunError` for a run that cannot be read, and
    `UnwritableIndexError`.
    """
    target = (into or folder) / INDEX
    partial = target.with_name(PARTIAL)
    try:
        with locked_folder(target.parent):
            if not index_is_current(folder, target):
                if target.is_dir() and not target.is_symlink():
                    raise IsADirectoryError("it is a folder")
                try:
                    now, stamps = time.time_ns(), _stamps(_present(folder))
                    metadata = _write(folder, partial, draft, progress)
                    delete_index(target)  # so that the record of another index never stands beside this one
                    partial.replace(target)
                    files = {name: _seen(folder / name, at, _fits(metadata, name, at)) for name, at in stamps.items()}
                    if _stamps(_present(folder)) != stamps:
                        raise DamageError("does not fit any more, because a file has changed meanwhile")
                    files[INDEX] = _seen(target, stamp(target))
                    write_record(target.with_name(INDEX_RECORD), IndexRecord(version=9, seen_at=now, files=files))
                finally:
                    partial.unlink(missing_ok=True)
    except DamageError as error:
        raise UnwritableIndexError(f"The index of {folder.name} {error}; ask again.") from error
    except (OSError, ResourceError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise UnwritableIndexError(
            f"The index of {folder.name} cannot be written ({reason}); free some space or make the folder writable."
        ) from error
    except sqlite3.Error as error:
        cure = "; free some space" if error.sqlite_errorcode == sqlite3.SQLITE_FULL else ""
        raise UnwritableIndexError(f"The index of {folder.name} cannot be written ({error}){cure}.") from error
    return target


def damaged_files(path: Path) -> list[str]:
    """Sentences about the files that an index was made without, because they are damaged. Raises `sqlite3.Error`."""
    with closing(open_index(path)) as connection:
        ((left_out,),) = connection.execute("SELECT value FROM about WHERE name = 'left_out'")
    return list(json.loads(left_out).values())


def delete_index(path: Path) -> None:
    """Delete an index and its record."""
    for name in INDEX_FILES:
        path.with_name(name).unlink(missing_ok=True)


def _present(folder: Path) -> list[Path]:
    """The files that an index is made from and that are there, whatever they are."""
    paths = (folder / name for name in INDEXED_FILES)
    return [path for path in paths if path.exists() or path.is_symlink()]


def _stamps(paths: Iterable[Path]) -> dict[str, Stamp]:
    return {path.name: stamp(path) for path in paths}


def _seen(path: Path, at: Stamp, fits: bool = True) -> SeenFile:
    read = fits and path.is_file() and not path.is_symlink()
    return SeenFile(stamp=at, sha256=sha256(path) if read else None)


def _fits(metadata: RunMetadata, name: str, at: Stamp) -> bool:
    """Whether a file has a size that it may have; the index is made without any other."""
    known = metadata.files.get(name)
    return at[0] <= added_limit(metadata) if known is None else at[0] == known.size


def _has_changed(path: Path, seen: SeenFile, now: Stamp) -> bool:
    return seen.stamp != now if seen.sha256 is None else _seen(path, now).sha256 != seen.sha256


def _is_sure(record: IndexRecord, name: str, now: Stamp) -> bool:
    """Whether a file must be as it was, because a change would have changed its stamp."""
    seen = record.files[name].stamp
    return seen == now and seen[2] + SETTLED_NS < record.seen_at


def index_new_run(folder: Path, draft: IndexDraft | None) -> None:
    """Make the index of a run that has just been written. A run that does not pass the checks is set aside.

    A `draft` has its headlines already. Raises UserError for a run that is set aside.
    """
    try:
        index_run(folder, draft)
    except DamagedRunError as error:
        kept = move_aside(folder)
        raise UserError(
            f"The run does not pass its own checks ({error.what}) and is kept as {kept}; run the same command again."
        ) from error


def index_run(folder: Path, draft: IndexDraft | None = None) -> None:
    """Make the index of a run, with a progress bar. A failure to write it is printed, as the run needs no index."""
    try:
        with shown_progress("Indexing the run") as progress:
            build_index(folder, progress, draft=draft)
    except UnwritableIndexError as error:
        print(f"{error} The server will try again.")


@contextmanager
def shown_progress(description: str) -> Iterator[Progress]:
    """A progress bar with the time left, for `build_index`."""
    with tqdm(desc=description, unit="B", unit_scale=True, delay=1, leave=False) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield show


def _write(folder: Path, path: Path, draft: IndexDraft | None, progress: Progress | None) -> RunMetadata:
    """Fill an index, which has the headlines already if there is a draft of it. Returns the run's metadata."""
    metadata = check_run(folder)
    begun = draft.headlines if draft and path.exists() else None
    total = sum((folder / name).lstat().st_size for name in INDEXED_FILES if (folder / name).exists())
    done = 0

    def advance(n_bytes: int) -> None:
        nonlocal done
        done += n_bytes
        if progress:
            progress(done, total)

    with closing(open_partial(path) if begun else new_partial(path)) as connection:
        connection.execute("BEGIN")
        run = RunTables(folder, metadata, connection, advance)
        headlines = begun or read_headlines(run)
        features = FeatureTables(run)
        features.fill()
        headlines.check(metadata, features.stats)
        features.examples(headlines.n_tokens)
        fill_added(run, headlines)
        run.about("left_out", json.dumps(run.left_out))
        connection.execute("COMMIT")
        connection.executescript(INDICES)
    path.chmod(0o644)
    return metadata
