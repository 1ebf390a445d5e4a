"""Files are written whole or not at all, whoever else writes them and however the last writer ended."""

import errno
import resource
import shutil
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from sae_pipeline.artefacts.writing import new_folder, readable_os_errors, write_file
from sae_pipeline.errors import ResourceError


def test_what_a_killed_writer_left_is_taken_over(tmp_path: Path) -> None:
    """A longer, unfinished file under the temporary name leaves no trace."""
    (tmp_path / ".partial-record.json").write_bytes(b"x" * 1000)
    write_file(tmp_path / "record.json", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["record.json"]
    assert (tmp_path / "record.json").read_bytes() == b"new"
    assert (tmp_path / "record.json").stat().st_mode & 0o777 == 0o644


def test_writers_of_one_path_take_turns(tmp_path: Path) -> None:
    """Of many writers at once one is the last, and its bytes are there whole; nothing is left over."""
    path = tmp_path / "record.json"
    contents = [bytes([65 + n]) * (10_000 * (n + 1)) for n in range(16)]
    with ThreadPoolExecutor(16) as pool:
        for _ in range(5):
            list(pool.map(lambda data: write_file(path, data), contents))
            assert path.read_bytes() in contents
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_write_keeps_the_file_before(tmp_path: Path) -> None:
    """An error while writing is raised; the old file stays and the temporary one goes."""
    path = tmp_path / "record.json"
    write_file(path, b"old")
    with pytest.raises(TypeError):
        write_file(path, "no bytes")  # type: ignore[arg-type]
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def _save_tokenizer(path: Path) -> None:
    Tokenizer(WordLevel({f"word-{i}": i for i in range(1000)}, unk_token="word-0")).save(str(path))


def _copy_folder(path: Path) -> None:
    shutil.copytree(Path(readable_os_errors.__code__.co_filename).parent, path)


@pytest.mark.parametrize(
    "write",
    [
        lambda path: path.write_bytes(bytes(10_000)),
        lambda path: save_file({"W": torch.zeros(10_000)}, path),
        _save_tokenizer,
        _copy_folder,
    ],
    ids=["python", "safetensors", "tokenizers", "copytree"],
)
def test_a_disk_that_takes_no_more(tmp_path: Path, write: Callable[[Path], None]) -> None:
    """Each library's own error becomes one sentence. The disk is simulated by a limit on the size of files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, hard))
    try:
        with pytest.raises(ResourceError) as caught, readable_os_errors(tmp_path, "--to"):
            write(tmp_path / "file")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert str(caught.value) == (
        f"Cannot write to {tmp_path}: the file is larger than this disk allows; choose another folder with --to."
    )


@pytest.mark.parametrize("library", ["sqlite3", "numpy"])
def test_libraries_with_errors_of_their_own_for_a_full_disk(tmp_path: Path, library: str) -> None:
    """SQLite has a number of its own, and numpy only counts."""
    if library == "numpy":
        error: Exception = OSError("1000 requested and 512 written")
    else:
        with closing(sqlite3.connect(tmp_path / "file")) as connection, pytest.raises(sqlite3.Error) as caught:
            connection.executescript("PRAGMA max_page_count = 1; CREATE TABLE t (x); CREATE TABLE u (x);")
        error = caught.value
    with pytest.raises(ResourceError, match="the disk is full; free some space"), readable_os_errors(tmp_path):
        raise error


def test_a_folder_that_cannot_be_put_leaves_the_one_before(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").touch()
    with pytest.raises(FileNotFoundError), new_folder(tmp_path / "out", "--out"):
        pass
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "old"]
    with new_folder(tmp_path / "out", "--out") as partial:
        partial.mkdir()
    assert [path.name for path in tmp_path.rglob("*")] == ["out"]


def test_an_error_of_the_disk_inside_another_one(tmp_path: Path) -> None:
    """A library's error that was raised from a full disk's is a full disk; one from anything else is passed on."""
    for number, expected in ((errno.ENOSPC, ResourceError), (errno.ECONNRESET, RuntimeError)):
        with pytest.raises(expected), readable_os_errors(tmp_path):
            raise RuntimeError("the download failed") from OSError(number, "reason")
