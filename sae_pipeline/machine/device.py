"""The choice of device and precision, which every artefact records."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor

from sae_pipeline.config import TOKENS_PER_BATCH, Precision
from sae_pipeline.errors import UserError


class Wants(NamedTuple):
    """How much a kind of device takes at a time. Results depend on it in their last digits only."""

    batch: int  # tokens, padding included, that a classifier reads at a time, unless the settings say otherwise
    tail: int  # tokens, padding included, that the layers after the hookpoint run on at a time, at most
    copies: int  # copies of tokens up to which one pass with all classes is faster than a pass per class
    block: int  # numbers in a dense block of pre-activations
    queues: bool  # work is queued, so that the host copies and writes meanwhile instead of waiting
    writers: int  # threads that write files meanwhile


# On a CPU, a batch of the tail whose activations stay in the cache is a quarter faster than one of 4,096 tokens. A card
# needs some 32,000 tokens to be busy.
_CPU = Wants(batch=TOKENS_PER_BATCH, tail=1024, copies=1024, block=1 << 24, queues=False, writers=0)
_CARD = Wants(batch=1 << 15, tail=1 << 15, copies=1 << 15, block=1 << 27, queues=True, writers=4)


def wants(device: torch.device) -> Wants:
    """What this device wants."""
    return _CARD if device.type == "cuda" else _CPU


def token_budget(device: torch.device, asked: int) -> int:
    """The tokens of a batch, padding included: as the settings ask or, by default, as the device wants."""
    return wants(device).batch if asked == TOKENS_PER_BATCH else asked


_WITHOUT_FLOAT64 = {"mps"}  # kinds of devices


def in_float64(tensor: Tensor) -> Tensor:
    """A tensor in float64, for sums and the like: on its device, or in main memory where that has no such numbers."""
    return (tensor.cpu() if tensor.device.type in _WITHOUT_FLOAT64 else tensor).double()


def for_training_saes(device: torch.device) -> torch.device:
    """Where SAEs are trained, whose kernels are for CUDA and the CPU: in place of MPS on the CPU."""
    return torch.device("cpu") if device.type == "mps" else device


def pick_device(name: str | None = None) -> torch.device:
    """The device called `name`; without a name CUDA where there is one, else the CPU.

    MPS, the graphics of a Mac, is used only where it is named: the program has not been run there.
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
        return card_has_bf16(device)
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))


def card_has_bf16(device: torch.device) -> bool:
    """Whether the chip of this very card has instructions for bf16; cards of one machine may differ."""
    with torch.cuda.device(device):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))


@contextmanager
def exact_fp32() -> Iterator[None]:
    """Inside the context, products of fp32 numbers keep all their bits, also where a program has allowed TF32 or bf16.

    Checks with a tight tolerance run in it.
    """
    backends = (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul)  # type: ignore[attr-defined]
    before = [backend.fp32_precision for backend in backends]
    try:
        for backend in backends:
            backend.fp32_precision = "ieee"
        yield
    finally:
        for backend, precision in zip(backends, before, strict=True):
            backend.fp32_precision = precision


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    """A context in which torch computes products in bf16 where `use_bf16` says so, else a context without effect."""
    if use_bf16(device, precision):
        return torch.autocast(device.type, torch.bfloat16)
    return nullcontext()


def dtype_name(device: torch.device, precision: Precision) -> str:
    """The name of the products' dtype for the record: "bf16" or "fp32"."""
    return "bf16" if use_bf16(device, precision) else "fp32"
