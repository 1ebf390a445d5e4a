"""How many threads torch takes, how they wait for each other, and work in which none waits."""

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

_STAT = Path("/proc/stat")
_WATCHED = 0.3  # seconds
_SPINS = "10000"  # some 50 µs


def wait_asleep() -> None:
    """Let a thread that waits for another one fall asleep soon. Call it before torch is loaded.

    Threads of OpenMP wait for each other after each matrix product, by default awake for some milliseconds. Where
    another program needs the core of one thread, the others hold their cores without using them. On 2 cores of which
    one is busy, fine-tuning makes about 1.8 times as many steps with this (`make check-reach PARTS=busy`). Results do
    not depend on it. The user's own settings are kept.
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = _SPINS


def free_cores(seconds: float = _WATCHED) -> float | None:
    """The cores of this process that no program used in the next `seconds`; None where the system does not tell.

    Only Linux tells.
    """
    before = _core_times()
    time.sleep(seconds)
    after = _core_times()
    spent = [(after[core][0] - idle, after[core][1] - ticks) for core, (idle, ticks) in before.items() if core in after]
    shares = [idle / ticks for idle, ticks in spent if ticks > 0]
    return sum(shares) if shares else None


def _core_times() -> dict[int, tuple[int, int]]:
    """The idle ticks and all ticks of each core that this process may use."""
    found = {}
    try:
        own = os.sched_getaffinity(0)
        for line in _STAT.read_text(encoding="ascii").splitlines():
            name, *numbers = line.split()
            if name.startswith("cpu") and name[3:].isdecimal() and int(name[3:]) in own:
                _, _, _, idle, waiting, *_ = ticks = [int(number) for number in numbers[:8]]
                found[int(name[3:])] = (idle + waiting, sum(ticks))
    except (OSError, AttributeError, ValueError):  # a sandbox may write the file in a way of its own
        return {}
    return found


def threads_to_take() -> int:
    """As many threads as cores are free, at least one and at most what torch takes by itself.

    With `OMP_NUM_THREADS` the user has chosen. Where another program needs the core of one thread, the others wait for
    that thread after each product, so fewer threads are faster.
    """
    import torch

    most = torch.get_num_threads()
    free = None if "OMP_NUM_THREADS" in os.environ or most == 1 else free_cores()
    return most if free is None else min(most, max(1, round(free)))


@contextmanager
def taking_threads(n: int) -> Iterator[None]:
    """Let torch take `n` threads inside the context."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def one_thread_each(worker: Callable[[], Callable[[T], R]], items: Iterable[T]) -> Iterator[R]:
    """The results for `items`, in their order. As many threads as torch takes work side by side, each on its own items.

    `worker` makes the function of one thread; torch divides nothing of its work among others, so that no thread waits
    for another one. This is for work that torch would divide into many small products. At most two items for each
    thread are in work or waiting to be asked for.
    """
    import torch

    n = torch.get_num_threads()
    if n == 1:
        yield from map(worker(), items)
        return
    own = threading.local()

    def start() -> None:
        torch.set_num_threads(1)  # of this thread, and of those that start from now on
        own.function = worker()

    waiting: deque[Future[R]] = deque()
    with taking_threads(n), ThreadPoolExecutor(n, initializer=start) as pool:
        for item in items:
            if len(waiting) == 2 * n:
                yield waiting.popleft().result()
            waiting.append(pool.submit(lambda item: own.function(item), item))
        while waiting:
            yield waiting.popleft().result()
