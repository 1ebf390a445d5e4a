"""Files are written whole or not at all, whoever else writes them and however the last writer ended."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sae_pipeline.artefacts.writing import write_file


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
