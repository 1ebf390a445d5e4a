"""`index.sqlite`: where each record lies in a run's JSON files, and the tables for searching and sorting them.

The index is made from the JSON files alone and can be deleted at any time. Its stamp has their sizes and times of
change, so that an index that no longer fits the files is recognised. Building it reads the files record by record.
Besides one record, memory holds about 40 bytes per headline and the columns of d_sae numbers.

| table | a row is |
| --- | --- |
| `about` | one fact: version, stamp, totals, metrics, histogram edges, `interventions.json` without its headlines |
| `vector` | one numpy array over all headlines or all features |
| `headline` | a headline: its id, and the byte offsets and lengths of its records |
| `headline_text` | its words (FTS5) |
| `posting` | a feature's headlines among 262,144 consecutive ones, and its weight in each (uint32, float32) |
| `feature` | a feature: the place of its examples, its word, a coarse histogram, and `FeatureFacts` as JSON |
| `fired` | a case-folded word on which a feature fires |

The weights of a headline are its strongest features' activations divided by their Euclidean length. Vectors over
headlines: `cell` (label · number of labels + prediction), `confidence`, and for every sort key and direction the
headlines in that order. Vectors over features: `headline_counts`, `density`, `leaning`, and `metric NAME` for all.
"""

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from tqdm.auto import tqdm

from sae_pipeline.artefacts.locks import locked_folder
from sae_pipeline.errors import UserError
from sae_pipeline.runs.feature_tables import FeatureTables
from sae_pipeline.runs.folders import DamagedRunError
from sae_pipeline.runs.headline_tables import HeadlineTables
from sae_pipeline.runs.index_tables import INDICES, SCHEMA, RunTables
from sae_pipeline.schema.causes import FEATURE_EFFECTS, INTERVENTIONS
from sae_pipeline.schema.common import RUN_FILES
from sae_pipeline.schema.family import FAMILY
from sae_pipeline.schema.run import NEIGHBOURS

INDEX = "index.sqlite"
VERSION = 2
INDEXED_FILES = (*RUN_FILES, NEIGHBOURS, FAMILY, FEATURE_EFFECTS, INTERVENTIONS)
_PARTIAL = ".index.partial"
Progress = Callable[[int, int], None]


def run_stamp(folder: Path) -> str:
    """The sizes and times of change of a run's files as text, which changes when a file does."""
    stamps: dict[str, list[int]] = {}
    for name in INDEXED_FILES:
        try:
            status = (folder / name).lstat()
        except OSError:
            continue
        stamps[name] = [status.st_size, status.st_mtime_ns]
    return json.dumps([VERSION, stamps])


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
    """Whether the run has an index that is whole and fits its files."""
    try:
        with closing(open_index(path or folder / INDEX)) as connection:
            found = connection.execute("SELECT value FROM about WHERE name = 'stamp'").fetchone()
    except sqlite3.Error:
        return False
    return found is not None and found[0] == run_stamp(folder)


def build_index(folder: Path, progress: Progress | None = None, into: Path | None = None) -> Path:
    """Make the index of a run, unless it has a current one. Returns the path of the index.

    The index is written in the run's folder, or in the folder `into`, under a temporary name. Processes that build the
    same index wait for each other. `progress` is told the bytes read and the bytes in all. Raises `DamagedRunError`
    for a run that cannot be read, and `UserError` if the index cannot be written.
    """
    target = (into or folder) / INDEX
    partial = target.with_name(_PARTIAL)
    try:
        with locked_folder(target.parent):
            if not index_is_current(folder, target):
                try:
                    _write(folder, partial, progress)
                    partial.replace(target)
                finally:
                    partial.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"The index of {folder.name} cannot be written ({error.strerror or error}).") from error
    except sqlite3.Error as error:
        raise UserError(f"The index of {folder.name} cannot be written ({error}); is the disk full?") from error
    return target


def index_run(folder: Path) -> None:
    """Make the index of a new run, with a progress bar. A failure to write it is printed, as the run needs no index."""
    try:
        with shown_progress("Indexing the run") as progress:
            build_index(folder, progress)
    except DamagedRunError:
        raise
    except UserError as error:
        print(f"{error} The server will try again.")


@contextmanager
def shown_progress(description: str) -> Iterator[Progress]:
    """A progress bar with the time left, for `build_index`."""
    with tqdm(desc=description, unit="B", unit_scale=True, delay=1, leave=False) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield show


def _write(folder: Path, path: Path, progress: Progress | None) -> None:
    stamp = run_stamp(folder)
    total = sum((folder / name).lstat().st_size for name in INDEXED_FILES if (folder / name).exists())
    done = 0

    def advance(n_bytes: int) -> None:
        nonlocal done
        done += n_bytes
        if progress:
            progress(done, total)

    path.unlink(missing_ok=True)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        # The file is used only when it is whole, so a journal would protect nothing.
        connection.executescript(
            "PRAGMA page_size = 8192; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -32768;"
        )
        connection.executescript(SCHEMA)
        connection.execute("BEGIN")
        run = RunTables(folder, connection, advance)
        features = FeatureTables(run)
        features.fill()
        headlines = HeadlineTables(run, features.d_sae, features.n_headlines)
        headlines.fill()
        features.examples(headlines.n_tokens)
        headlines.interventions()
        connection.execute("COMMIT")
        connection.executescript(INDICES)
        connection.execute("INSERT INTO about VALUES ('stamp', ?)", (stamp,))
    path.chmod(0o644)
