"""The index of a run, whatever happened to it or to the run's files."""

import json
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sae_pipeline.runs import json_records
from sae_pipeline.runs.folders import DamagedRunError
from sae_pipeline.runs.index import INDEX, build_index, index_is_current
from sae_pipeline.schema.causes import FEATURE_EFFECTS, INTERVENTIONS
from sae_pipeline.schema.common import RUN_FILES
from sae_pipeline.schema.family import FAMILY
from sae_pipeline.schema.run import DECODER, NEIGHBOURS
from tests.runs.test_folders import DAMAGE
from tests.support.indexed_runs import client_of, get, write_whole_run
from tests.support.run_factory import write_run
from viz_analysis.feature_probe_server import create_app
from viz_analysis.runs import library as run_library

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
    "truncated": spoil(lambda data: data[: len(data) // 3]),
    "noise": spoil(lambda data: bytes(len(data))),
    "pages overwritten": spoil(lambda data: data[:8192] + b"\xff" * (len(data) - 8192)),
    "text": spoil(lambda data: b"not a database" * 1000),
    "other stamp": forge("UPDATE about SET value = 'x' WHERE name = 'stamp'"),
    "no totals": forge("DELETE FROM about WHERE name = 'n_headlines'"),
    "no rows": forge("DELETE FROM headline"),
    "false places": forge("UPDATE headline SET prompt_at = prompt_at + 3"),
    "places beyond the file": forge("UPDATE headline SET features_at = 1 << 62"),
    "places that are no numbers": forge("UPDATE headline SET prompt_at = 'x', prompt_bytes = -1"),
    "false headlines": forge("UPDATE posting SET headlines = x'ffffffff', weights = x'00000000'"),
    "false facts": forge("UPDATE feature SET facts = '[]'"),
    "a link": link_elsewhere,
}


@pytest.mark.parametrize("how", SPOILT)
def test_an_index_that_is_gone_or_false_is_made_anew(folder: Path, tmp_path: Path, how: str) -> None:
    copy = tmp_path / folder.name
    shutil.copytree(folder, copy)
    expected = everything(client_of(tmp_path))
    SPOILT[how](copy / INDEX)
    assert everything(client_of(tmp_path)) == expected
    assert index_is_current(copy) and not (copy / INDEX).is_symlink()
    assert sorted(path.name for path in copy.iterdir()) == sorted(
        [*RUN_FILES, NEIGHBOURS, FAMILY, DECODER, FEATURE_EFFECTS, INTERVENTIONS, INDEX]
    )


def test_a_run_that_changes_is_indexed_again(tmp_path: Path) -> None:
    folder = write_run(tmp_path, 8, 64)
    client = client_of(tmp_path)
    assert get(client, "headlines", q="zebra")["total"] == 0
    lines = (folder / "prompts.jsonl").read_text().splitlines()
    prompt = json.loads(lines[2])
    prompt["text"] = "Zebra " + prompt["text"]
    (folder / "prompts.jsonl").write_text("\n".join([*lines[:2], json.dumps(prompt), *lines[3:]]))
    assert [headline["headline"] for headline in get(client, "headlines", q="zebra")["headlines"]] == [2]


@pytest.mark.parametrize("indent", [None, 1])
def test_files_that_a_formatter_rewrote_are_read_too(folder: Path, tmp_path: Path, indent: int | None) -> None:
    copy = tmp_path / folder.name
    shutil.copytree(folder, copy)
    expected = everything(client_of(tmp_path))
    for name in (*RUN_FILES[2:], FEATURE_EFFECTS, INTERVENTIONS):
        (copy / name).write_text(json.dumps(json.loads((copy / name).read_text()), indent=indent))
    assert everything(client_of(tmp_path)) == expected


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_named_like_by_the_whole_reader(tmp_path: Path, kind: str) -> None:
    damage, message = DAMAGE[kind]
    message = {"truncated": "feature_tokens.json, .*EOF", "deep": "headline_features.json"}.get(kind, message)
    folder = write_run(tmp_path / "runs", n_headlines=5, d_sae=100)
    damage(folder)
    with pytest.raises(DamagedRunError, match=message) as raised:
        build_index(folder)
    assert folder.name in str(raised.value) and "\n" not in str(raised.value) and len(str(raised.value)) < 600
    assert not (folder / INDEX).exists() and not list(folder.glob(".index*"))
    assert client_of(tmp_path / "runs").get("/api/headlines").status_code == 409


def replaced(name: str, old: bytes, new: bytes) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        data = (folder / name).read_bytes()
        assert old in data
        (folder / name).write_bytes(data.replace(old, new, 1))

    return apply


HOSTILE: dict[str, Callable[[Path], Any]] = {
    "huge count": replaced("feature_stats.json", b'"headline_counts":[', b'"headline_counts":[' + b"9" * 30 + b","),
    "huge d_sae": replaced("feature_stats.json", b'"d_sae":100', b'"d_sae":' + b"9" * 30),
    "negative d_sae": replaced("feature_stats.json", b'"d_sae":100', b'"d_sae":-1'),
    "huge feature": replaced("headline_features.json", b'"feature":', b'"feature":' + b"9" * 30),
    "huge headline": replaced("feature_tokens.json", b'"headline":', b'"headline":' + b"9" * 30),
    "duplicate keys": replaced("prompts.jsonl", b'"label":', b'"label":7,"label":'),
    "duplicate key, last wrong": replaced("prompts.jsonl", b',"tokens"', b',"label":7,"tokens"'),
    "infinity": replaced("headline_features.json", b'"activation":', b'"activation":1e999,"value":'),
    "huge activation": replaced("headline_features.json", b'"activation":', b'"activation":1e308,"activation":'),
    "no headlines": lambda folder: (folder / "prompts.jsonl").write_bytes(b""),
    "blank lines": replaced("prompts.jsonl", b"\n", b"\n\n"),
    "trailing text": lambda folder: (folder / "feature_tokens.json").open("ab").write(b"{}") and None,
    "two objects": lambda folder: (folder / "feature_stats.json").open("ab").write(b"[1]\n") and None,
    "nested deeply": replaced("feature_tokens.json", b'"examples":[', b'"examples":[' + b"[" * 50_000),
    "an array": lambda folder: (folder / "headline_features.json").write_bytes(b"[1, 2]"),
    "a string without end": lambda folder: (folder / "headline_features.json").write_bytes(
        b'{"headlines":["' + b"x" * 9999
    ),
    "null bytes": lambda folder: (folder / "feature_stats.json").write_bytes(bytes(5000)),
    "twice the same feature": lambda folder: _twice(folder / "feature_tokens.json"),
    "no labels": lambda folder: _metadata(folder, labels=[]),
    "a metric called '; DROP": lambda folder: _metadata(
        folder, metrics=[{"name": "'; DROP", "label": "", "description": ""}]
    ),
    "neighbours beyond": lambda folder: (folder / NEIGHBOURS).write_text('{"d_sae":100,"k":1,"n_headlines":1}'),
    "a folder of neighbours": lambda folder: (folder / NEIGHBOURS).mkdir(),
    "an empty family": lambda folder: (folder / FAMILY).write_text("{}"),
    "effects of another SAE": lambda folder: (folder / FEATURE_EFFECTS).write_text('{"columns":[]}'),
    "a link of interventions": lambda folder: (folder / INTERVENTIONS).symlink_to("/etc/passwd"),
}


def _twice(path: Path) -> None:
    data = json.loads(path.read_text())
    data["features"].append(data["features"][0])
    path.write_text(json.dumps(data))


def _metadata(folder: Path, **change: Any) -> None:
    data = json.loads((folder / "metadata.json").read_text())
    (folder / "metadata.json").write_text(json.dumps({**data, **change}))


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_files_are_a_sentence_or_harmless(tmp_path: Path, kind: str) -> None:
    folder = write_run(tmp_path, n_headlines=5, d_sae=100)
    HOSTILE[kind](folder)
    client = client_of(tmp_path)
    statuses = set()
    for page in (
        "headlines",
        "features",
        "feature_info?id=3",
        "similar_headlines?headline=0",
        "feature_density",
        "run",
    ):
        response = client.get(f"/api/{page}")
        statuses.add(response.status_code)
        if response.status_code != 200:
            message = response.json["error"]["message"]
            assert response.status_code == 409 and folder.name in message and len(message) < 600, message
    assert len(statuses) == 1, statuses  # readable as a whole, or not at all
    (listed,) = get(client, "runs")["runs"]
    assert listed["readable"] == (statuses == {200})
    harmless = {"duplicate keys", "huge activation", "blank lines"} & {kind}
    assert statuses == {200} if kind in ("duplicate keys",) else statuses == {409} or harmless


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


@pytest.mark.parametrize("layout", ["a record per line", "formatted"])
def test_a_giant_record_is_refused_before_it_fills_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str
) -> None:
    folder = write_run(tmp_path, n_headlines=5, d_sae=16)
    if layout == "formatted":
        path = folder / "feature_tokens.json"
        path.write_text(json.dumps(json.loads(path.read_text()), indent=1))
    monkeypatch.setattr(json_records, "MAX_RECORD_BYTES", 500)
    with pytest.raises(DamagedRunError, match=r"has .*more than"):
        build_index(folder)


