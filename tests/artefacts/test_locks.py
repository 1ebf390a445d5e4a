"""Locks between real processes: they exclude each other, wait for each other, and die with their process."""

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from sae_pipeline.artefacts.checkpoints import unfinished
from sae_pipeline.artefacts.locks import HeldError, locked, locked_folder
from sae_pipeline.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
START = """
import os, sys
from pathlib import Path
from sae_pipeline.artefacts.locks import locked, locked_folder
path = Path(sys.argv[1])
"""
WAIT = "print('ready', flush=True); sys.stdin.read()"


@contextmanager
def other_process(code: str, path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that runs `code`, has printed its first line, and ends when its input is closed; killed at last."""
    arguments = [sys.executable, "-c", START + code, str(path)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            assert process.stdout and process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def test_a_lock_that_is_held_is_refused_and_is_free_when_its_process_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / ".lock"
    with other_process(f"with locked(path): {WAIT}", path) as holder:
        with pytest.raises(HeldError), locked(path, wait=False):
            pass
        holder.kill()
        holder.wait()
        with locked(path, wait=False):
            pass
    assert path.is_file()


@pytest.mark.parametrize("lock", ["locked(path / '.lock')", "locked_folder(path)"])
def test_those_who_wait_get_the_lock_one_after_the_other(tmp_path: Path, lock: str) -> None:
    code = f"""
print('ready', flush=True)
sys.stdin.read()
for _ in range(20):
    with {lock}:
        count = int((path / 'count').read_text())
        (path / 'count').write_text(str(count + 1))
"""
    (tmp_path / "count").write_text("0")
    with ExitStack() as stack:
        processes = [stack.enter_context(other_process(code, tmp_path)) for _ in range(4)]
        for process in processes:
            assert process.stdin
            process.stdin.close()
        assert [process.wait() for process in processes] == [0] * 4
    assert (tmp_path / "count").read_text() == "80"


def test_threads_exclude_each_other(tmp_path: Path) -> None:
    def enter() -> bool:
        with locked(tmp_path / ".lock", wait=False):
            return True

    with ThreadPoolExecutor(1) as pool:
        with locked(tmp_path / ".lock"), pytest.raises(HeldError):
            pool.submit(enter).result()
        assert pool.submit(enter).result()


def test_a_child_that_was_forked_meanwhile_does_not_keep_the_lock(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    code = f"""
reader, writer = os.pipe()
with locked(path):
    if os.fork():
        os.read(reader, 1)  # until the child runs
        {WAIT}
    else:
        os.write(writer, b".")
        sys.stdin.read()
"""
    with other_process(code, path) as parent:
        with pytest.raises(HeldError), locked(path, wait=False):
            pass
        parent.kill()
        parent.wait()
        with locked(path, wait=False):  # the child still waits for the end of its input
            pass


def test_a_locked_folder_holds_no_new_file_and_is_free_when_its_process_is_killed(tmp_path: Path) -> None:
    with other_process(f"with locked_folder(path): {WAIT}", tmp_path) as holder:
        assert not list(tmp_path.iterdir())
        holder.kill()
        with locked_folder(tmp_path):
            assert not list(tmp_path.iterdir())
    with pytest.raises(FileNotFoundError), locked_folder(tmp_path / "none"):
        pass
    assert not list(tmp_path.iterdir())


def test_work_that_is_in_progress_is_refused_and_goes_on_when_its_process_is_killed(tmp_path: Path) -> None:
    code = f"""
from sae_pipeline.artefacts.checkpoints import unfinished
with unfinished(path, "the same inputs") as checkpoint:
    (checkpoint.folder / "state").write_text("half")
    {WAIT}
"""
    with other_process(code, tmp_path) as worker:
        refusal = pytest.raises(UserError, match="Another process is at this very work")
        with refusal, unfinished(tmp_path, "the same inputs"):
            pass
        with unfinished(tmp_path, "other inputs"):
            pass
        worker.kill()
        worker.wait()
        with unfinished(tmp_path, "the same inputs") as checkpoint:
            assert (checkpoint.folder / "state").read_text() == "half"
    assert not list(tmp_path.iterdir())
