"""How many threads there are, and how they wait for each other."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from sae_pipeline.kernels import a_core_for_each_thread
from sae_pipeline.machine.threads import free_cores, one_thread_each, taking_threads, threads_to_take

ASKED = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
CODE = (
    "import os, sys; from sae_pipeline.__main__ import exit_code;"
    f"exit_code(lambda: print([os.environ.get(name) for name in {ASKED}], 'torch' in sys.modules))"
)


@pytest.mark.parametrize(
    ("given", "found"),
    [({}, [None, "10000"]), ({"OMP_WAIT_POLICY": "active"}, ["active", None]), ({"GOMP_SPINCOUNT": "7"}, [None, "7"])],
)
def test_commands_say_so_before_torch_loads(given: dict[str, str], found: list[str | None]) -> None:
    """The runtime reads the variables when it is loaded. What the user has set is kept."""
    own = {name: value for name, value in os.environ.items() if name not in ASKED}
    done = subprocess.run([sys.executable, "-c", CODE], env=own | given, capture_output=True, text=True)
    assert done.stdout == f"{found} False\n", done.stderr


def test_programs_that_keep_the_cores_busy_are_seen() -> None:
    """Beside as many busy programs as cores, hardly a core is free."""
    cores = len(os.sched_getaffinity(0))
    spin = [sys.executable, "-c", "while True: pass"]
    spinning = [subprocess.Popen(spin) for _ in range(cores)]
    try:
        busy = free_cores(1.0)
    finally:
        for process in spinning:
            process.kill()
            process.wait()
    assert busy is not None and busy < 0.2 * cores


@pytest.mark.parametrize("content", ["", "\n", "cpu0 1 2\n", "cpu0 many\n"])
def test_a_sandbox_that_counts_in_its_own_way_tells_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    (tmp_path / "stat").write_text(content)
    monkeypatch.setattr("sae_pipeline.machine.threads._STAT", tmp_path / "stat")
    assert free_cores(0.01) is None


def test_the_users_number_of_threads_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """`OMP_NUM_THREADS` is final; otherwise there are as many threads as free cores, but one at least."""
    most = torch.get_num_threads()
    with taking_threads(4):
        monkeypatch.setenv("OMP_NUM_THREADS", "4")
        assert threads_to_take() == 4
        monkeypatch.delenv("OMP_NUM_THREADS")
        for free, threads in [(0.1, 1), (1.6, 2), (9.0, 4), (None, 4)]:
            monkeypatch.setattr("sae_pipeline.machine.threads.free_cores", lambda free=free: free)
            assert threads_to_take() == threads
    assert torch.get_num_threads() == most


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_work_side_by_side(threads: int) -> None:
    """Results come in order; each thread has a function of its own and torch's work to itself."""
    most = torch.get_num_threads()
    made: list[int] = []

    def worker() -> Callable[[int], tuple[int, int, int]]:
        made.append(threading.get_ident())
        return lambda item: (item, threading.get_ident(), torch.get_num_threads())

    with taking_threads(threads):
        found = list(one_thread_each(worker, iter(range(100))))
        assert torch.get_num_threads() == threads
    assert [item for item, *_ in found] == list(range(100))
    assert {thread for _, thread, _ in found} <= set(made) and len(made) <= threads
    assert {n for *_, n in found} == {1}
    assert torch.get_num_threads() == most


def test_an_error_in_one_thread_ends_the_work() -> None:
    with taking_threads(2), pytest.raises(ZeroDivisionError):
        list(one_thread_each(lambda: lambda item: 1 / item, [2, 1, 0, 1]))


def test_few_items_wait_to_be_asked_for() -> None:
    """Memory is bounded however slow the caller is."""
    begun: list[int] = []
    with taking_threads(2):
        results = one_thread_each(lambda: begun.append, range(100))
        next(results)
        time.sleep(0.2)
        assert len(begun) <= 5
        results.close()  # type: ignore[attr-defined]  # a generator


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a thread which cores it may take")
def test_each_thread_keeps_a_core_of_its_own_inside() -> None:
    """Afterwards all threads may take any core again, and so may a thread that starts then."""
    cores = os.sched_getaffinity(0)
    if len(cores) < 2:
        pytest.skip("the machine has one core")

    def allowed() -> list[set[int]]:
        return [os.sched_getaffinity(int(task.name)) for task in Path("/proc/self/task").iterdir()]

    with taking_threads(len(cores)):
        with pytest.raises(KeyError), a_core_for_each_thread():
            inside = [thread for thread in allowed() if len(thread) == 1]
            raise KeyError
        with taking_threads(1), a_core_for_each_thread():
            assert os.sched_getaffinity(0) == cores  # one of two threads may move
    assert {core for thread in inside for core in thread} == cores
    assert all(thread == cores for thread in allowed())
