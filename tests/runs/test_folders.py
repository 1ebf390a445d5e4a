"""Run folders: what is written is whole, numbered once, and read back as typed; what is damaged is named."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sae_pipeline.errors import UserError
from sae_pipeline.runs.compact_json import six_digits
from sae_pipeline.runs.drafts import new_run
from sae_pipeline.runs.folders import DamagedRunError, UnknownRunError, find_run, list_runs, read_run
from sae_pipeline.schema.common import RUN_FILES
from tests.support.run_factory import LABELS, METRICS, metadata, write_run

ROOT = Path(__file__).resolve().parents[2]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def number_of(folder: Path) -> int:
    return int(folder.name.rpartition("-")[2])


# --- writing -------------------------------------------------------------------------------------------


def test_a_run_is_read_back_as_written(tmp_path: Path) -> None:
    folder = write_run(tmp_path, n_headlines=25, d_sae=300, top=7)
    assert names(folder) == sorted(RUN_FILES)
    run = read_run(folder)
    assert run.metadata.run_id == "run-001"
    assert run.metadata.created_at.endswith("+00:00")
    assert len(run.prompts) == len(run.headline_features.headlines) == 25
    assert [column.name for column in run.feature_stats.metrics] == METRICS
    for column in run.feature_stats.metrics:
        assert column.top == np.argsort(-np.array(column.values), kind="stable")[:7].tolist()
    assert names(tmp_path) == [".lock", folder.name]


def test_one_record_per_line_and_six_digits(tmp_path: Path) -> None:
    folder = write_run(tmp_path, n_headlines=5, d_sae=100)
    for name, key in (
        ("feature_stats.json", "metrics"),
        ("feature_tokens.json", "features"),
        ("headline_features.json", "headlines"),
    ):
        head, *records, tail = (folder / name).read_text().splitlines()
        whole = json.loads((folder / name).read_text())
        assert head.endswith(f'"{key}":[') and tail == "]}"
        assert [json.loads(record.removesuffix(",")) for record in records] == whole[key]
    for column in json.loads((folder / "feature_stats.json").read_text())["metrics"]:
        assert all(value == float(f"{value:.6g}") for value in column["values"])
    for line in (folder / "prompts.jsonl").read_text().splitlines():
        assert all(p == float(f"{p:.6g}") for p in json.loads(line)["probabilities"])


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=80))
def test_six_digits_equals_printing_with_six_digits(values: list[float]) -> None:
    assert six_digits(np.array(values)).tolist() == pytest.approx(
        [float(f"{value:.6g}") for value in values], rel=1.1e-5, abs=0
    )
    once = six_digits(np.array(values))
    assert [f"{v!r}" for v in once.tolist()] == [f"{float(f'{v:.6g}')!r}" for v in once.tolist()]


def test_numbers_go_on_after_the_highest_and_sort_as_numbers(tmp_path: Path) -> None:
    first, second = write_run(tmp_path, 3, 16), write_run(tmp_path, 3, 16)
    assert [number_of(first), number_of(second)] == [1, 2]
    shutil.rmtree(first)
    assert number_of(write_run(tmp_path, 3, 16)) == 3
    (tmp_path / "20200101-000000_run-999").mkdir()
    after = write_run(tmp_path, 3, 16)
    assert after.name.endswith("_run-1000")
    assert [entry.number for entry in list_runs(tmp_path)] == [1000, 999, 3, 2]
    assert find_run(tmp_path, None) == after
    assert read_run(after).metadata.run_id == "run-1000"


WRITER = """
import sys
from pathlib import Path
from tests.support.run_factory import write_run
for _ in range(10):
    print(write_run(Path(sys.argv[1]), 3, 16).name)
"""


def test_writers_in_several_processes_never_share_a_number(tmp_path: Path) -> None:
    arguments = [sys.executable, "-c", WRITER, str(tmp_path)]
    writers = [subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, cwd=ROOT) for _ in range(4)]
    written = [line for writer in writers for line in writer.communicate()[0].split()]
    assert all(writer.returncode == 0 for writer in writers)
    assert sorted(int(name.rpartition("-")[2]) for name in written) == list(range(1, 41))
    assert names(tmp_path) == sorted([".lock", *written])


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_leaving_early_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), new_run(tmp_path) as draft:
        draft.write_prompts([])
        (draft.folder / "extra.json").write_text("{}")
        raise error
    assert names(tmp_path) == [".lock"]


def test_drafts_of_dead_writers_are_removed_and_those_of_living_ones_kept(tmp_path: Path) -> None:
    code = """
import sys, time
from pathlib import Path
from sae_pipeline.runs.drafts import new_run
with new_run(Path(sys.argv[1])) as draft:
    draft.write_prompts([{"text": "half"}])
    print(draft.folder, flush=True)
    time.sleep(60)
"""
    dying = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert dying.stdout
    left = Path(dying.stdout.readline().strip())
    with new_run(tmp_path) as living:
        write_run(tmp_path, 3, 16)
        assert left.exists() and living.folder.exists()
        dying.send_signal(signal.SIGKILL)
        dying.wait()
        assert left.exists()
        write_run(tmp_path, 3, 16)
        assert not left.exists() and living.folder.exists()
    assert not living.folder.exists()


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))  # writing beyond it fails as on a full disk
    try:
        with pytest.raises(UserError, match=r"cannot be saved in .*too large.* analyse again"):
            write_run(tmp_path, 500, 2048)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert names(tmp_path) == [".lock"]


def test_an_unwritable_folder_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be saved"), new_run(tmp_path / "file" / "runs"):
        pass
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o555)
    if os.geteuid():  # root writes anyway
        with pytest.raises(UserError, match=r"permission denied.*make the folder writable"), new_run(locked):
            pass


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), np.float32("nan")])
def test_a_metric_that_is_not_finite_is_named(tmp_path: Path, bad: Any) -> None:
    values = np.ones(100)
    values[17] = bad
    with (
        pytest.raises(UserError, match=r"feature_stats.json.*my_metric.*index 17"),
        new_run(tmp_path) as draft,
    ):
        draft.write_feature_stats({"d_sae": 100, "metrics": [{"name": "my_metric", "values": values}]})
    with pytest.raises(UserError, match=r"prompts.jsonl, record 1: "), new_run(tmp_path) as draft:
        draft.write_prompts([{"probabilities": [1.0]}, {"probabilities": [bad]}])
    assert names(tmp_path) == [".lock"]


def test_errors_of_the_caller_pass_unchanged(tmp_path: Path) -> None:
    def prompts() -> Any:
        yield {"text": "first"}
        raise OSError("the activation store is gone")

    with pytest.raises(OSError, match="store is gone"), new_run(tmp_path) as draft:
        draft.write_prompts(prompts())
    with pytest.raises(ValueError, match=r"feature_stats\.json"), new_run(tmp_path) as draft:
        draft.write_prompts([])
        draft.finish(metadata(0, 1, 1))


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


def test_readers_see_only_whole_runs_while_a_writer_works(tmp_path: Path) -> None:
    done = threading.Event()

    def write() -> None:
        for seed in range(10):
            write_run(tmp_path, 5, 64, seed=seed)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not done.is_set():
        assert [entry.reason for entry in list_runs(tmp_path) if entry.reason] == []
    writer.join()
    assert len(list_runs(tmp_path)) == 10
