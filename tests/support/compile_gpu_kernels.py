"""Compile the Triton kernels for cards that this machine need not have: `python -m tests.support.compile_gpu_kernels`.

Prints the compute capability of each card, and "cubin" for each kernel that became machine code.
"""

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from sae_pipeline.kernels import gpu, gpu_step

CARDS = (80, 90)  # compute capabilities of A100 and H100
_INTS = ("n", "d", "d_sae", "words", "turned_words", "n_cols", "wanted", "k", "each", "room", "programs", "last")
_FLOATS = (
    "lr",
    "penalty",
    "lr_b_dec",
    "correct_b_dec",
    "follow",
    "beta1",
    "beta2",
    "eps",
    "bandwidth",
    "share",
    "rise",
    "fall",
)
_INT_POINTERS = ("cols", "counts", "bits", "turned", "segments", "short", "n_short", "digits", "level", "n_steps")
_TYPES = dict.fromkeys(_INTS, "i32") | dict.fromkeys(_FLOATS, "fp32") | dict.fromkeys(_INT_POINTERS, "*i32")
_TYPES |= {"active_counts": "*i32", "slot_ends": "*i64", "owner": "*i64"}
_TYPES |= dict.fromkeys(("W", "r", "r_gate", "low_enc", "low_dec"), "*bf16")
_STEP = {"levels": 1, "D": 512, "E": 4}
_KERNELS = [  # kernel, its constants, types of arguments that mean something else elsewhere
    (gpu._spmm, {"D": 256, "E": 32}, {"ptr": "*i64"}),
    (gpu._sddmm, {"D": 256, "E": 32}, {"ptr": "*i64"}),
    (gpu_step._encode, {"again": True, "one_threshold": True, "T": 128, "F": 128, "K": 64}, {"x": "*bf16"}),
    (gpu_step._turn, {}, {}),
    (gpu_step._list, {"again": False, "segmented": True, "W": 256}, {}),
    (gpu_step._short, {"of_all": False}, {}),
    (gpu_step._keep_rows, {"W": 256}, {}),
    (gpu_step._digits, {"level": 2}, {}),
    (gpu_step._cut, {"levels": 4}, {}),
    (gpu_step._keep_above, {"W": 256}, {}),
    (gpu_step._decode, {"kind": "gated", **_STEP}, {"W_dec": "*bf16"}),
    (gpu_step._parts, {"kind": "jump", **_STEP}, {"x": "*bf16"}),
    (gpu_step._update, {"kind": "plain", "momentum": False, **_STEP}, {"x": "*bf16"}),
    (gpu_step._update, {"kind": "gated", "momentum": True, **_STEP}, {"x": "*bf16"}),
    (gpu_step._tell, {}, {}),
    (gpu_step._finish, {}, {}),
]


def main() -> None:
    """Compile every kernel for H100, and for A100 the one whose instructions differ, the encoder's product."""
    for card in CARDS:
        print(card)
        for kernel, constants, others in _KERNELS:
            if card == 80 and kernel is not gpu_step._encode:
                continue
            names, known = kernel.arg_names, _TYPES | others
            types = {name: "constexpr" if name in constants else known.get(name, "*fp32") for name in names}
            constexprs = {(names.index(name),): value for name, value in constants.items()}
            compiled = triton.compile(
                ASTSource(fn=kernel, signature=types, constexprs=constexprs),
                target=GPUTarget("cuda", card, 32),
                options={"num_warps": 4},
            )
            print("cubin" if compiled.asm["cubin"] else "nothing")


if __name__ == "__main__":
    main()
