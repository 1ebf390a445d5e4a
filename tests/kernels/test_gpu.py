"""The Triton kernels against their plain-torch twins.

They run on a card where there is one, else line by line on the CPU: tests/__init__.py sets TRITON_INTERPRET.
"""

import importlib
import os
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sae_pipeline.errors import UserError
from sae_pipeline.kernels import AdamSettings, Features, Lists, Rule, backend, choose, reference
from sae_pipeline.sae.kinds import stepper, unit_rows
from sae_pipeline.schema.kinds import KINDS, Kind

triton = pytest.importorskip("triton", reason="there is no Triton for this platform")
kernels = importlib.import_module("sae_pipeline.kernels.gpu")
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
OURS = kernels.TritonKernels(DEVICE)


def version(package: Any) -> tuple[int, ...]:
    """(3, 6) for 3.6.0."""
    return tuple(int(number) for number in package.__version__.split(".")[:2])


pytestmark = pytest.mark.skipif(
    os.environ["TRITON_INTERPRET"] == "1" and version(triton) < (3, 7) and version(np) >= (2, 4),
    reason="the interpreter of Triton before 3.7 does not work with numpy 2.4 or newer",
)


def drawn(seed: int, *shape: int) -> Tensor:
    """Normal numbers in float64."""
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).to(DEVICE)


def uneven_lists(n_rows: int, n_cols: int, seed: int) -> Lists:
    """Lists in float64: some rows are empty, the second is full, some columns have no entry."""
    dense = drawn(seed, n_rows, n_cols) - 1
    dense[::3], dense[1:2] = 0, 1
    dense[:, 2::4] = 0
    return reference.compress(dense)


def single(lists: Lists) -> Lists:
    """The same lists in fp32."""
    return lists._replace(values=lists.values.float())


