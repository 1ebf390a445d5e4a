"""Finding and reading runs: a run is read back as typed, and what is damaged is named by file and field."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sae_pipeline.runs.folders import DamagedRunError, UnknownRunError, find_run, list_runs, read_run
from tests.support.run_factory import LABELS, write_run


def number_of(folder: Path) -> int:
    return int(folder.name.rpartition("-")[2])


# --- finding -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("run_id", ["2", "02", "run-2", "run-002", 2, "20200101-000000_run-002"])
def test_a_run_is_found_by_number_id_and_folder(tmp_path: Path, run_id: str | int) -> None:
    for number in (1, 2, 10):
        (tmp_path / f"20200101-000000_run-{number:03d}").mkdir()
    assert number_of(find_run(tmp_path, run_id)) == 2
    assert number_of(find_run(tmp_path, None)) == 10


@pytest.mark.parametrize("run_id", ["3", "run-", "../x_run-002", "-2", "\0", "9" * 5000, 10**30, "٢", "", "run-2 "])
def test_an_unknown_run_lists_what_there_is(tmp_path: Path, run_id: str | int) -> None:
    with pytest.raises(UnknownRunError, match=r"no runs in .* sae_pipeline analyze"):
        find_run(tmp_path / "absent", run_id)
    (tmp_path / "20200101-000000_run-002").mkdir()
    (tmp_path / ".draft-20200101_run-003").mkdir()
    with pytest.raises(UnknownRunError, match="it has run-002") as raised:
        find_run(tmp_path, run_id)
    assert len(str(raised.value)) < 600


# --- damage --------------------------------------------------------------------------------------------


def edit(name: str, change: Callable[[Any], Any]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        data = json.loads((folder / name).read_text())
        change(data)
        (folder / name).write_text(json.dumps(data))

    return apply


def put(name: str, text: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(text) and None


def edit_prompt(change: Callable[[Any], Any]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        lines = (folder / "prompts.jsonl").read_text().splitlines()
        prompt = json.loads(lines[1])
        change(prompt)
        lines[1] = json.dumps(prompt)
        (folder / "prompts.jsonl").write_text("\n".join(lines))

    return apply


def link_out(folder: Path) -> None:
    outside = folder.parent.parent / "secret.json"
    (folder / "feature_stats.json").rename(outside)
    (folder / "feature_stats.json").symlink_to(outside)


def cut(folder: Path) -> None:
    whole = (folder / "feature_tokens.json").read_bytes()
    (folder / "feature_tokens.json").write_bytes(whole[: len(whole) // 2])


DAMAGE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "missing": (lambda folder: (folder / "prompts.jsonl").unlink(), r"prompts.jsonl .*no such file"),
    "truncated": (cut, r"feature_tokens.json .*EOF"),
    "empty": (put("metadata.json", b""), r"metadata.json .*EOF"),
    "binary": (put("feature_stats.json", b"\xff\x00\xfe" * 99), r"feature_stats.json .*Invalid JSON"),
    "deep": (put("headline_features.json", b"[" * 100_000), r"headline_features.json .*recursion limit"),
    "nan": (
        lambda folder: put(
            "feature_stats.json",
            (folder / "feature_stats.json").read_bytes().replace(b'values":[', b'values":[NaN,', 1),
        )(folder),
        r"feature_stats.json, metrics.0.values.0: .*finite",
    ),
    "other version": (edit("metadata.json", lambda d: d.update(schema_version=2)), r"metadata.json, schema_version"),
    "other id": (edit("metadata.json", lambda d: d.update(run_id="run-007")), r"metadata.json, run_id.*run-007"),
    "no metrics": (edit("metadata.json", lambda d: d.update(metrics=[])), r"metadata.json, metrics"),
    "missing field": (edit_prompt(lambda p: p.pop("text")), r"prompts.jsonl, line 2 text: .*required"),
    "label beyond": (edit_prompt(lambda p: p.update(label=3)), r"prompts.jsonl, line 2 label"),
    "class missing": (edit_prompt(lambda p: p.update(probabilities=[1.0])), r"prompts.jsonl, line 2 probabilities"),
    "offset missing": (edit_prompt(lambda p: p["starts"].pop()), r"prompts.jsonl, line 2 tokens, starts"),
    "short column": (
        edit("feature_stats.json", lambda d: d["metrics"][2]["values"].pop()),
        r"feature_stats.json, metrics fraction_active values: has 99 of 100",
    ),
    "lost column": (edit("feature_stats.json", lambda d: d["metrics"].pop()), r"feature_stats.json, .*'kurtosis'"),
    "short counts": (edit("feature_stats.json", lambda d: d["headline_counts"].pop()), r"headline_counts"),
    "feature beyond": (
        edit("feature_tokens.json", lambda d: d["features"][0].update(feature=100)),
        r"feature_tokens.json, features.0.feature: is 100 of 100",
    ),
    "headline beyond": (
        edit("feature_tokens.json", lambda d: d["features"][0]["examples"][0].update(headline=5)),
        r"feature_tokens.json, features.0.examples.0.headline",
    ),
    "position beyond": (
        edit("feature_tokens.json", lambda d: d["features"][0]["examples"][0].update(position=999)),
        r"feature_tokens.json, features.0.examples.0.positions",
    ),
    "headline lost": (edit("headline_features.json", lambda d: d["headlines"].pop()), r"has 4 of 5"),
    "headlines swapped": (edit("headline_features.json", lambda d: d["headlines"].reverse()), r"headlines.0"),
    "link out of the folder": (link_out, r"feature_stats.json is not a plain file"),
    "a folder": (
        lambda folder: ((folder / "prompts.jsonl").unlink(), (folder / "prompts.jsonl").mkdir()),
        r"prompts.jsonl is not a plain file",
    ),
    "a pipe": (
        lambda folder: ((folder / "prompts.jsonl").unlink(), os.mkfifo(folder / "prompts.jsonl")),
        r"prompts.jsonl is not a plain file",
    ),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_named_by_file_and_field(tmp_path: Path, kind: str) -> None:
    damage, message = DAMAGE[kind]
    folder = write_run(tmp_path / "runs", n_headlines=5, d_sae=100)
    damage(folder)
    with pytest.raises(DamagedRunError, match=message) as raised:
        read_run(folder)
    assert folder.name in str(raised.value) and "\n" not in str(raised.value)


def test_the_list_gives_the_reason_of_a_run_that_cannot_be_read(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    whole, missing, linked = (write_run(runs, 3, 16) for _ in range(3))
    (missing / "feature_tokens.json").unlink()
    linked.rename(tmp_path / linked.name)
    linked.symlink_to(tmp_path / linked.name)
    (runs / "20200101-000000_run-009").write_text("a file")
    entries = {entry.number: entry for entry in list_runs(runs)}
    assert list(entries) == [9, 3, 2, 1]
    assert entries[1].reason is None and entries[1].metadata and entries[1].metadata.labels == LABELS
    assert entries[1].folder == whole
    assert "feature_tokens.json" in str(entries[2].reason) and entries[2].metadata is None
    assert "link" in str(entries[3].reason) and "link or a file" in str(entries[9].reason)
