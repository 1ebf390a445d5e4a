"""The choice of kernels, made once per process and device and printed on stderr.

    auto        the best of the next seven that the device can run
    triton      CUDA
    amx         CPU: avx512, with the encoder on AMX tiles in bf16
    avx512, avxvnni, avx2, neon, plain
    reference   plain torch; `auto` uses it where there is no compiler, or where a card's kernels give wrong results

The environment variable SAE_KERNELS names the kernels; an argument overrides it.
"""

import os
import sys
from functools import cache
from typing import TYPE_CHECKING

import torch

from sae_pipeline.errors import UserError
from sae_pipeline.kernels.build import BuildError
from sae_pipeline.kernels.cpu import HAS_AMX, HAS_AVX2, HAS_AVX512, HAS_AVXVNNI, HAS_NEON, CpuKernels, cpu_features
from sae_pipeline.machine.memory import out_of_memory

if TYPE_CHECKING:
    from sae_pipeline.kernels.gpu import TritonKernels

CPU_REQUIREMENTS = {
    "amx": HAS_AMX,
    "avx512": HAS_AVX512,
    "avxvnni": HAS_AVX2 | HAS_AVXVNNI,
    "avx2": HAS_AVX2,
    "neon": HAS_NEON,
    "plain": 0,
}
"""The CPU kernels, best first, and the bits of `cpu_features` that each requires."""


def choose(requested: str | None = None, device: torch.device | str = "cpu") -> "CpuKernels | TritonKernels | None":
    """The kernels to use on `device`; None means plain torch, that is `reference`.

    A name that belongs to another device means auto. Raises UserError for an unknown name, and for kernels that this
    machine cannot run.
    """
    device = torch.device(device)
    requested = requested or os.environ.get("SAE_KERNELS") or "auto"
    if requested not in ("auto", "reference", "triton", *CPU_REQUIREMENTS):
        raise UserError(
            f"There are no SAE kernels {requested!r}; use auto, reference, triton, {', '.join(CPU_REQUIREMENTS)}."
        )
    if requested == "reference" or device.type not in ("cpu", "cuda"):
        return None
    interpreted = requested == "triton" and os.environ.get("TRITON_INTERPRET") == "1"
    if device.type == "cuda" or interpreted:
        return _choose_gpu(str(device), requested == "triton")
    return _choose_cpu("auto" if requested == "triton" else requested)


def plain_because(device: torch.device | str) -> str | None:
    """Why `auto` uses plain torch on `device`; None where it does not, or where the user asked for other kernels."""
    device = torch.device(device)
    asked = os.environ.get("SAE_KERNELS") or "auto"
    return _REASONS.get("cpu" if device.type == "cpu" else str(device)) if asked == "auto" else None


_REASONS: dict[str, str] = {}  # why plain torch is used, by device


@cache
def _choose_cpu(requested: str) -> CpuKernels | None:
    """The requested CPU kernels. For "auto" the best that this CPU can run; None where they cannot be compiled."""
    try:
        has = cpu_features()
    except BuildError as error:
        if requested != "auto":
            raise UserError(f"The SAE kernels {requested!r} cannot be used: {error}.") from error
        _REASONS["cpu"] = str(error)
        print(f"SAE kernels: plain torch, several times slower, because {error}.", file=sys.stderr)
        return None
    name = next(n for n, bit in CPU_REQUIREMENTS.items() if bit & has == bit) if requested == "auto" else requested
    if CPU_REQUIREMENTS[name] & has != CPU_REQUIREMENTS[name]:
        raise UserError(f"This CPU lacks the instructions for the SAE kernels {name!r}; use auto.")
    kernels = CpuKernels("avx512" if name == "amx" else name, amx=name == "amx")
    alone = "" if kernels.threads else ", on one thread, because the compiler lacks OpenMP"
    print(f"SAE kernels: {name}{alone}", file=sys.stderr)
    return kernels


@cache
def _choose_gpu(device: str, required: bool) -> "TritonKernels | None":
    """The Triton kernels, if they agree with plain torch on this card. Otherwise None, or UserError if required."""
    try:
        from sae_pipeline.kernels.gpu import TritonKernels, agree

        if not agree(torch.device(device)):
            raise ArithmeticError("they disagree with plain torch there")
    except Exception as error:  # no triton, a card that it does not know, a driver that is too old
        if out_of_memory(error):
            raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
        if required:
            raise UserError(f"The SAE kernels 'triton' cannot be used on {device}: {reason}.") from error
        _REASONS[device] = f"of triton: {reason}"
        print(f"SAE kernels: plain torch, several times slower, because {_REASONS[device]}.", file=sys.stderr)
        return None
    print(f"SAE kernels: triton on {device}", file=sys.stderr)
    return TritonKernels(torch.device(device))
