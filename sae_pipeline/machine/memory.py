"""What happens when a device's memory runs out: smaller parts, or an error in one sentence."""

import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

import torch

from sae_pipeline.arrays import Ints
from sae_pipeline.errors import ResourceError

T = TypeVar("T")
_FROM_LIBRARIES = re.compile(
    "CUDA.*out of memory"  # the driver, and Triton
    "|CU(BLAS|DNN|SOLVER|SPARSE)_STATUS_ALLOC_FAILED"
    "|CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"
    "|CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate",  # its workspace does not fit
    re.DOTALL,
)


def out_of_memory(error: BaseException) -> bool:
    """Whether an error means that a card's memory is too small.

    torch's own allocator raises OutOfMemoryError. Libraries that allocate beside it end in a plain RuntimeError.
    """
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and _FROM_LIBRARIES.search(str(error)) is not None


def too_small(work: str) -> ResourceError:
    """The error of a device whose memory is too small for `work`."""
    return ResourceError(f"The device's memory is too small for {work}; use --device cpu.")


def fits(n_bytes: int, device: torch.device) -> bool:
    """Whether half of a card's free memory holds `n_bytes`. On a CPU they are where they belong."""
    return device.type != "cuda" or n_bytes <= torch.cuda.mem_get_info(device)[0] // 2


@contextmanager
def readable_memory_errors(work: str) -> Iterator[None]:
    """Turn "out of memory" into a ResourceError that names the work. It also decorates functions."""
    try:
        yield
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
        raise too_small(work) from error


class MicroBatches:
    """Runs a batch in as few parts as fit into the device's memory.

    When memory runs out, the size of the parts is halved and a line on stderr says so.
    """

    def __init__(self, work: str, size: int) -> None:
        """Start with parts of `size` items. `work` is the name of the work in messages."""
        self.work, self.size = work, size

    def run(self, function: Callable[[list[slice]], T], n: int) -> T:
        """The result of `function` for the parts of n items; it is called again with smaller ones when memory runs out.

        Raises ResourceError when a single item does not fit.
        """
        while True:
            try:
                return function([slice(i, min(i + self.size, n)) for i in range(0, n, self.size)])
            except RuntimeError as error:
                if not out_of_memory(error):
                    raise
                if min(self.size, n) <= 1:
                    raise too_small(self.work) from error
                self.size = min(self.size, n) // 2
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            print(f"{self.work}: out of memory, goes on with {self.size} at a time.", file=sys.stderr)


def for_each_batch(work: str, batches: Iterable[Ints], function: Callable[[Ints], None]) -> None:
    """Call `function` with each batch of indices [n], in as few parts as fit into the device's memory.

    `function` may be called again with indices that it has seen. Raises ResourceError when a single item does not fit.
    """
    micro = MicroBatches(work, sys.maxsize)

    def run(batch: Ints, parts: list[slice]) -> None:
        for part in parts:
            function(batch[part])

    for batch in batches:
        micro.run(partial(run, batch), len(batch))
