"""Writing runs: a run is whole or absent, its number is its own, and what cannot be written is named."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sae_pipeline.artefacts.checksums import file_sums, seal_of
from sae_pipeline.errors import UserError
from sae_pipeline.runs.drafts import new_run
from sae_pipeline.runs.folders import find_run, list_runs, read_run
from sae_pipeline.schema.common import RUN_FILES
from tests.support.run_factory import MADE_WITH, METRICS, metadata, write_run

ROOT = Path(__file__).resolve().parents[2]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def number_of(folder: Path) -> int:
    return int(folder.name.rpartition("-")[2])


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
    assert run.metadata.files == file_sums(folder, RUN_FILES[1:])
    assert run.checksum == seal_of((folder / "metadata.json").read_bytes())


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
    with pytest.raises(error), new_run(tmp_path, MADE_WITH) as draft:
        draft.write_prompts([])
        (draft.folder / "extra.json").write_text("{}")
        raise error
    assert names(tmp_path) == [".lock"]


def test_drafts_of_dead_writers_are_removed_and_those_of_living_ones_kept(tmp_path: Path) -> None:
    code = """
import sys, time
from pathlib import Path
from sae_pipeline.runs.drafts import new_run
with new_run(Path(sys.argv[1]), {"classifier_hash": "c", "sae_hash": "s"}) as draft:
    draft.write_prompts([{"text": "half"}])
    print(draft.folder, flush=True)
    time.sleep(60)
"""
    dying = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert dying.stdout
    left = Path(dying.stdout.readline().strip())
    with new_run(tmp_path, MADE_WITH) as living:
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
    with pytest.raises(UserError, match="cannot be saved"), new_run(tmp_path / "file" / "runs", MADE_WITH):
        pass
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o555)
    if os.geteuid():  # root writes anyway
        with pytest.raises(UserError, match=r"permission denied.*make the folder writable"), new_run(locked, MADE_WITH):
            pass


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), np.float32("nan")])
def test_a_metric_that_is_not_finite_is_named(tmp_path: Path, bad: Any) -> None:
    values = np.ones(100)
    values[17] = bad
    with (
        pytest.raises(UserError, match=r"feature_stats.json.*my_metric.*index 17"),
        new_run(tmp_path, MADE_WITH) as draft,
    ):
        draft.write_feature_stats({"d_sae": 100, "metrics": [{"name": "my_metric", "values": values}]})
    with pytest.raises(UserError, match=r"prompts.jsonl, record 1: "), new_run(tmp_path, MADE_WITH) as draft:
        draft.write_prompts([{"probabilities": [1.0]}, {"probabilities": [bad]}])
    assert names(tmp_path) == [".lock"]


def test_errors_of_the_caller_pass_unchanged(tmp_path: Path) -> None:
    def prompts() -> Any:
        yield {"text": "first"}
        raise OSError("the activation store is gone")

    with pytest.raises(OSError, match="store is gone"), new_run(tmp_path, MADE_WITH) as draft:
        draft.write_prompts(prompts())
    with pytest.raises(ValueError, match=r"feature_stats\.json"), new_run(tmp_path, MADE_WITH) as draft:
        draft.write_prompts([])
        draft.finish(metadata({"n_headlines": 0, "n_features": 1}, 1))


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
