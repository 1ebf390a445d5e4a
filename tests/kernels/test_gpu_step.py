"""The training step on a card against plain torch: long lists, exact selection, and no waits.

`test_every_kind_steps` in test_gpu.py compares the whole state of each kind.
"""

import importlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from sae_pipeline.sae.kinds import stepper, unit_rows
from sae_pipeline.schema.kinds import KINDS, Kind

pytest.importorskip("triton", reason="there is no Triton for this platform")
CardStep = importlib.import_module("sae_pipeline.sae.kinds.card").CardStep
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def drawn(seed: int, *shape: int) -> Tensor:
    """Normal numbers."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(DEVICE)


@pytest.mark.parametrize(
    "kind", ["relu", *(pytest.param(kind, marks=pytest.mark.full) for kind in ("jumprelu", "gated"))]
)
def test_long_lists(kind: Kind) -> None:
    """Features that fire on many tokens are summed in segments, where there is room for them, as by plain torch."""
    rows = unit_rows(14, 10, torch.Generator().manual_seed(0)).to(DEVICE)
    x = drawn(1, 76, 10)
    ours, plain = (
        stepper(kind, rows, backend=name, precision="fp32", encoder_bias=2.0) for name in ("triton", "reference")
    )
    for step in (ours, plain):
        step.step(x, 3e-3, 1.0)
    for name, tensor in plain.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], tensor, rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize("kind", ["topk", "batchtopk"])
def test_selection_is_exact(kind: Kind) -> None:
    """The k largest are active, of equal ones the first, also where tokens have too few above the running threshold.

    All numbers are small multiples of powers of two, so sums are exact in any order and many entries are equal.
    """
    rows = (drawn(0, 40, 10) * 2).round() / 4
    rows[7:12] = rows[3]
    rows[:, 0] = rows[:, 0].clamp(min=0.25)  # no row is 0
    x = (drawn(1, 12, 10) * 4).round() / 4
    x[:4] /= 64
    ours, plain = (stepper(kind, rows, 4, backend=name, precision="fp32") for name in ("triton", "reference"))
    for batch in (x[4:], x[:6], x[:6] / 8):
        found, expected = (step.step(batch, 0.0, 0.0) for step in (ours, plain))
        assert torch.equal(found.counts, expected.counts)
        assert float(found.squared) == pytest.approx(expected.squared, rel=1e-5)
    assert isinstance(ours, CardStep)
    first, second = (batch.space.values for batch in ours._batches.values())
    assert first.data_ptr() == second.data_ptr() and len(second.T) == 6  # smaller batches take no memory of their own


@pytest.mark.parametrize("beta1", [0.0, 0.5])
def test_momentum_and_strides(beta1: float) -> None:
    """β₁ may be any number, and x need not be contiguous."""
    rows = unit_rows(12, 10, torch.Generator().manual_seed(0)).to(DEVICE)
    ours, plain = (
        stepper("relu", rows, backend=name, precision="fp32", encoder_bias=0.0, beta1=beta1)
        for name in ("triton", "reference")
    )
    for step in (ours, plain):
        for seed in (1, 2):
            step.step(drawn(seed, 10, 9).T, 3e-3, 1.0)
    for name, tensor in plain.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], tensor, rtol=1e-3, atol=1e-4, msg=name)


class Operations(TorchDispatchMode):
    """Counts torch's operations by name."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count the operation and run it."""
        self.counts[func.overloadpacket.__name__] += 1
        return func(*args, **kwargs or {})


WAITS = {"_local_scalar_dense", "item", "nonzero", "masked_select", "bincount", "repeat_interleave"}


@pytest.mark.parametrize("kind", KINDS)
def test_the_host_never_waits(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    """No operation of a step, beside the kernels, brings a number to the host."""
    rows = unit_rows(8, 6, torch.Generator().manual_seed(0)).to(DEVICE)
    step = stepper(kind, rows, 3, (4, 8), backend="triton", encoder_bias=0.0)
    x = drawn(1, 6, 6)
    for _ in range(2):
        step.step(x, 3e-3, 1.0)
    monkeypatch.setattr("sae_pipeline.kernels.gpu_step.launch", lambda *arguments, **options: None)
    with Operations() as seen:
        stats = step.step(x, 3e-3, torch.ones((), device=DEVICE))
    assert not WAITS & seen.counts.keys()
    assert isinstance(stats.loss, Tensor)


@pytest.mark.parametrize("fails", [False, True])
def test_a_step_is_captured_once(fails: bool, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """After two steps the sequence becomes a graph, which is replayed; where it cannot, kernels go on one by one."""
    step: Any = stepper("relu", unit_rows(8, 6, torch.Generator().manual_seed(0)), backend="triton")
    did: list[str] = []

    class Graph:
        def replay(self) -> None:
            did.append("replay")

    @contextmanager
    def capture(graph: Graph, stream: object, capture_error_mode: str) -> Iterator[None]:
        did.append("capture")
        if fails:
            raise RuntimeError("operation not permitted when stream is capturing\nand more")
        yield

    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", capture)
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: None)
    monkeypatch.setattr("sae_pipeline.kernels.gpu_step.launch", lambda *arguments, **options: None)
    launch, step._capture = step._launch, True
    monkeypatch.setattr(step, "_launch", lambda batch: (did.append("launch"), launch(batch)))
    for _ in range(4):
        step.step(torch.zeros(6, 6), 3e-3, 1.0)
    if fails:
        assert did == ["launch", "launch", "capture", "launch", "launch"]
        said = "SAE step: no CUDA graph, because operation not permitted when stream is capturing"
        assert capsys.readouterr().err.splitlines()[-1] == said
    else:
        assert did == ["launch", "launch", "capture", "launch", "replay", "replay"]
