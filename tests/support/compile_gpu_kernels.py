"""Compile the Triton kernels for cards that this machine need not have: `python -m tests.support.compile_gpu_kernels`.

Prints the compute capability of each card, and "cubin" for each kernel that became machine code.
"""

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from sae_pipeline.kernels import gpu

CARDS = (80, 90)  # compute capabilities of A100 and H100
_TYPES = {"ptr": "*i64", "cols": "*i32", "counts": "*i32", "n": "i32", "d": "i32", "x": "*bf16", "r": "*bf16"}
_TYPES |= dict.fromkeys(("lr", "l1", "beta1", "beta2", "eps"), "fp32")
_FLAGS = dict.fromkeys(("momentum", "has_gain", "has_extra", "has_slope"), True)
_KERNELS = [
    (gpu._count, {}),
    (gpu._fill, {}),
    (gpu._spmm, {"D": 256, "E": 32}),
    (gpu._sddmm, {"D": 256, "E": 32}),
    (gpu._update, {"D": 512, "E": 16, **_FLAGS}),
    (gpu._update, {"D": 1024, "E": 8, **_FLAGS}),
]


def main() -> None:
    """Compile every kernel for every card."""
    for card in CARDS:
        print(card)
        for kernel, constants in _KERNELS:
            names = kernel.arg_names
            types = {name: "constexpr" if name in constants else _TYPES.get(name, "*fp32") for name in names}
            constexprs = {(names.index(name),): value for name, value in constants.items()}
            compiled = triton.compile(
                ASTSource(fn=kernel, signature=types, constexprs=constexprs),
                target=GPUTarget("cuda", card, 32),
                options={"num_warps": 8 if _FLAGS.keys() <= constants.keys() else 4},
            )
            print("cubin" if compiled.asm["cubin"] else "nothing")


if __name__ == "__main__":
    main()
