"""The index of a run: it is made anew whatever happened to it, and whenever the run changes."""

import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from sae_pipeline.artefacts.checksums import read_record, sha256, stamp, write_record
from sae_pipeline.errors import UserError
from sae_pipeline.headlines.text import headline_id
from sae_pipeline.runs.index import (
    INDEX,
    INDEX_FILES,
    INDEX_RECORD,
    INDEXED_FILES,
    IndexRecord,
    SeenFile,
    build_index,
    index_is_current,
)
from sae_pipeline.runs.run_files import DamagedRunError
from tests.support.indexed_runs import N, client_of, get, write_whole_run
from tests.support.run_edits import content, contradicting, edited
from tests.support.run_factory import write_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with every optional file."""
    return write_whole_run(tmp_path_factory.mktemp("analysis_data"))


def everything(client: FlaskClient) -> list[Any]:
    pages = ["headlines?limit=500", "features?limit=500", "feature_info?id=3", "similar_headlines?headline=0"]
    return [get(client, page) for page in pages]


def spoil(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    return lambda index: index.write_bytes(change(index.read_bytes())) and None


def forge(statement: str) -> Callable[[Path], None]:
    def apply(index: Path) -> None:
        connection = sqlite3.connect(index)
        connection.execute(statement)
        connection.commit()
        connection.close()

    return apply


def link_elsewhere(index: Path) -> None:
    secret = index.parent.parent / "secret"
    index.rename(secret)
    index.symlink_to(secret)


SPOILT: dict[str, Callable[[Path], None]] = {
    "deleted": Path.unlink,
    "empty": spoil(lambda data: b""),
    "a bit flipped": spoil(lambda data: data[:-9] + bytes([data[-9] ^ 1]) + data[-8:]),
    "truncated": spoil(lambda data: data[: len(data) // 3]),
    "noise": spoil(lambda data: bytes(len(data))),
    "pages overwritten": spoil(lambda data: data[:8192] + b"\xff" * (len(data) - 8192)),
    "text": spoil(lambda data: b"not a database" * 1000),
    "no totals": forge("DELETE FROM about WHERE name = 'n_headlines'"),
    "no rows": forge("DELETE FROM headline"),
    "false places": forge("UPDATE headline SET prompt_at = prompt_at + 3"),
    "places beyond the file": forge("UPDATE headline SET features_at = 1 << 62"),
    "places that are no numbers": forge("UPDATE headline SET prompt_at = 'x', prompt_bytes = -1"),
    "false headlines": forge("UPDATE posting SET headlines = x'ffffffff', weights = x'00000000'"),
    "false facts": forge("UPDATE feature SET facts = '[]'"),
    "a link": link_elsewhere,
}


def reseal(index: Path) -> None:
    """Make `index.json` say that the index is right."""
    path = index.with_name(INDEX_RECORD)
    record = read_record(path, IndexRecord)
    seen = SeenFile(stamp=stamp(index), sha256=sha256(index))
    write_record(path, record.model_copy(update={"files": {**record.files, INDEX: seen}}))


@pytest.mark.parametrize("how", SPOILT)
@pytest.mark.parametrize("sealed", [False, True], ids=["", "under a record that fits"])
def test_an_index_that_is_gone_or_false_is_made_anew(folder: Path, tmp_path: Path, how: str, sealed: bool) -> None:
    copy = tmp_path / folder.name
    shutil.copytree(folder, copy)
    expected = everything(client_of(tmp_path))
    SPOILT[how](copy / INDEX)
    if sealed and (copy / INDEX).is_file() and how != "a bit flipped":
        reseal(copy / INDEX)
    assert everything(client_of(tmp_path)) == expected
    assert index_is_current(copy) and not (copy / INDEX).is_symlink()
    assert {path.name for path in copy.iterdir()} == {*INDEXED_FILES, *INDEX_FILES}


@pytest.mark.parametrize(
    "data", [None, b"", b"{}", b"[" * 1000, bytes(1 << 27)], ids=["gone", "empty", "{}", "[", "huge"]
)
def test_a_record_of_the_index_that_is_gone_or_false_is_made_anew(folder: Path, tmp_path: Path, data: bytes) -> None:
    copy = tmp_path / folder.name
    shutil.copytree(folder, copy)
    build_index(copy)
    (copy / INDEX_RECORD).unlink() if data is None else (copy / INDEX_RECORD).write_bytes(data)
    assert not index_is_current(copy)
    assert get(client_of(tmp_path), "health")["n_headlines"] == N
    assert index_is_current(copy)


def test_an_index_is_kept_as_long_as_the_contents_fit(folder: Path, tmp_path: Path) -> None:
    """A copy has other stamps and the same contents; a change that keeps size and time is found all the same."""
    copy = tmp_path / folder.name
    build_index(folder)
    shutil.copytree(folder, copy, copy_function=shutil.copyfile)
    built = (copy / INDEX).stat()
    record = (copy / INDEX_RECORD).read_bytes()
    assert index_is_current(copy)
    assert (copy / INDEX_RECORD).read_bytes() != record, "it has the new stamps"
    build_index(copy)
    assert (copy / INDEX).stat() == built
    prompts = copy / "prompts.jsonl"
    before, data = prompts.stat(), prompts.read_bytes()
    prompts.write_bytes(data.replace(b"surge", b"purge"))
    os.utime(prompts, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert not index_is_current(copy)
    with pytest.raises(DamagedRunError, match=r"prompts.jsonl has changed since it was written"):
        build_index(copy)


def test_a_run_that_changes_is_indexed_again(tmp_path: Path) -> None:
    folder = write_run(tmp_path, 8, 64)
    client = client_of(tmp_path)
    assert get(client, "headlines", q="zebra")["total"] == 0

    def zebra(prompts: Any) -> None:
        prompts[2]["text"] = "Zebra " + prompts[2]["text"]
        prompts[2]["headline_id"] = headline_id(prompts[2]["text"])

    edited("prompts.jsonl", zebra)(folder)
    new_id = content(folder / "prompts.jsonl")[2]["headline_id"]
    contradicting("headline_features.json", lambda d: d["headlines"][2].update(headline_id=new_id))(folder)
    assert [headline["headline"] for headline in get(client, "headlines", q="zebra")["headlines"]] == [2]


@pytest.mark.parametrize(("code", "cure"), [(sqlite3.SQLITE_FULL, "; free some space"), (sqlite3.SQLITE_ERROR, "")])
def test_only_a_full_disk_is_called_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, cure: str) -> None:
    folder = write_run(tmp_path, 5, 64)

    def fail(*_: Any) -> None:
        error = sqlite3.OperationalError("it did not work")
        error.sqlite_errorcode = code
        raise error

    monkeypatch.setattr("sae_pipeline.runs.index.FeatureTables", fail)
    with pytest.raises(UserError, match=rf"cannot be written \(it did not work\){cure}\.$"):
        build_index(folder)
