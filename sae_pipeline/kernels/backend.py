"""Which implementation runs is decided here, once per process and request, and said aloud on stderr.

    auto        the best that the device has, of the next five
    triton      CUDA
    amx         CPU: avx512 + the encoder on AMX tiles in bf16
    avx512, avx2, plain
    reference   plain torch; also what `auto` falls back to without a compiler, or where a card's kernels are wrong

The environment variable SAE_KERNELS sets it from outside; an argument wins over the variable.
"""

import os
import sys
from functools import cache
from typing import TYPE_CHECKING

import torch

from sae_pipeline.errors import UserError
from sae_pipeline.kernels.build import BuildError
from sae_pipeline.kernels.cpu import HAS_AMX, HAS_AVX2, HAS_AVX512, CpuKernels, cpu_features

if TYPE_CHECKING:
    from sae_pipeline.kernels.gpu import TritonKernels

NEEDS = {"amx": HAS_AMX, "avx512": HAS_AVX512, "avx2": HAS_AVX2, "plain": 0}  # best first


def choose(requested: str | None = None, device: torch.device | str = "cpu") -> "CpuKernels | TritonKernels | None":
    """The kernels to use on `device`, or None for plain torch. Raises UserError for those this machine lacks.

    The name of another device's kernels means auto.
    """
    device = torch.device(device)
    requested = requested or os.environ.get("SAE_KERNELS") or "auto"
    if requested not in ("auto", "reference", "triton", *NEEDS):
        raise UserError(f"There are no SAE kernels {requested!r}; use auto, reference, triton, {', '.join(NEEDS)}.")
    if requested == "reference" or device.type not in ("cpu", "cuda"):
        return None
    interpreted = requested == "triton" and os.environ.get("TRITON_INTERPRET") == "1"
    if device.type == "cuda" or interpreted:
        return _choose_gpu(str(device), requested == "triton")
    return _choose_cpu("auto" if requested == "triton" else requested)


@cache
def _choose_cpu(requested: str) -> CpuKernels | None:
    try:
        has = cpu_features()
    except BuildError as error:
        if requested != "auto":
            raise UserError(f"The SAE kernels {requested!r} cannot be used: {error}.") from error
        print(f"SAE kernels: plain torch, several times slower, because {error}.", file=sys.stderr)
        return None
    name = next(n for n, bit in NEEDS.items() if bit & has == bit) if requested == "auto" else requested
    if NEEDS[name] & has != NEEDS[name]:
        raise UserError(f"This CPU lacks the instructions for the SAE kernels {name!r}; use auto.")
    print(f"SAE kernels: {name}", file=sys.stderr)
    return CpuKernels("avx512" if name == "amx" else name, amx=name == "amx")


@cache
def _choose_gpu(device: str, insist: bool) -> "TritonKernels | None":
    """The Triton kernels, if they agree with plain torch on this card."""
    try:
        from sae_pipeline.kernels.gpu import TritonKernels, agree

        if not agree(torch.device(device)):
            raise ArithmeticError("they disagree with plain torch there")
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # no triton, a card that it does not know, a driver that is too old
        why = (str(error).strip() or type(error).__name__).splitlines()[-1]
        if insist:
            raise UserError(f"The SAE kernels 'triton' cannot be used on {device}: {why}.") from error
        print(f"SAE kernels: plain torch, several times slower, because of triton: {why}.", file=sys.stderr)
        return None
    print(f"SAE kernels: triton on {device}", file=sys.stderr)
    return TritonKernels()
