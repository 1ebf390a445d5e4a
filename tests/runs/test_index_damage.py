"""The index of a run, whatever happened to it or to the run's files."""

import json
import os
import re
import shutil
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import save

from sae_pipeline.artefacts.checksums import read_record, sha256, stamp, write_record
from sae_pipeline.errors import UserError
from sae_pipeline.headlines.text import headline_id
from sae_pipeline.runs import folders, json_records
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
from sae_pipeline.schema.causes import FEATURE_EFFECTS, INTERVENTIONS
from sae_pipeline.schema.common import RUN_FILES
from sae_pipeline.schema.family import FAMILY
from sae_pipeline.schema.run import DECODER, NEIGHBOURS
from tests.runs.test_folders import CONTRADICTIONS, DAMAGE, rewritten
from tests.support import run_edits
from tests.support.indexed_runs import D_SAE, DECODER_ROWS, N, client_of, get, write_whole_run
from tests.support.run_edits import Damage, content, contradicting, edited, put, replaced
from tests.support.run_factory import D_IN, MADE_WITH, write_run
from viz_analysis.feature_probe_server import create_app
from viz_analysis.runs import run_library

EDITS = st.sampled_from([b"", b"9", b"-", b"]", b'"', b"\n", b"\0", b"\xff"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with every optional file."""
    return write_whole_run(tmp_path_factory.mktemp("analysis_data"))


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A very small run, to be copied."""
    return write_run(tmp_path_factory.mktemp("pristine"), n_headlines=3, d_sae=16, top=2)


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


@pytest.mark.parametrize("kind", [*DAMAGE, *CONTRADICTIONS])
def test_damage_is_named_like_by_the_whole_reader(tmp_path: Path, kind: str) -> None:
    damage, message = {**DAMAGE, **CONTRADICTIONS}[kind]
    folder = write_run(tmp_path / "runs", n_headlines=5, d_sae=100)
    damage(folder)
    with pytest.raises(DamagedRunError, match=message) as raised:
        build_index(folder)
    assert folder.name in str(raised.value) and "\n" not in str(raised.value) and len(str(raised.value)) < 600
    assert not (folder / INDEX).exists() and not list(folder.glob(".index*"))
    assert client_of(tmp_path / "runs").get("/api/headlines").status_code == 409


def test_damage_in_large_files_is_named_by_the_checksum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "_NAMED_BYTES", 0)
    folder = write_run(tmp_path, n_headlines=5, d_sae=100)
    replaced("prompts.jsonl", b'"label":', b'"lAbel":')(folder)
    with pytest.raises(DamagedRunError, match=r"prompts.jsonl has changed since it was written"):
        build_index(folder)


HOSTILE: dict[str, Damage] = {
    "huge d_sae": replaced("feature_stats.json", b'"d_sae":100', b'"d_sae":' + b"9" * 30),
    "huge feature": replaced("headline_features.json", b'"feature":', b'"feature":' + b"9" * 30),
    "huge headline": replaced("feature_tokens.json", b'"headline":', b'"headline":' + b"9" * 30),
    "duplicate key, last wrong": replaced("prompts.jsonl", b',"tokens"', b',"label":7,"tokens"'),
    "infinity": replaced("headline_features.json", b'"activation":', b'"activation":1e999,"value":'),
    "no headlines": put("prompts.jsonl", b""),
    "blank lines": replaced("prompts.jsonl", b"\n", b"\n\n"),
    "trailing text": lambda folder: (folder / "feature_tokens.json").open("ab").write(b"{}"),
    "two objects": lambda folder: (folder / "feature_stats.json").open("ab").write(b"[1]\n"),
    "nested deeply": replaced("feature_tokens.json", b'"examples":[', b'"examples":[' + b"[" * 50_000),
    "an array": put("headline_features.json", b"[1, 2]"),
    "a string without end": put("headline_features.json", b'{"headlines":["' + b"x" * 9999),
    "null bytes": put("feature_stats.json", bytes(5000)),
    "a formatter": lambda folder: rewritten(folder / "feature_tokens.json"),
    "a metric called '; DROP": edited(
        "metadata.json", lambda d: d.update(metrics=[{"name": "'; DROP", "label": "", "description": ""}])
    ),
}
PAGES = ("headlines", "features", "feature_info?id=3", "similar_headlines?headline=0", "feature_density", "run")


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("sealed", [False, True], ids=["", "under a record that fits"])
def test_hostile_files_are_a_sentence(tmp_path: Path, kind: str, sealed: bool) -> None:
    folder = write_run(tmp_path, n_headlines=5, d_sae=100)
    HOSTILE[kind](folder)
    if sealed:
        run_edits.reseal(folder)
    client = client_of(tmp_path)
    for page in PAGES:
        response = client.get(f"/api/{page}")
        message = response.json["error"]["message"]
        assert response.status_code == 409 and folder.name in message and len(message) < 600, message
    (listed,) = get(client, "runs")["runs"]
    assert not listed["readable"]


@given(
    st.sampled_from(RUN_FILES), st.lists(st.tuples(st.floats(0, 1), st.integers(0, 3), EDITS), min_size=1, max_size=4)
)
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_change_of_bytes_is_no_server_error(
    pristine: Path, tmp_path_factory: pytest.TempPathFactory, name: str, edits: list[tuple[float, int, bytes]]
) -> None:
    folder = tmp_path_factory.mktemp("runs") / pristine.name
    shutil.copytree(pristine, folder)
    text = bytearray((folder / name).read_bytes())
    for place, n_bytes, new in edits:
        at = int(place * (len(text) - 1))
        text[at : at + n_bytes] = new
    (folder / name).write_bytes(text)
    client = client_of(folder.parent)
    for page in ("headlines", "features", "feature_info?id=3", "similar_headlines?headline=0", "runs"):
        assert client.get(f"/api/{page}").status_code in (200, 409)
    shutil.rmtree(folder.parent)


def test_a_giant_record_is_refused_before_it_fills_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_run(tmp_path, n_headlines=5, d_sae=16)
    monkeypatch.setattr(json_records, "MAX_LINE_BYTES", 500)
    with pytest.raises(DamagedRunError, match=r"has a record of more than"):
        build_index(folder)


# --- files that a run can do without -------------------------------------------------------------------


def link(name: str) -> Damage:
    return lambda folder: ((folder / name).unlink(), (folder / name).symlink_to("/etc/passwd"))


def as_folder(name: str) -> Damage:
    return lambda folder: ((folder / name).unlink(), (folder / name).mkdir())


def of_another_run(name: str) -> Damage:
    def apply(folder: Path) -> None:
        other = write_whole_run(folder.parent / "other")
        shutil.copy(other / name, folder / name)

    return apply


def rows(matrix: NDArray[np.float16], made_with: dict[str, str] = MADE_WITH) -> Damage:
    """Other decoder rows, under a record that fits."""
    return sealed_as(put(DECODER, save({"W_dec": matrix}, {"made_with": json.dumps(made_with)})))


def sealed_as(damage: Damage) -> Damage:
    """The damage under a record that fits."""
    return lambda folder: (damage(folder), run_edits.reseal(folder))


INTERVENE, FIND, ANALYSE = ("intervene --run run-001", "family --run run-001", "analyze")
LEFT_OUT: dict[str, tuple[Damage, str, str]] = {
    "neighbours gone": (lambda run: (run / NEIGHBOURS).unlink(), rf"{NEIGHBOURS} .*no such file", ANALYSE),
    "neighbours, a digit": (replaced(NEIGHBOURS, b"0.9", b"0.8"), rf"{NEIGHBOURS} has changed", ANALYSE),
    "neighbours, a link": (link(NEIGHBOURS), rf"{NEIGHBOURS} is not a plain file", ANALYSE),
    "neighbours, a folder": (as_folder(NEIGHBOURS), rf"{NEIGHBOURS} is not a plain file", ANALYSE),
    "neighbours of another SAE": (
        contradicting(NEIGHBOURS, lambda d: d.update(sae_hash="x")),
        rf"{NEIGHBOURS}, sae_hash",
        ANALYSE,
    ),
    "neighbours beyond": (
        contradicting(NEIGHBOURS, lambda d: d["by_decoder"][3].__setitem__(0, D_SAE)),
        "by_decoder.3",
        ANALYSE,
    ),
    "neighbours not listed": (
        edited("metadata.json", lambda d: d["files"].pop(NEIGHBOURS)),
        "is not among the files",
        ANALYSE,
    ),
    "decoder gone": (lambda run: (run / DECODER).unlink(), rf"{DECODER} is missing", ANALYSE),
    "decoder, a bit": (
        lambda run: (run / DECODER).write_bytes((run / DECODER).read_bytes()[:-1] + b"\1"),
        rf"{DECODER} has",
        ANALYSE,
    ),
    "decoder of another width": (rows(np.ones((D_SAE, 5), np.float16)), rf"{DECODER}, W_dec: is \[300, 5\]", ANALYSE),
    "decoder, infinite": (rows(np.full((D_SAE, D_IN), np.inf, np.float16)), "are not finite", ANALYSE),
    "decoder of another SAE": (rows(DECODER_ROWS, {**MADE_WITH, "sae_hash": "x"}), rf"{DECODER}, sae_hash", ANALYSE),
    "decoder, noise": (sealed_as(put(DECODER, b"noise" * 99)), rf"{DECODER} has no decoder rows", ANALYSE),
    "effects, a digit": (replaced(FEATURE_EFFECTS, b'"n":[7', b'"n":[8'), rf"{FEATURE_EFFECTS} has changed", INTERVENE),
    "effects, unsealed": (put(FEATURE_EFFECTS, b'{"columns":[]}'), rf"{FEATURE_EFFECTS} has no checksum", INTERVENE),
    "effects of another run": (of_another_run(FEATURE_EFFECTS), rf"{FEATURE_EFFECTS}, run_checksum", INTERVENE),
    "an effect twice": (
        edited(FEATURE_EFFECTS, lambda d: d["columns"].append(d["columns"][0])),
        "columns: .*twice",
        INTERVENE,
    ),
    "a metric of the run": (
        edited(FEATURE_EFFECTS, lambda d: d["metrics"][0].update(name="entropy")),
        "metrics: .*twice",
        INTERVENE,
    ),
    "interventions, a digit": (replaced(INTERVENTIONS, b"0.5", b"0.6"), rf"{INTERVENTIONS} has changed", INTERVENE),
    "interventions, a link": (link(INTERVENTIONS), rf"{INTERVENTIONS} is not a plain file", INTERVENE),
    "interventions of another run": (of_another_run(INTERVENTIONS), rf"{INTERVENTIONS}, run_checksum", INTERVENE),
    "a headline twice": (
        edited(INTERVENTIONS, lambda d: d["headlines"].append(d["headlines"][0])),
        "listed already",
        INTERVENE,
    ),
    "no such headline": (
        edited(INTERVENTIONS, lambda d: d["headlines"][0].update(headline=N)),
        "headlines.0.headline_id",
        INTERVENE,
    ),
    "effects that do not add up": (
        edited(INTERVENTIONS, lambda d: d["headlines"][0].update(rest=[1.0, 0.0, 0.0])),
        "headlines.0.logits",
        INTERVENE,
    ),
    "family, a digit": (replaced(FAMILY, b"0.8", b"0.9"), rf"{FAMILY} has changed", FIND),
    "family of another run": (of_another_run(FAMILY), rf"{FAMILY}, run_checksum", FIND),
    "family, a member less": (edited(FAMILY, lambda d: d["members"].pop()), rf"{FAMILY}, matches", FIND),
    "family, a huge number": (
        edited(FAMILY, lambda d: d["matches"][0]["feature"].__setitem__(0, 1 << 60)),
        rf"{FAMILY}, matches.0.feature",
        FIND,
    ),
    "family, empty": (put(FAMILY, b""), rf"{FAMILY} has no checksum", FIND),
}


@pytest.mark.parametrize("kind", LEFT_OUT)
def test_a_run_is_served_without_a_damaged_file_that_it_can_do_without(folder: Path, tmp_path: Path, kind: str) -> None:
    damage, message, verb = LEFT_OUT[kind]
    copy = tmp_path / folder.name
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns(*INDEX_FILES))
    damage(copy)
    write_run(tmp_path, 5, 64)
    write_run(tmp_path, N, D_SAE, top=40, seed=3, decoder=np.eye(D_SAE, D_IN, dtype=np.float16))
    client = client_of(tmp_path)
    sentences = get(client, "run", run=1)["damaged_files"]
    (sentence,) = [one for one in sentences if re.search(message, one)]
    does = "makes a new run with it" if verb == "analyze" else "makes it again"
    assert sentence.endswith(f"; `python -m sae_pipeline {verb}` {does}.") and len(sentence) < 300
    named = {re.split("[ ,]", one)[0] for one in sentences}
    assert present(client) == {NEIGHBOURS, DECODER, FAMILY, FEATURE_EFFECTS, INTERVENTIONS} - named
    assert client_of(tmp_path).get("/api/runs").json["runs"][-1]["readable"]
    shutil.rmtree(copy)
    shutil.copytree(folder, copy)
    assert get(client, "run", run=1)["damaged_files"] == []
    assert present(client) == {NEIGHBOURS, DECODER, FAMILY, FEATURE_EFFECTS, INTERVENTIONS}


