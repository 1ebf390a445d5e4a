"""Runs whose files are damaged, hostile or contradictory: each is refused in a sentence before it is indexed."""

import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sae_pipeline.runs import folders, json_records
from sae_pipeline.runs.index import INDEX, build_index
from sae_pipeline.runs.run_files import DamagedRunError
from sae_pipeline.schema.common import RUN_FILES
from tests.runs.test_folders import CONTRADICTIONS, DAMAGE, rewritten
from tests.support.indexed_runs import client_of, get
from tests.support.run_edits import Damage, edited, put, replaced, reseal
from tests.support.run_factory import write_run

EDITS = st.sampled_from([b"", b"9", b"-", b"]", b'"', b"\n", b"\0", b"\xff"])


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A very small run, to be copied."""
    return write_run(tmp_path_factory.mktemp("pristine"), n_headlines=3, d_sae=16, top=2)


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
        reseal(folder)
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
