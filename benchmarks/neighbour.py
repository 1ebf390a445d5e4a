"""How much slower work becomes beside a program that keeps one core busy."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median

ROUNDS = 3


@contextmanager
def busy_neighbour() -> Iterator[None]:
    """Keep one core busy inside the context."""
    neighbour = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        neighbour.kill()
        neighbour.wait()


def busy_neighbour_factor(seconds: Callable[[], float]) -> float | None:
    """The time of some work beside a busy neighbour, divided by its time alone; None on a machine with one core.

    `seconds` does the work once and returns how long it took. The medians of three rounds are compared, in each of
    which the work is done once alone and once beside the neighbour. The neighbour and one thread then share
    a core. If they do so fairly, the work has n - 0.5 of n cores and takes n / (n - 0.5) times as long: on 2 cores
    1.33 times.
    """
    if (os.cpu_count() or 1) < 2:
        return None
    alone, beside = [], []
    for _ in range(ROUNDS):
        alone.append(seconds())
        with busy_neighbour():
            beside.append(seconds())
    return round(median(beside) / median(alone), 2)