@given(n=st.integers(1, 33), d=st.integers(1, 30), d_sae=st.integers(1, 40), seed=st.integers(0, 2**31))
@settings(deadline=None, max_examples=6)
def test_products(n: int, d: int, d_sae: int, seed: int) -> None:
    """Encoding, decoding and sampled products equal those of the twins for all shapes."""
    x, W, b, low = drawn(seed, n, d), drawn(seed + 1, d_sae, d), drawn(seed + 2, d_sae), drawn(seed + 3, d_sae)
    found = OURS.encode_by_feature(x.float(), W.float(), b.float(), low.float())
    f = x @ W.T + b
    listed = torch.zeros(d_sae, n, dtype=torch.bool, device=DEVICE)
    listed[found.rows, found.cols.long()] = True
    unclear = (f - low).abs() < 1e-5
    assert torch.equal(listed | unclear.T, (f > low).T | unclear.T)
    assert all(found.cols[a:b].diff().gt(0).all() for a, b in zip(found.ptr, found.ptr[1:], strict=False))
    torch.testing.assert_close(found.values.double(), f.T[found.rows, found.cols.long()], rtol=1e-4, atol=1e-5)
    lists = uneven_lists(n, d_sae, seed)
    for dtype in (torch.float32, torch.float64):
        ours = OURS.spmm(lists._replace(values=lists.values.to(dtype)), W.to(dtype))
        torch.testing.assert_close(ours.double(), reference.spmm(lists, W), rtol=1e-4, atol=1e-5)
        ours = OURS.sddmm(lists, x.to(dtype), W.to(dtype))
        torch.testing.assert_close(ours.double(), reference.sddmm(lists, x, W), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("beta1", [0.0, 0.9])
@pytest.mark.parametrize("ruled", [False, True])
@pytest.mark.parametrize(("n", "d", "d_sae"), [(9, 5, 3), pytest.param(40, 37, 12, marks=pytest.mark.full)])
def test_update(n: int, d: int, d_sae: int, ruled: bool, beta1: float, dtype: torch.dtype) -> None:
    """Every weight and moment moves as in the float64 twin; features without an entry keep their bits."""
    lists = uneven_lists(d_sae, n, 0)
    x, r = (drawn(seed, n, d).to(dtype) for seed in (1, 2))
    rows = unit_rows(d_sae, d, torch.Generator().manual_seed(3)).double().to(DEVICE)
    moments = [drawn(seed, d_sae).abs() for seed in (4, 5, 6)]
    first = [drawn(7, d_sae, d), drawn(8, d_sae, d), drawn(9, d_sae)] if beta1 else [drawn(7, d_sae, 0)] * 3
    start = [drawn(10, d_sae, d), rows, drawn(11, d_sae), *moments, *first]
    n_steps = torch.arange(d_sae, dtype=torch.int32, device=DEVICE)
    rule = Rule(*(drawn(seed, len(lists.cols)) for seed in (12, 13, 14))) if ruled else Rule()
    adam = AdamSettings(1e-2, 0.3, beta1, weight_decay=0.7)
    expected = Features(*(tensor.clone() for tensor in start), n_steps.clone())
    reference.update(lists, x.double(), r.double(), expected, adam, rule)
    found = Features(*(tensor.float() for tensor in start), n_steps.clone())
    ours = Rule(*(None if tensor is None else tensor.float() for tensor in rule))
    OURS.update(single(lists), x, r, found, adam, ours)
    for name, tensor, twin in zip(Features._fields, found, expected, strict=True):
        torch.testing.assert_close(tensor.double(), twin.double(), rtol=1e-4, atol=1e-5, msg=name)
    silent = lists.ptr.diff() == 0
    assert silent.any() and torch.equal(found.W_enc[silent], start[0].float()[silent])
    if ours.slope is not None and rule.slope is not None:
        slope = 2 / n * (r.double()[lists.cols.long()] * rows[lists.rows]).sum(1)
        torch.testing.assert_close(ours.slope.double(), slope, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_steps(kind: Kind) -> None:
    """Two steps of each kind leave the state that plain torch leaves."""
    rows = unit_rows(40, 20, torch.Generator().manual_seed(0)).to(DEVICE)
    x = drawn(1, 15, 20).float() * 2
    ours, plain = (
        stepper(kind, rows, 3, (32, 40), backend=name, precision="fp32", encoder_bias=-4.0)
        for name in ("triton", "reference")
    )
    for step in (ours, plain):
        for batch in (x[:8], x[8:]):
            step.step(batch, 3e-3, 1.0)
    for name, tensor in plain.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], tensor, rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize(
    "kind", [kind if kind in ("relu", "batchtopk") else pytest.param(kind, marks=pytest.mark.full) for kind in KINDS]
)
def test_every_kind_steps_in_bf16(kind: Kind) -> None:
    """With products in bf16, the default on a card, loss, L0 and error are the same up to rounding."""
    rows = unit_rows(40, 20, torch.Generator().manual_seed(0)).to(DEVICE)
    x = drawn(1, 40, 20).float() * 2
    ours, plain = (
        stepper(kind, rows, 3, (32, 40), backend=name, precision=precision, encoder_bias=-4.0).step(x, 3e-3, 1.0)
        for name, precision in (("triton", "bf16"), ("reference", "fp32"))
    )
    assert float(ours.loss) == pytest.approx(plain.loss, rel=0.02)
    assert float(ours.squared) == pytest.approx(plain.squared, rel=0.02)
    assert float(ours.active) == pytest.approx(plain.active, rel=0.02, abs=1)


def test_bf16_products() -> None:
    """With x in bf16 the encoder adds products of the rounded numbers, and the sums are not rounded to bf16."""
    x, W, b = drawn(0, 30, 50).bfloat16(), drawn(1, 8, 50).float(), torch.zeros(8, device=DEVICE)
    found = OURS.encode_by_feature(x, W, b)
    exact = (W.bfloat16().double() @ x.double().T)[found.rows, found.cols.long()]
    torch.testing.assert_close(found.values.double(), exact, rtol=1e-5, atol=1e-5)


def test_nothing_is_active() -> None:
    """Every product accepts lists without entries."""
    x, W = drawn(0, 3, 4).float() * 0, drawn(1, 5, 4).float()
    lists = OURS.encode_by_feature(x, W, W[:, 0] * 0)
    assert lists.ptr.tolist() == [0] * 6 and OURS.spmm(lists, x).tolist() == [[0] * 4] * 5
    assert len(OURS.sddmm(lists, W, x)) == 0


def test_wrong_kernels_are_not_used(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the kernels give wrong results, plain torch is used with a warning; asking for triton is an error."""
    assert kernels.agree(DEVICE)
    monkeypatch.setattr(kernels.TritonKernels, "spmm", lambda self, lists, weight: reference.spmm(lists, weight) + 1)
    backend._choose_gpu.cache_clear()
    try:
        assert backend._choose_gpu(str(DEVICE), False) is None
        assert "they disagree with plain torch" in capsys.readouterr().err
        with pytest.raises(UserError, match="they disagree with plain torch"):
            choose("triton", DEVICE)
    finally:
        backend._choose_gpu.cache_clear()