def present(client: FlaskClient) -> set[str]:
    """The optional files of run 1 that the server answers from."""
    feature = get(client, "feature_info", run=1, id=3)
    effects = get(client, "headlines", run=1, limit=500)["headlines"][4]["effects"]
    found = {
        NEIGHBOURS: feature["similar_decoder"] and feature["similar_cofiring"],
        DECODER: get(client, "compare", runs="3,1", feature=3)["matches"][0]["features"],
        FAMILY: feature["family"],
        FEATURE_EFFECTS: [stat for stat in feature["stats"] if stat["name"] == "effect_bullish"],
        INTERVENTIONS: effects if client.get("/api/interventions?run=1").status_code == 200 else None,
    }
    return {name for name, shown in found.items() if shown}


# --- the library of runs -------------------------------------------------------------------------------


def test_who_asks_while_a_run_is_indexed_is_told_to_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_run(tmp_path, 5, 64)
    go = threading.Event()

    def slow(folder: Path, progress: Any) -> Path:
        progress(40, 100)
        go.wait(20)
        return build_index(folder, progress)

    monkeypatch.setattr(run_library, "_PATIENCE", 0.05)
    monkeypatch.setattr(run_library, "build_index", slow)
    client = client_of(tmp_path)
    waiting = client.get("/api/health")
    assert waiting.status_code == 503 and waiting.json["error"]["code"] == "indexing"
    assert "40%" in waiting.json["error"]["message"] and waiting.headers["Retry-After"] == "2"
    go.set()
    monkeypatch.setattr(run_library, "_PATIENCE", 20)
    assert get(client, "health")["n_headlines"] == 5


