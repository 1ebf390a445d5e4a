"""Work that runs side by side on one card."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


class Lane:
    """A CUDA stream of its own; on other devices work runs as it would without a lane."""

    def __init__(self, device: torch.device) -> None:
        """Make the stream of a lane on `device`."""
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    @contextmanager
    def after(self, x: Tensor) -> Iterator[None]:
        """Launch what is inside on this lane, after x has been computed outside."""
        if self._stream is None:
            yield
            return
        self._stream.wait_stream(torch.cuda.current_stream(x.device))
        x.record_stream(self._stream)
        with torch.cuda.stream(self._stream):
            yield

    def join(self) -> None:
        """Let what is launched outside from now on wait for what was launched on this lane."""
        if self._stream is not None:
            torch.cuda.current_stream(self._stream.device).wait_stream(self._stream)


def join(lanes: Iterable[Lane]) -> None:
    """Join every lane."""
    for lane in lanes:
        lane.join()
