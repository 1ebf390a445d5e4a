"""The choice of device and precision. Every artefact records both."""

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

import torch

from sae_pipeline.config import Precision
from sae_pipeline.errors import ResourceError, UserError

T = TypeVar("T")


def pick_device(name: str | None = None) -> torch.device:
    """The device called `name`; without a name CUDA where there is one, else the CPU.

    Raises UserError for a device that this machine lacks.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UserError(f"Device {name!r} is not available here; use --device cpu.") from error
    return device


def use_bf16(device: torch.device, precision: Precision) -> bool:
    """Whether to compute products in bf16; "auto" means where the chip has instructions for it."""
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    """A context in which torch computes products in bf16 where `use_bf16` says so, else a context without effect."""
    if use_bf16(device, precision):
        return torch.autocast(device.type, torch.bfloat16)
    return nullcontext()


def dtype_name(device: torch.device, precision: Precision) -> str:
    """The name of the products' dtype for the record: "bf16" or "fp32"."""
    return "bf16" if use_bf16(device, precision) else "fp32"


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
            except torch.OutOfMemoryError as error:
                if min(self.size, n) <= 1:
                    raise ResourceError(
                        f"The device's memory is too small for {self.work}; use --device cpu."
                    ) from error
                self.size = min(self.size, n) // 2
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            print(f"{self.work}: out of memory, goes on with {self.size} at a time.", file=sys.stderr)
