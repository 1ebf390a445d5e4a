"""The time that a device spends on training steps."""

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_KEPT = 32  # steps that the host may be ahead of the card; each of them holds a batch in the card's memory


class StepClock:
    """Adds up the seconds of steps.

    On CUDA the host only queues work, so the host's own time says nothing. Therefore events stand in the queue before
    and after each step. They are read later, so that no step waits for the card. The seconds of steps that run side by
    side on one card overlap.
    """

    def __init__(self, device: torch.device, seconds: float = 0.0) -> None:
        """`seconds` is what earlier steps took."""
        self._device, self._seconds = device, seconds
        self._events: deque[tuple[torch.cuda.Event, torch.cuda.Event]] = deque()

    @contextmanager
    def step(self) -> Iterator[None]:
        """What runs inside the context is one step. A step that raises does not count."""
        if self._device.type != "cuda":
            started = time.perf_counter()
            yield
            self._seconds += time.perf_counter() - started
            return
        queue = torch.cuda.current_stream(self._device)
        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        first.record(queue)
        yield
        last.record(queue)
        self._events.append((first, last))
        self._read(_KEPT)

    @property
    def seconds(self) -> float:
        """The seconds of all steps; waits until a card has done the last of them."""
        self._read(0)
        return self._seconds

    def _read(self, kept: int) -> None:
        """Read the oldest events, until `kept` steps are left."""
        while len(self._events) > kept:
            first, last = self._events.popleft()
            last.synchronize()
            self._seconds += first.elapsed_time(last) / 1000