@pytest.mark.parametrize("name", INDEX_FILES)
def test_a_folder_in_the_place_of_the_index_is_no_hindrance(tmp_path: Path, name: str) -> None:
    """It is kept: in its place, with the index elsewhere, or under a hidden name."""
    folder = write_run(tmp_path, 5, 64)
    (folder / name).mkdir()
    (folder / name / "kept").touch()
    client = client_of(tmp_path)
    assert get(client, "headlines")["total"] == 5
    assert list(folder.glob(f"*{name}*/kept")) and get(client, "runs")["runs"][0]["readable"]


def test_an_index_that_cannot_be_written_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_run(tmp_path, 5, 64)
    client = client_of(tmp_path)
    with monkeypatch.context() as full:
        full.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        response = client.get("/api/headlines")
    assert response.status_code == 503 and "No space left" in response.json["error"]["message"]
    assert get(client, "headlines")["total"] == 5


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


def test_every_request_leaves_a_line_of_json(tmp_path: Path) -> None:
    write_run(tmp_path / "runs", 5, 64)
    log = tmp_path / "access.log"
    client = create_app(tmp_path / "runs", access_log=str(log)).test_client()
    for address in ("/api/headlines?q=a%0Ab", "/api/features?limit=0", "/nothing\nhere"):
        client.get(address)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(line["path"], line["status"]) for line in lines][:2] == [("/api/headlines", 200), ("/api/features", 400)]
    assert len(lines) == 3 and all(line["ms"] >= 0 and line["method"] == "GET" for line in lines)
    assert lines[0]["query"] == "q=a%0Ab" and lines[0]["bytes"] > 100
