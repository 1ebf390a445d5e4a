"""Compile the Triton kernels for cards that this machine need not have: `python -m tests.support.compile_gpu_kernels`.

Prints a table in Markdown: registers a thread, bytes a thread that are spilled to local memory, and bytes of shared
memory a block, of every kernel that the training steps of 4,096 tokens at 768 × 32k launch. With names of kernels as
arguments only of these; the flags choose cards by compute capability, kinds of SAEs and sizes. TRITON_INTERPRET must
not be 1.
"""

import argparse
import re
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
import triton
from triton.backends import nvidia
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from sae_pipeline.kernels import gpu, gpu_step
from sae_pipeline.kernels.reference import Lists
from sae_pipeline.sae.kinds import nested_prefixes, stepper
from sae_pipeline.sae.kinds.card import CardStep
from sae_pipeline.schema.kinds import KINDS, Kind

CARDS = {80: "A100", 90: "H100", 100: "B200"}  # by compute capability
_TYPES = {
    torch.float32: "*fp32",
    torch.bfloat16: "*bf16",
    torch.int32: "*i32",
    torch.int64: "*i64",
}


class Launch(NamedTuple):
    """One kernel with all that its machine code depends on."""

    name: str
    constants: tuple[tuple[str, Any], ...]
    types: tuple[tuple[str, str], ...]
    divisible: tuple[int, ...]  # indices of arguments that are multiples of 16
    options: tuple[tuple[str, int], ...]


class Resources(NamedTuple):
    """What a compiled kernel takes."""

    registers: int  # a thread
    spilled: int  # bytes of local memory a thread
    shared: int  # bytes a block


def step_launches(
    kind: Kind, n: int = 4096, d_in: int = 768, d_sae: int = 32768, k: int = 64, precision: str = "bf16"
) -> dict[Launch, Any]:
    """The kernels of a training step on n tokens, in their order. Nothing is computed: the tensors have no memory."""
    rows = torch.empty(d_sae, d_in, device="meta")
    plain: Any = stepper(kind, rows, k, nested_prefixes(d_sae))
    plain._low = torch.bfloat16 if precision == "bf16" else torch.float32
    step = CardStep(plain)
    step._has_floor = True  # else a number would be read
    return _recorded(lambda: step.step(torch.empty(n, d_in, device="meta"), 1e-3, 1.0))


def product_launches() -> dict[Launch, Any]:
    """The kernels of the products over lists."""
    ours = gpu.TritonKernels(torch.device("cpu"))
    ptr, cols, values, rows = (
        torch.empty(*size, device="meta") for size in ((4097,), (1 << 18,), (1 << 18,), (32768, 768))
    )
    lists = Lists(ptr.long(), cols.int(), values)

    def both() -> None:
        ours.spmm(lists, rows)
        ours.sddmm(lists, rows, rows)

    return _recorded(both)


def _recorded(work: Any) -> dict[Launch, Any]:
    """The launches of some work, without making them."""
    found: dict[Launch, Any] = {}
    launch = gpu_step.launch

    def record(kernel: Any, grid: tuple[int, ...], *arguments: Any, **options: int) -> None:
        found[_launch(kernel, arguments, options)] = kernel

    gpu_step.launch = gpu.launch = record
    try:
        work()
    finally:
        gpu_step.launch = gpu.launch = launch
    return found


def _launch(kernel: Any, arguments: tuple[Any, ...], options: dict[str, int]) -> Launch:
    """Types and constants as Triton's launcher derives them: an integer 1 is a constant, multiples of 16 are known."""
    constants, types, divisible = [], [], []
    for i, (param, value) in enumerate(zip(kernel.params, arguments, strict=True)):
        if param.is_constexpr or (type(value) is int and value == 1):
            constants.append((param.name, value))
            types.append((param.name, "constexpr"))
            continue
        is_tensor = isinstance(value, torch.Tensor)
        types.append((param.name, _TYPES[value.dtype] if is_tensor else "fp32" if type(value) is float else "i32"))
        if is_tensor or (type(value) is int and value % 16 == 0):  # torch's memory begins at multiples of 512
            divisible.append(i)
    name = kernel.__name__.removeprefix("_")
    return Launch(name, tuple(constants), tuple(types), tuple(divisible), tuple(sorted(options.items())))


def compiled(launch: Launch, kernel: Any, card: int) -> Resources:
    """Compile one kernel for a compute capability."""
    names = kernel.arg_names
    made = triton.compile(
        ASTSource(
            fn=kernel,
            signature=dict(launch.types),
            constexprs={(names.index(name),): value for name, value in launch.constants},
            attrs={(i,): [["tt.divisibility", 16]] for i in launch.divisible},
        ),
        target=GPUTarget("cuda", card, 32),
        options=dict(launch.options),
    )
    with TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.cubin"
        path.write_bytes(made.asm["cubin"])
        program = Path(nvidia.__path__[0]) / "bin" / "cuobjdump"
        done = subprocess.run([program, "--dump-resource-usage", path], capture_output=True, text=True, check=True)
    used = {name: int(number) for name, number in re.findall(r"(REG|STACK|LOCAL|SHARED):(\d+)", done.stdout)}
    return Resources(used["REG"], used["STACK"] + used["LOCAL"], made.metadata.shared)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="names of kernels; none: all")
    parser.add_argument("--cards", nargs="*", type=int, default=list(CARDS))
    parser.add_argument("--kinds", nargs="*", choices=KINDS, default=list(KINDS))
    parser.add_argument("--precision", choices=("bf16", "fp32"), default="bf16")
    for flag, default in (("--tokens", 4096), ("--d-in", 768), ("--d-sae", 32768), ("--k", 64)):
        parser.add_argument(flag, type=int, default=default)
    arguments = parser.parse_args()
    sizes = arguments.tokens, arguments.d_in, arguments.d_sae, arguments.k
    launches, used_by = product_launches(), dict[Launch, list[str]]()
    for kind in arguments.kinds:
        found = step_launches(kind, *sizes, arguments.precision)
        launches |= found
        for launch in found:
            used_by.setdefault(launch, []).append(kind)
    print(f"Triton {triton.__version__}; {arguments.precision}; registers / bytes spilled / bytes of shared memory\n")
    print("| kernel | steps of | threads |", *(f"{CARDS.get(card, card)} |" for card in arguments.cards))
    print("| --- | --- | --- |", *("--- |" for _ in arguments.cards))
    for launch, kernel in launches.items():
        if arguments.names and launch.name not in arguments.names:
            continue
        kinds = used_by.get(launch, ["products over lists"])
        threads = 32 * dict(launch.options).get("num_warps", 4)
        row = [launch.name, "all kinds" if kinds == [*KINDS] else ", ".join(kinds), str(threads)]
        row += [" / ".join(map(str, compiled(launch, kernel, card))) for card in arguments.cards]
        print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
