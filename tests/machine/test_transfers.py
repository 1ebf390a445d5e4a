"""Work beside a device's own, and what fits into its memory."""

import threading

import pytest
import torch

from sae_pipeline.errors import ResourceError
from sae_pipeline.machine.memory import fits
from sae_pipeline.machine.transfers import beside


def test_calls_beside() -> None:
    """No more calls than threads run at a time, and the context ends when all have ended."""
    running, most, done = 0, 0, []
    lock, together = threading.Lock(), threading.Barrier(3)

    def work(number: int) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        together.wait(60)  # for the two others
        with lock:
            running -= 1
            done.append(number)

    with beside(3) as call:
        for number in range(12):
            call(work, number)
            assert running <= 3
    assert sorted(done) == list(range(12)) and most == 3


@pytest.mark.parametrize("n_threads", [0, 2])
def test_an_error_beside_is_raised(n_threads: int) -> None:
    """Also that of the last call; the context never hides one."""

    def work(number: int) -> None:
        if number == 3:
            raise ResourceError("the disk is full")

    with pytest.raises(ResourceError, match="the disk is full"), beside(n_threads) as call:
        for number in range(4):
            call(work, number)


def test_half_of_the_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A card keeps room for the steps beside the activations; main memory holds them already."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 4000))
    assert [fits(n, torch.device("cuda")) for n in (500, 501)] == [True, False]
    assert fits(1 << 60, torch.device("cpu"))
