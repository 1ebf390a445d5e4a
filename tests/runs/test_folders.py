"""Finding and reading runs: a run is read back as typed, and what is damaged is named by file and field."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sae_pipeline.artefacts.checksums import without_seal
from sae_pipeline.runs.folders import UnknownRunError, find_run, list_runs, read_run
from sae_pipeline.runs.run_files import DamagedRunError
from tests.support.run_edits import Damage, contradicting, edited, put, replaced
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


def link_out(folder: Path) -> None:
    outside = folder.parent.parent / "secret.json"
    (folder / "feature_stats.json").rename(outside)
    (folder / "feature_stats.json").symlink_to(outside)


def cut(folder: Path) -> None:
    whole = (folder / "feature_tokens.json").read_bytes()
    (folder / "feature_tokens.json").write_bytes(whole[: len(whole) // 2])


def sparse(folder: Path) -> None:
    with (folder / "prompts.jsonl").open("wb") as file:
        file.truncate(6 << 30)


def flip_a_digit(name: str) -> Damage:
    """Another last digit of the first long number, so that the file is as valid as before."""

    def apply(folder: Path) -> None:
        data = (folder / name).read_bytes()
        at = next(re.finditer(rb"\d\.\d{4,}", data)).end() - 1
        (folder / name).write_bytes(data[:at] + (b"1" if data[at : at + 1] != b"1" else b"2") + data[at + 1 :])

    return apply


def same_size(name: str, old: bytes, new: bytes) -> Damage:
    assert len(old) == len(new)
    return replaced(name, old, new)


CHECKSUM = "has changed since it was written: its checksum does not fit"
DAMAGE: dict[str, tuple[Damage, str]] = {
    "missing": (lambda folder: (folder / "prompts.jsonl").unlink(), r"prompts.jsonl .*(no such file|is missing)"),
    "truncated": (cut, r"feature_tokens.json has [0-9,]+ of [0-9,]+ bytes"),
    "longer": (put("feature_stats.json", b"x" * 99999), r"feature_stats.json has 99,999 of [0-9,]+ bytes"),
    "sparse and huge": (sparse, r"prompts.jsonl has 6,442,450,944 of [0-9,]+ bytes"),
    "no record": (put("metadata.json", b""), r"metadata.json has no checksum"),
    "a record of an earlier version": (
        lambda folder: (folder / "metadata.json").write_bytes(without_seal((folder / "metadata.json").read_bytes())),
        r"metadata.json has no checksum, so it is damaged or from an earlier version",
    ),
    "a huge record": (put("metadata.json", bytes((64 << 20) + 1)), r"metadata.json is larger than 64 MiB"),
    "binary": (
        same_size("feature_stats.json", b'"d_sae"', b"\xff\0\xfe" + b"sae\0"),
        r"feature_stats.json.*Invalid JSON",
    ),
    "nan": (
        same_size("feature_stats.json", b'"class_sizes":[', b'"class_sizes":N'),
        r"feature_stats.json.*Invalid JSON",
    ),
    "another type": (same_size("prompts.jsonl", b'"label":', b'"lAbel":'), r"prompts.jsonl, line 1 label: .*required"),
    "a digit of a metric": (flip_a_digit("feature_stats.json"), f"feature_stats.json {CHECKSUM}"),
    "a digit of a probability": (flip_a_digit("prompts.jsonl"), f"prompts.jsonl {CHECKSUM}"),
    "a digit of an example": (flip_a_digit("feature_tokens.json"), f"feature_tokens.json {CHECKSUM}"),
    "a digit of a feature": (flip_a_digit("headline_features.json"), f"headline_features.json {CHECKSUM}"),
    "a digit of the record": (flip_a_digit("metadata.json"), f"metadata.json {CHECKSUM}"),
    "a field of the record": (edited("metadata.json", lambda d: d.pop("preset")), r"metadata.json, preset: .*required"),
    "another order of keys": (
        lambda folder: rewritten(folder / "feature_stats.json"),
        r"feature_stats.json (has [0-9,]+ of|has changed)",
    ),
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


def rewritten(path: Path) -> None:
    """The same content from a formatter."""
    path.write_text(json.dumps(json.loads(path.read_text()), sort_keys=True))


# --- contradictions: every checksum fits, and the files do not -------------------------------------------


def prompt(change: Callable[[Any], Any]) -> Damage:
    return contradicting("prompts.jsonl", lambda prompts: change(prompts[1]))


def stats(change: Callable[[Any], Any]) -> Damage:
    return contradicting("feature_stats.json", change)


def example(change: Callable[[Any], Any]) -> Damage:
    return contradicting("feature_tokens.json", lambda d: change(d["features"][0]))


def strongest(change: Callable[[Any], Any]) -> Damage:
    return contradicting("headline_features.json", lambda d: change(d["headlines"][0]["features"]))


def record(change: Callable[[Any], Any]) -> Damage:
    return edited("metadata.json", change)


def raise_first(features: Any) -> None:
    features[1]["activation"] = features[1]["values"][features[1]["positions"].index(features[1]["position"])] = 1e6


CONTRADICTIONS: dict[str, tuple[Damage, str]] = {
    "version": (record(lambda d: d.update(schema_version=1)), r"metadata.json, schema_version"),
    "run id": (record(lambda d: d.update(run_id="run-007")), r"metadata.json, run_id.*run-007"),
    "file not listed": (
        record(lambda d: d["files"].pop("prompts.jsonl")),
        r"metadata.json, files: lacks prompts.jsonl",
    ),
    "file outside": (
        record(lambda d: d["files"].update({"../x": d["files"]["prompts.jsonl"]})),
        r"metadata.json, files",
    ),
    "too many files": (
        record(lambda d: d["files"].update({f"f{n}": d["files"]["prompts.jsonl"] for n in range(99)})),
        r"metadata.json, files: .*at most 64",
    ),
    "settings nested deeply": (
        record(lambda d: d["configs"].update(x={"y": nested(240)})),
        r"metadata.json .*recursion limit",
    ),
    "no metrics": (record(lambda d: d.update(metrics=[])), r"metadata.json, metrics: are missing"),
    "metric named twice": (record(lambda d: d["metrics"].append(d["metrics"][0])), r"metadata.json, metrics: .*twice"),
    "no labels": (record(lambda d: d.update(labels=[])), r"metadata.json, labels"),
    "empty label": (record(lambda d: d["labels"].__setitem__(1, "")), r"metadata.json, labels"),
    "label twice": (record(lambda d: d["labels"].__setitem__(1, "bearish")), r"metadata.json, labels: .*twice"),
    "labels swapped": (record(lambda d: d["labels"].reverse()), r"metadata.json, labels"),
    "d_sae of the record": (record(lambda d: d["sae"].update(d_sae=50)), r"metadata.json, totals.n_features"),
    "d_in of the record": (record(lambda d: d["sae"].update(d_in=50)), r"metadata.json, sae.d_in"),
    "n_headlines of the record": (
        record(lambda d: d["totals"].update(n_headlines=6)),
        r"feature_stats.json, n_headlines: is 5, but metadata.json says 6",
    ),
    "tokens of the record": (record(lambda d: d["totals"].update(n_tokens=6)), r"prompts.jsonl has \d+ tokens"),
    "live features": (record(lambda d: d["totals"].update(n_live_features=100)), r"headline_counts: .*live"),
    "features with examples": (
        record(lambda d: d["totals"].update(n_features_with_examples=2)),
        r"feature_tokens.json, features: has \d+ of 2",
    ),
    "another classifier": (record(lambda d: d.update(classifier_hash="x")), r"json, classifier_hash: is 'c1a551f1e4'"),
    "another SAE": (record(lambda d: d.update(sae_hash="x")), r"json, sae_hash: is '5ae', but metadata.json says 'x'"),
    "missing field": (prompt(lambda p: p.pop("text")), r"prompts.jsonl, line 2 text: .*required"),
    "label beyond": (prompt(lambda p: p.update(label=3)), r"prompts.jsonl, line 2 label"),
    "another label": (prompt(lambda p: p.update(label=(p["label"] + 1) % 3)), r"prompts.jsonl has .* of each class"),
    "class missing": (prompt(lambda p: p.update(probabilities=[1.0])), r"prompts.jsonl, line 2 probabilities"),
    "too probable": (prompt(lambda p: p.update(probabilities=[0.9] * 3)), r"line 2 probabilities: add up to 2.7"),
    "not the most probable": (
        prompt(lambda p: p.update(prediction=(p["prediction"] + 1) % 3)),
        r"prompts.jsonl, line 2 prediction",
    ),
    "offset missing": (prompt(lambda p: p["starts"].pop()), r"prompts.jsonl, line 2 tokens, starts"),
    "end beyond the text": (prompt(lambda p: p["ends"].__setitem__(1, 999)), r"line 2 starts, ends: are no spans"),
    "start after end": (prompt(lambda p: p["starts"].__setitem__(1, 90)), r"line 2 starts, ends: are no spans"),
    "word below": (prompt(lambda p: p["words"].__setitem__(1, -2)), r"line 2 words"),
    "word not counted": (prompt(lambda p: p["words"].__setitem__(1, -1)), r"prompts.jsonl has \d+ counted tokens"),
    "another text": (prompt(lambda p: p.update(text="x" + p["text"])), r"line 2 headline_id: is that of another text"),
    "the same headline twice": (
        contradicting("prompts.jsonl", lambda p: p.__setitem__(1, {**p[0], "label": p[1]["label"]})),
        r"prompts.jsonl, line 2|headlines.1",
    ),
    "short column": (
        stats(lambda d: d["metrics"][2]["values"].pop()),
        r"feature_stats.json, metrics fraction_active values: has 99 of 100",
    ),
    "lost column": (stats(lambda d: d["metrics"].pop()), r"feature_stats.json, .*'kurtosis'"),
    "column twice": (stats(lambda d: d["metrics"].append(d["metrics"][0])), r"feature_stats.json, .*twice"),
    "unknown column": (stats(lambda d: d["metrics"].append({**d["metrics"][0], "name": "x"})), r"'x', which is not"),
    "ranking": (stats(lambda d: d["metrics"][0]["top"].reverse()), r"mean_activation top: is not a ranking"),
    "short counts": (stats(lambda d: d["headline_counts"].pop()), r"headline_counts"),
    "huge count": (stats(lambda d: d["headline_counts"].__setitem__(0, 10**18)), r"headline_counts"),
    "huge number of headlines": (
        stats(lambda d: d["metrics"][0].update(n=[1 << 60] * 100)),
        r"metrics mean_activation n: has 1152921504606846976",
    ),
    "classes": (stats(lambda d: d["class_sizes"].__setitem__(0, 9)), r"class_sizes"),
    "counts of a class": (stats(lambda d: d["class_headline_counts"][0].__setitem__(0, 9)), r"class_headline_counts"),
    "d_sae": (stats(lambda d: d.update(d_sae=-1)), r"feature_stats.json, d_sae"),
    "feature beyond": (
        example(lambda f: f.update(feature=100)),
        r"feature_tokens.json, features.0.feature: is 100, but there are 100",
    ),
    "a feature twice": (
        contradicting("feature_tokens.json", lambda d: d["features"].append(d["features"][0])),
        r"listed already",
    ),
    "histogram": (example(lambda f: f["histogram"].__setitem__(0, 99)), r"features.0.histogram: counts"),
    "word of the feature": (example(lambda f: f.update(word="x")), r"features.0.word"),
    "headline beyond": (
        example(lambda f: f["examples"][0].update(headline=5)),
        r"feature_tokens.json, features.0.examples.0.headline",
    ),
    "position beyond": (
        example(lambda f: f["examples"][0].update(position=999)),
        r"feature_tokens.json, features.0.examples.0.positions",
    ),
    "edges": (contradicting("feature_tokens.json", lambda d: d["histogram_edges"].reverse()), r"json, histogram_edges"),
    "headline lost": (
        contradicting("headline_features.json", lambda d: d["headlines"].pop()),
        r"headlines: has 4 of 5",
    ),
    "headlines swapped": (
        contradicting("headline_features.json", lambda d: d["headlines"].reverse()),
        r"headlines.0.headline_id",
    ),
    "feature twice in a headline": (strongest(lambda f: f.__setitem__(1, f[0])), r"headlines.0.features.1.feature"),
    "activation": (strongest(lambda f: f[0].update(activation=1e6)), r"headlines.0.features.0.positions"),
    "order of features": (strongest(raise_first), r"headlines.0.features.1.activation: is above"),
    "positions": (
        strongest(lambda f: f[0].update(positions=[3, 2], values=[0, 0])),
        r"headlines.0.features.0.positions",
    ),
    "token": (strongest(lambda f: f[0].update(token="x")), r"headlines.0.features.0.token"),
}


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("kind", [*DAMAGE, *CONTRADICTIONS])
def test_damage_is_named_by_file_and_field(tmp_path: Path, kind: str) -> None:
    damage, message = {**DAMAGE, **CONTRADICTIONS}[kind]
    folder = write_run(tmp_path / "runs", n_headlines=5, d_sae=100)
    damage(folder)
    with pytest.raises(DamagedRunError, match=message) as raised:
        read_run(folder)
    assert folder.name in str(raised.value) and "\n" not in str(raised.value) and len(str(raised.value)) < 600


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
