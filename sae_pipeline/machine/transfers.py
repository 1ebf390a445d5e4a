"""Copies between main memory and a graphics card, and threads for the CPU, so that neither waits for the other."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import torch
from torch import Tensor


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor in main memory, on `device`. A card queues the copy, and the host goes on meanwhile."""
    if device.type != "cuda" or tensor.is_cuda:
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


class Landing:
    """Main memory into which a device copies while it computes. On a CPU copies are made at once."""

    def __init__(self, device: torch.device) -> None:
        """`device` is the one that copies."""
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def room(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Memory for a tensor that will be copied; its content means nothing yet."""
        return torch.empty(shape, dtype=dtype, pin_memory=self._stream is not None)

    def copy(self, room: Tensor, source: Tensor) -> None:
        """Copy `source`, which is on the device, into a room of its shape and dtype; read it after `landed`."""
        if self._stream is None:
            room.copy_(source)
            return
        self._stream.wait_stream(torch.cuda.current_stream(source.device))
        with torch.cuda.stream(self._stream):
            room.copy_(source, non_blocking=True)
        source.record_stream(self._stream)  # its memory is not reused before

    def landed(self) -> Callable[[], None]:
        """A function that waits until all copies up to now have been made; any thread may call it."""
        if self._stream is None:
            return lambda: None
        event = torch.cuda.Event()
        event.record(self._stream)
        return event.synchronize


@contextmanager
def beside(n_threads: int) -> Iterator[Callable[..., None]]:
    """A function that makes calls in threads beside this one, at most `n_threads` at a time; for 0 it makes them here.

    The context ends when all calls have ended. An error in one of them is raised by a later call, or at the end.
    """
    if n_threads == 0:
        yield lambda function, *arguments: function(*arguments)
        return
    running: deque[Future[None]] = deque()
    with ThreadPoolExecutor(n_threads) as pool:

        def call(function: Callable[..., None], *arguments: object) -> None:
            if len(running) == n_threads:
                running.popleft().result()
            running.append(pool.submit(function, *arguments))

        yield call
        for future in running:
            future.result()
