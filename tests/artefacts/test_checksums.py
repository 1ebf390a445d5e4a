"""Sealed JSON and the files of a record: every change of a byte is found."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sae_pipeline.artefacts.checksums import (
    MissingError,
    check_files,
    check_sealed,
    file_sums,
    read_sealed,
    seal,
    seal_of,
    unseal,
    without_seal,
    write_sealed,
)
from sae_pipeline.errors import DamageError

JSON = b'{"name": "Bearish", "d_sae": 4096}'


def test_sealed_json_comes_back(tmp_path: Path) -> None:
    """The JSON is the same after sealing and reading, and so is its checksum."""
    path = tmp_path / "record.json"
    write_sealed(path, JSON)
    check_sealed(path)
    assert read_sealed(path, 1 << 20) == JSON == without_seal(path.read_bytes())
    assert seal_of(path.read_bytes()) == seal_of(seal(JSON))


@given(st.integers(0, len(seal(JSON)) - 1), st.integers(1, 255))
def test_any_changed_byte_is_found(at: int, mask: int) -> None:
    """A file in which one byte differs is refused, wherever the byte is."""
    data = bytearray(seal(JSON))
    data[at] ^= mask
    with pytest.raises(DamageError):
        unseal(bytes(data))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (JSON, "has no checksum"),
        (b"", "has no checksum"),
        (seal(JSON)[:-1], "has changed"),
        (seal(JSON) + b" ", "has changed"),
        (seal(JSON) * 100, "is larger than"),
    ],
    ids=["unsealed", "empty", "cut", "longer", "too large"],
)
def test_what_is_not_sealed_json_is_refused(tmp_path: Path, data: bytes, says: str) -> None:
    """The message says what is wrong with the file."""
    path = tmp_path / "record.json"
    path.write_bytes(data)
    with pytest.raises(DamageError, match=says):
        read_sealed(path, 200)


def test_a_sealed_file_above_the_limit_is_not_read(tmp_path: Path) -> None:
    """A file that begins like a sealed one and goes on for ever costs no time."""
    path = tmp_path / "sparse.json"
    write_sealed(path, JSON)
    with path.open("r+b") as file:
        file.truncate(1 << 40)  # reading it would take a quarter of an hour
    with pytest.raises(DamageError, match="is larger than 1 MiB"):
        check_sealed(path, 1 << 20)


def _touched_back(path: Path, data: bytes) -> None:
    """Replace a file's content and give it its old times of change, as far as a program can."""
    status = path.stat()
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_files_are_compared_with_their_record(tmp_path: Path) -> None:
    """A change, a cut, a link and a missing file are found, each with the file's name."""
    for name in ("a.bin", "b.bin"):
        (tmp_path / name).write_bytes(os.urandom(1000))
    files = file_sums(tmp_path, ["b.bin", "a.bin"])
    assert list(files) == ["a.bin", "b.bin"]
    check_files(tmp_path, files)
    good = (tmp_path / "b.bin").read_bytes()
    _touched_back(tmp_path / "b.bin", good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(DamageError, match=r"^b\.bin has changed"):
        check_files(tmp_path, files)
    (tmp_path / "b.bin").write_bytes(good[:10])
    with pytest.raises(DamageError, match=r"^b\.bin has 10 of 1,000 bytes"):
        check_files(tmp_path, files)
    (tmp_path / "b.bin").unlink()
    with pytest.raises(MissingError, match=r"^b\.bin is missing"):
        check_files(tmp_path, files)
    (tmp_path / "good").write_bytes(good)
    (tmp_path / "b.bin").symlink_to(tmp_path / "good")
    with pytest.raises(DamageError, match=r"^b\.bin is not a plain file"):
        check_files(tmp_path, files)


def test_a_file_that_was_read_is_read_again_after_a_change(tmp_path: Path) -> None:
    """What is remembered of an old file does not hide a change that keeps size and time."""
    path = tmp_path / "a.bin"
    path.write_bytes(bytes(1000))
    os.utime(path, ns=(0, 0))
    files = file_sums(tmp_path, ["a.bin"])
    check_files(tmp_path, files)
    _touched_back(path, bytes(999) + b"\x01")
    with pytest.raises(DamageError):
        check_files(tmp_path, files)
