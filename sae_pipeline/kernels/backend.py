"""Which implementation runs is decided here, once per process and request, and said aloud on stderr.

    auto        the best that this CPU has, of the next four
    amx         avx512 + the encoder on AMX tiles in bf16
    avx512, avx2, plain
    reference   plain torch; also what `auto` falls back to without a compiler

The environment variable SAE_KERNELS sets it from outside; an argument wins over the variable. On CUDA the step is
the one of reference.py, which for ReLU is dense in bf16: kinds/engine.py is the seam where Triton kernels would go in.
"""

import os
import sys
from functools import cache

from ..errors import UserError
from .build import BuildError
from .cpu import HAS_AMX, HAS_AVX2, HAS_AVX512, CpuKernels, cpu_features

NEEDS = {"amx": HAS_AMX, "avx512": HAS_AVX512, "avx2": HAS_AVX2, "plain": 0}  # best first


def choose(requested: str | None = None) -> CpuKernels | None:
    """The CPU kernels to use, or None for plain torch. Raises UserError for a backend this machine lacks."""
    return _choose(requested or os.environ.get("SAE_KERNELS") or "auto")


@cache
def _choose(requested: str) -> CpuKernels | None:
    if requested not in ("auto", "reference", *NEEDS):
        raise UserError(f"There are no SAE kernels {requested!r}; use auto, reference, {', '.join(NEEDS)}.")
    if requested == "reference":
        return None
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