# --- the library of runs -------------------------------------------------------------------------------


def test_who_asks_while_a_run_is_indexed_is_told_to_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_run(tmp_path, 5, 64)
    go = threading.Event()

    def slow(folder: Path, progress: Any, into: Any) -> Path:
        progress(40, 100)
        go.wait(20)
        return build_index(folder, progress, into)

    monkeypatch.setattr(run_library, "_PATIENCE", 0.05)
    monkeypatch.setattr(run_library, "build_index", slow)
    client = client_of(tmp_path)
    waiting = client.get("/api/health")
    assert waiting.status_code == 503 and waiting.json["error"]["code"] == "indexing"
    assert "40%" in waiting.json["error"]["message"] and waiting.headers["Retry-After"] == "2"
    go.set()
    monkeypatch.setattr(run_library, "_PATIENCE", 20)
    assert get(client, "health")["n_headlines"] == 5


def test_a_run_in_a_folder_that_cannot_be_written_is_indexed_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_run(tmp_path, 5, 64)
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    assert get(client_of(tmp_path), "headlines")["total"] == 5
    assert not (folder / INDEX).exists()


def test_an_index_that_cannot_be_written_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_run(tmp_path, 5, 64)
    client = client_of(tmp_path)
    with monkeypatch.context() as full:
        full.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        response = client.get("/api/headlines")
    assert response.status_code == 503 and "No space left" in response.json["error"]["message"]
    assert get(client, "headlines")["total"] == 5


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
