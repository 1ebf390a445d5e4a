"""Counts what a training step makes a card's host do: `TRITON_INTERPRET=1 python -m benchmarks.gpu.counts`.

Prints a table in Markdown with a row for each kind: the kernels and torch operations of one step, how many of these are
in the step's CUDA graph, and how often the host waits for the card. It counts on a CPU, where Triton's interpreter runs
the same sequence at a tiny size; sizes do not change it. A step that goes over the products of lists, as ranks that
share a step take it, is counted with `--shared`. Views launch nothing and are left out.
"""

import argparse
from collections import Counter
from typing import Any

import torch
import triton.runtime.interpreter as interpreter
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from sae_pipeline.sae.kinds import stepper, unit_rows
from sae_pipeline.sae.training import Sparsity
from sae_pipeline.schema.kinds import KINDS, Kind

VIEWS = frozenset(
    (
        *("view", "_unsafe_view", "_reshape_alias", "select", "slice", "unbind", "split", "split_with_sizes", "narrow"),
        *("expand", "permute", "transpose", "t", "unsqueeze", "squeeze", "detach", "alias", "as_strided"),
        *("empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "lift_fresh"),
    )
)
"""Operations that launch nothing."""

WAITS = {
    "_local_scalar_dense": 1,
    "nonzero": 1,
    "masked_select": 1,
    "unique_consecutive": 1,
    "repeat_interleave": 1,
    "bincount": 2,  # for the smallest and for the largest number
}
"""Operations for which the host waits on CUDA, and how often."""


class Counted(TorchDispatchMode):
    """Counts operations, waits and launches of Triton's kernels while it is on."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()
        self.capturing = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count an operation and run it."""
        name = func.overloadpacket.__name__
        if name == "repeat_interleave" and (kwargs or {}).get("output_size") is not None:
            self.counts["operations"] += 1
        elif self.capturing and name == "_to_copy" and args[0].dtype is torch.bfloat16:
            pass  # only the interpreter needs fp32 for the encoder's product
        elif name not in VIEWS:
            self.counts["operations"] += name != "_local_scalar_dense"
            self.counts["waits"] += WAITS.get(name, 0) + _by_mask(name, args)
        return func(*args, **kwargs or {})


def _by_mask(name: str, args: Any) -> int:
    """1 where a tensor is indexed by booleans, of which the host must know the number."""
    if name not in ("index", "index_put", "index_put_"):
        return 0
    return int(any(isinstance(index, Tensor) and index.dtype is torch.bool for index in args[1]))


def counts(kind: Kind, shared: bool) -> dict[str, int]:
    """What one step with `Sparsity.steer` launches, when the running thresholds are known."""
    draw = torch.Generator().manual_seed(0)
    rows, x = unit_rows(64, 16, draw), torch.randn(16, 16, generator=draw) * 2
    bias = -1.0 if KINDS[kind].fixes_k else -4.0  # so many are active that thresholds exist, so few that lists pay
    step: Any = stepper(kind, rows, 3, (32, 64), backend="triton", encoder_bias=bias)
    if shared:
        step = getattr(step, "plain", step)
    sparsity, counted, captured = Sparsity(1.0, 3.0), Counted(), Counter[str]()
    executor: Any = interpreter.GridExecutor
    run, launch = executor.__call__, getattr(step, "_launch", None)

    def call(self: Any, *arguments: Any, **options: Any) -> Any:
        counted.counts["kernels"] += 1
        before = counted.counts.copy()
        found = run(self, *arguments, **options)
        counted.counts = before  # what the interpreter itself does
        return found

    def capture(batch: Any) -> None:
        before, counted.capturing = counted.counts.copy(), True
        launch(batch)
        counted.capturing = False
        captured.update(counted.counts - before)

    def one() -> None:
        stats = step.step(x, 1e-3, sparsity.weight)
        sparsity.steer(stats.l0, 100)

    for _ in range(3):
        one()
    if launch is not None:
        step._launch = capture
    executor.__call__ = call
    try:
        with counted:
            one()
    finally:
        executor.__call__ = run
    every = counted.counts["kernels"] + counted.counts["operations"]
    in_graph = captured["kernels"] + captured["operations"]
    return {
        "kernels": counted.counts["kernels"],
        "operations": counted.counts["operations"],
        "in the graph": in_graph,
        "launches of the host": every - in_graph + (in_graph > 0),
        "waits": counted.counts["waits"],
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", action="store_true", help="the steps of ranks that share them")
    parser.add_argument("--kinds", nargs="*", choices=KINDS, default=list(KINDS))
    arguments = parser.parse_args()
    for i, kind in enumerate(arguments.kinds):
        row = counts(kind, arguments.shared)
        if i == 0:
            print("| step |", *(f"{name} |" for name in row))
            print("| --- |", *("--- |" for _ in row))
        print(f"| {kind} |", *(f"{number} |" for number in row.values()), flush=True)


if __name__ == "__main__":
    main()
