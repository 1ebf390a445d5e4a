"""The sparse kernels against their plain-torch twins in float64, on every instruction set that this CPU has."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sae_pipeline.errors import UserError
from sae_pipeline.kernels import Encoder, Lists, choose, path_counts, reference, sddmm, sparse_decode, spmm, transpose
from sae_pipeline.kernels.backend import CPU_REQUIREMENTS
from sae_pipeline.kernels.cpu import cpu_features
from sae_pipeline.sae.kinds.relu import ReluStep

COMPILED = [name for name, bit in CPU_REQUIREMENTS.items() if name == "plain" or cpu_features() & bit]
SHAPES = [(1, 1, 1), (7, 5, 3), (33, 70, 65), (64, 32, 96), (50, 97, 300)]  # tokens, d_in, d_sae


@pytest.fixture(params=COMPILED)
def isa(request: pytest.FixtureRequest) -> str:
    """Every compiled backend of this machine in turn."""
    return str(request.param)


def random_lists(n_rows: int, n_cols: int, seed: int) -> Lists:
    """Random lists in float64 with empty rows, columns nobody uses, and tied values."""
    generator = torch.Generator().manual_seed(seed)
    dense = torch.randint(-6, 4, (n_rows, n_cols), generator=generator).double()
    dense[::3] = 0
    dense[:, ::4] = 0
    return reference.compress(dense)


def dense_of(lists: Lists, n_cols: int) -> Tensor:
    """[n_rows, n_cols]"""
    dense = torch.zeros(len(lists.ptr) - 1, n_cols, dtype=lists.values.dtype)
    dense[lists.rows, lists.cols.long()] = lists.values
    return dense


def unit_rows(d_sae: int, d_in: int, seed: int) -> Tensor:
    """Random rows of length 1 [d_sae, d_in]."""
    rows = torch.randn(d_sae, d_in, generator=torch.Generator().manual_seed(seed))
    return rows / rows.norm(dim=1, keepdim=True)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_products_equal_dense_algebra(isa: str, shape: tuple[int, int, int], dtype: torch.dtype) -> None:
    """spmm, sddmm and transpose say what f·W, (A·Bᵀ) at the entries, and fᵀ say; operands need not be contiguous."""
    n, d, d_sae = shape
    lists = random_lists(n, d_sae, seed=n)
    f = dense_of(lists, d_sae)
    W = torch.randn(d, 2 * d_sae, dtype=dtype)[:, ::2].T
    A = torch.randn(d, n, dtype=dtype).T
    assert torch.allclose(spmm(lists, W, isa).double(), f @ W.double(), rtol=1e-4, atol=1e-5)
    expected = (A.double() @ W.double().T)[lists.rows, lists.cols.long()]
    assert torch.allclose(sddmm(lists, A, W, isa).double(), expected, rtol=1e-4, atol=1e-5)
    by_feature, order = transpose(lists, d_sae, isa)
    assert torch.equal(dense_of(by_feature, n), f.T)
    assert torch.equal(lists.values[order], by_feature.values)
    twin, twin_order = reference.transpose(lists, d_sae)
    assert torch.equal(by_feature.ptr, twin.ptr) and torch.equal(order, twin_order)


def test_duplicate_entries_add_up(isa: str) -> None:
    """A row may name a feature twice."""
    lists = Lists(torch.tensor([0, 0, 3]), torch.tensor([1, 1, 0], dtype=torch.int32), torch.tensor([2.0, 3.0, 5.0]))
    W = torch.tensor([[1.0, 10.0], [100.0, 1000.0]])
    assert spmm(lists, W, isa).tolist() == [[0, 0], [505, 5050]]
    assert transpose(lists, 2, isa)[0].cols.tolist() == [1, 1, 1]


@pytest.mark.parametrize("backend", [*COMPILED, "reference"])
def test_decode_gradients(backend: str) -> None:
    """The gradients of the sparse decoder, in float64 by finite differences."""
    lists = random_lists(5, 9, seed=3)
    values = lists.values.clone().requires_grad_()
    W = torch.randn(9, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v, w: sparse_decode(lists, v, w, backend), (values, W))


@pytest.mark.parametrize("backend", [*COMPILED, "reference"])
@pytest.mark.parametrize("shape", SHAPES)
def test_encoder_is_exact(backend: str, shape: tuple[int, int, int]) -> None:
    """The lists hold relu(x·W + b), all of it and nothing else, by token then feature."""
    n, d, d_sae = shape
    x, W, b = torch.randn(2 * n, d)[::2], torch.randn(d, d_sae), torch.randn(d_sae) - 1
    b[0] = -1e9
    lists = Encoder(W, b, backend=backend)(x)
    f = torch.relu(x.double() @ W.double() + b.double())
    assert torch.allclose(dense_of(lists, d_sae).double(), f, atol=1e-4)
    assert (lists.values > 0).all()
    for row in range(n):
        assert lists.cols[lists.ptr[row] : lists.ptr[row + 1]].diff().gt(0).all()


def test_zero_is_not_active(isa: str) -> None:
    """Exactly zero (and minus zero) pre-activations are no entries; no tokens and no entries are fine."""
    x, W = torch.zeros(3, 4), torch.randn(4, 20)
    assert Encoder(W, torch.zeros(20), backend=isa)(x).ptr.tolist() == [0, 0, 0, 0]
    assert Encoder(W, -torch.zeros(20), backend=isa)(torch.zeros(300, 4)).ptr.tolist() == [0] * 301
    assert Encoder(W, torch.zeros(20), backend=isa)(x[:0]).ptr.tolist() == [0]


@pytest.mark.parametrize("k", [None, 3])
@pytest.mark.parametrize("shape", [(256, 1, 1), (300, 33, 65), (1500, 97, 300)])
def test_encoder_of_many_tokens(isa: str, shape: tuple[int, int, int], k: int | None) -> None:
    """What bf16 or integers preselect is no other than what fp32 finds: with outliers and entries on the edge."""
    n, d, d_sae = shape
    x, W, b = torch.randn(n, d), torch.randn(d, d_sae) / d**0.5, torch.randn(d_sae) - 2
    x[:: n // 7, : d // 2 + 1] *= 100
    b[: d_sae // 2] = -x[0] @ W[:, : d_sae // 2]  # token 0 stands on the edge
    path_counts.clear()
    lists = Encoder(W, b, k=k, backend=isa)(x)
    assert (path_counts["encode.preselected"] > 0) == (isa != "plain")
    f = torch.relu(x.double() @ W.double() + b.double())
    found = dense_of(lists, d_sae).double()
    if k is not None:  # in the order of their size, as equals may change places
        f, found = (values.topk(min(k, d_sae)).values for values in (f, found))
        assert (lists.ptr.diff() <= k).all()
    assert torch.allclose(found, f, atol=1e-3, rtol=1e-5)


@given(
    n=st.integers(1, 70),
    d=st.integers(1, 70),
    d_sae=st.integers(1, 300),
    sharp=st.sampled_from([0.0, 2.0, 20.0]),  # how much a few numbers of a token or row stand out
    size=st.sampled_from([1e-30, 1e-3, 1.0, 1e4]),
    seed=st.integers(0, 2**31),
)
@settings(deadline=None)
def test_integers_lose_nothing(n: int, d: int, d_sae: int, sharp: float, size: float, seed: int) -> None:
    """Every entry that is above its threshold by more than fp32 rounds is listed, and none below; values are exact."""
    generator = torch.Generator().manual_seed(seed)
    x, W = (torch.randn(rows, d, generator=generator) for rows in (n, d_sae))
    x, W = x * (1 + x.abs()) ** sharp, W * (1 + W.abs()) ** sharp
    x[::5], W[::7] = 0, 0
    x *= size
    exact = x.double() @ W.double().T
    threshold = exact.std(0, correction=0).float() * torch.rand(d_sae, generator=generator)
    b = -3 * exact.std(0, correction=0).float()
    b[::10] = threshold[::10] - exact[seed % n, ::10].float()  # one token stands on the edge
    exact += b
    rounding = 1e-6 * (x.double().norm(dim=1)[:, None] * W.double().norm(dim=1) + b.abs() + threshold)
    for isa in COMPILED:
        kernels = choose(isa)
        assert kernels is not None
        lists = kernels.encode_int8(x, W, b, threshold) if kernels.preselects else None
        if lists is None:  # too many to be worth it
            continue
        found = dense_of(lists, n).T
        listed = torch.zeros(n, d_sae, dtype=torch.bool)
        listed[lists.cols.long(), lists.rows] = True
        assert listed[exact > threshold + rounding].all()
        assert not listed[exact < threshold - rounding].any()
        assert ((found - exact).abs() <= rounding)[listed].all()


def test_integers_find_few_among_many(isa: str) -> None:
    """In a sparse encoder they preselect; tokens and rows that hold no numbers have no entries."""
    x, W, b = torch.randn(100, 24), torch.randn(500, 24) / 24**0.5, torch.full((500,), -2.5)
    x[3, 5], x[4, 6], W[7, 8] = torch.nan, torch.inf, torch.nan
    x[4, :6], W[:, 6] = 0, W[:, 6].abs()
    path_counts.clear()
    lists = choose(isa).encode_by_feature(x, W, b)  # type: ignore[union-attr]
    assert path_counts["encode.preselected"] == (isa != "plain")
    pre = x @ W.T + b
    expected = reference.compress(pre.T.contiguous())
    assert torch.equal(lists.ptr, expected.ptr) and torch.equal(lists.cols, expected.cols)
    finite = expected.values.isfinite()
    assert torch.allclose(lists.values[finite], expected.values[finite], atol=1e-4) and not finite.all()


@pytest.mark.parametrize("d", [48, 800])
def test_encoder_of_few_dense_features(isa: str, d: int) -> None:
    """Features active on nearly all tokens beside sparse ones, tokens that fill no tile, wide tokens: all exact."""
    x, W, b = torch.randn(300, d), torch.randn(d, 700) / d**0.5, torch.full((700,), -3.0)
    b[::50] = 1.5
    path_counts.clear()
    lists = Encoder(W, b, backend=isa)(x)
    assert path_counts["encode.dense"] == (isa == "plain")
    f = torch.relu(x.double() @ W.double() + b.double())
    assert torch.allclose(dense_of(lists, 700).double(), f, atol=1e-4)


def test_token_that_is_not_a_number(isa: str) -> None:
    """It takes nothing from the tokens beside it."""
    x, W, b = torch.randn(400, 24), torch.randn(24, 300) / 24**0.5, torch.full((300,), -2.5)
    x[7] = torch.nan
    lists = Encoder(W, b, backend=isa)(x)
    f = torch.relu(x.double() @ W.double() + b.double())
    others = torch.arange(400) != 7
    assert torch.allclose(dense_of(lists, 300).double()[others], f[others], atol=1e-4)


def test_threads_change_nothing() -> None:
    """Lists and weights are the same bits with one, two and five threads, also where some have nothing to do.

    Of the lists' features a few are dense: whether a dense product is faster must not depend on who works on them.
    """
    program = (
        "import hashlib, sys, torch; from sae_pipeline.kernels import choose;"
        "from sae_pipeline.sae.kinds import unit_rows; from sae_pipeline.sae.kinds.relu import ReluStep;"
        "torch.set_num_threads(int(sys.argv[1]));"
        "g = torch.Generator().manual_seed(0); x = torch.randn(300, 48, generator=g); digest = hashlib.sha256();"
        "put = lambda tensors: [digest.update(t.numpy().tobytes()) for t in tensors];"
        "b = torch.full((700,), -3.0); b[:60] = 0.3; W = unit_rows(700, 48, g);"
        "put(choose().encode_by_feature(x, W, b));"
        "steps = [ReluStep(W.clone(), encoder_bias=-2.0, precision=p) for p in ('fp32', 'bf16')];"
        "[step.step(x, 1e-3, 1.0) for step in steps for _ in range(10)];"
        "[put((s.features.W_enc, s.features.W_dec, s.features.b_enc, s.b_dec)) for s in steps];"
        "print(digest.hexdigest())"
    )
    found = set()
    for threads in ("1", "2", "5"):
        run = subprocess.run([sys.executable, "-c", program, threads], capture_output=True, text=True, check=True)
        found.add(run.stdout)
    assert len(found) == 1


def test_integers_of_tiny_rows(isa: str) -> None:
    """A row whose squares are too small for a float bounds its error all the same."""
    kernels = choose(isa)
    assert kernels is not None
    x, W = torch.zeros(64, 2), torch.zeros(300, 2)
    x[:] = torch.tensor([1.0, 0.49 / 127])
    W[0, 1], b = 1e-23, torch.full((300,), -1.0)
    b[0] = -1e-27
    lists = kernels.encode_by_feature(x, W, b)
    assert lists.ptr[1] == len(lists.cols) == 64


def test_encoder_of_dense_features(isa: str) -> None:
    """Where most features are active nothing is lost, and the dense product does it."""
    x, W, b = torch.randn(400, 16), torch.randn(16, 512), torch.ones(512)
    path_counts.clear()
    lists = Encoder(W, b, backend=isa)(x)
    assert path_counts["encode.dense"] > 0
    f = torch.relu(x.double() @ W.double() + b.double())
    assert torch.allclose(dense_of(lists, 512).double(), f, atol=1e-4)


def plain_autograd_step(
    W_enc: Tensor, W_dec: Tensor, b_enc: Tensor, b_dec: Tensor, x: Tensor, l1: float
) -> tuple[Tensor, ...]:
    """Loss and gradients of the recipe as one would write it."""
    leaves = [t.clone().requires_grad_() for t in (W_enc, W_dec, b_enc, b_dec)]
    f = torch.relu(x @ leaves[0].T + leaves[2])
    loss = ((f @ leaves[1] + leaves[3] - x).square().sum() + l1 * f.sum()) / len(x)
    return loss.detach(), *torch.autograd.grad(loss, leaves)


@pytest.mark.parametrize("shape", [(40, 24, 60), (33, 97, 130)])
@pytest.mark.parametrize("backend", [*COMPILED, "reference"])
def test_step_is_autograd_and_adam(backend: str, shape: tuple[int, int, int]) -> None:
    """Three steps equal autograd in float64 followed by the documented optimiser; silent features do not move."""
    n, d, d_sae = shape
    lr, l1, beta2, eps = 3e-3, 0.7, 0.999, 1e-8
    step = ReluStep(unit_rows(d_sae, d, 0), encoder_bias=-1.2, backend=backend, precision="fp32")
    W_enc, W_dec = (step.features.W_enc.double(), step.features.W_dec.double())
    b_enc, b_dec = torch.full((d_sae,), -1.2, dtype=torch.float64), torch.zeros(d, dtype=torch.float64)
    b_enc[:5] = -99.0
    step.features.b_enc[:5] = -99.0
    v, ticks = [torch.zeros(d_sae, dtype=torch.float64) for _ in range(3)], torch.zeros(d_sae)
    m_dec, v_dec = torch.zeros_like(b_dec), torch.zeros_like(b_dec)
    for i in range(3):
        x = torch.randn(n, d)
        stats = step.step(x, lr, l1)
        x = x.double()
        active = (x @ W_enc.T + b_enc > 0).any(0)
        loss, g_enc, g_dec, g_b, g_b_dec = plain_autograd_step(W_enc, W_dec, b_enc, b_dec, x, l1)
        assert stats.loss == pytest.approx(float(loss), rel=1e-4)
        g_dec = g_dec - (g_dec * W_dec).sum(1, keepdim=True) * W_dec
        ticks += active
        for w, g, moment in zip((W_enc, W_dec, b_enc[:, None]), (g_enc, g_dec, g_b[:, None]), v, strict=True):
            square = g[active].square().mean(1)
            moment[active] = beta2 * moment[active] + (1 - beta2) * square
            root = torch.maximum(moment[active] / (1 - beta2 ** ticks[active].double()), square).sqrt() + eps
            w[active] -= lr * g[active] / root[:, None]
        W_dec /= W_dec.norm(dim=1, keepdim=True)
        m_dec, v_dec = 0.9 * m_dec + 0.1 * g_b_dec, 0.999 * v_dec + 0.001 * g_b_dec**2
        b_dec -= lr * (m_dec / (1 - 0.9 ** (i + 1))) / ((v_dec / (1 - 0.999 ** (i + 1))).sqrt() + 1e-8)
    assert torch.allclose(step.features.W_dec.double(), W_dec, atol=2e-5)
    assert torch.allclose(step.features.W_enc.double(), W_enc, atol=2e-4)
    assert torch.allclose(step.features.b_enc.double(), b_enc, atol=2e-4)
    assert torch.allclose(step.b_dec.double(), b_dec, atol=2e-4)
    assert torch.equal(step.features.W_dec[:5], unit_rows(d_sae, d, 0)[:5])


def known_features(n: int, seed: int, directions: Tensor) -> Tensor:
    """Tokens [n, d_in] that are positive mixtures of a few directions, of mean square length d_in."""
    generator = torch.Generator().manual_seed(seed)
    on = torch.rand(n, len(directions), generator=generator) < 4 / len(directions)
    x = (on * (0.5 + torch.rand(on.shape, generator=generator))) @ directions
    x = x - x.mean(0)
    return x * (x.shape[1] / x.square().sum(1).mean()).sqrt()


def train(step: ReluStep, x: Tensor, batch: int, l1: float) -> tuple[float, float]:
    """Two passes; (FVU, L0) over the last half pass."""
    order = torch.cat([torch.randperm(len(x), generator=torch.Generator().manual_seed(s)) for s in range(2)])
    batches = order.split(batch)
    stats = [step.step(x[rows], 3e-3 * min(1, (len(batches) - i) / 30), l1) for i, rows in enumerate(batches)]
    late = stats[-len(stats) // 4 :]
    return sum(s.squared for s in late) / sum(s.power for s in late), sum(s.l0 for s in late) / len(late)


def test_parity_and_known_features() -> None:
    """The fast path trains as well as exact fp32 torch (FVU and L0 within 1 %), and finds the true directions."""
    directions = unit_rows(96, 64, 5)
    x = known_features(24_000, 6, directions)
    fast = ReluStep(unit_rows(256, 64, 7), encoder_bias=-2.0)
    slow = ReluStep(unit_rows(256, 64, 7), encoder_bias=-2.0, backend="reference", precision="fp32")
    fvu, l0 = train(fast, x, 200, 2.5)
    slow_fvu, slow_l0 = train(slow, x, 200, 2.5)
    assert fvu == pytest.approx(slow_fvu, rel=0.01)
    assert l0 == pytest.approx(slow_l0, rel=0.01)
    matched = (directions @ fast.features.W_dec.T).max(1).values
    assert matched.mean() > 0.95


def test_resumes_bit_for_bit() -> None:
    """A state saved and loaded into a fresh step continues as if nothing had happened; so does a rerun."""
    x = torch.randn(6, 40, 48)
    first = ReluStep(unit_rows(100, 48, 1), encoder_bias=-1.5)
    for batch in x[:3]:
        first.step(batch, 1e-3, 1.0)
    saved = {name: tensor.clone() for name, tensor in first.state_dict().items()}
    second = ReluStep(unit_rows(100, 48, 2), encoder_bias=-1.0)
    second.load_state_dict(saved)
    for batch in x[3:]:
        assert first.step(batch, 1e-3, 1.0).loss == second.step(batch, 1e-3, 1.0).loss
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name]), name


def test_path_by_density() -> None:
    """Few active entries go over lists, many over dense products; the counter tells; both learn the same thing."""
    if not cpu_features() & CPU_REQUIREMENTS["amx"]:
        pytest.skip("on a CPU without AMX every density goes over lists")
    x = torch.randn(64, 64)
    for bias, path in ((-2.5, "step.sparse.amx"), (2.0, "step.dense.cpu")):
        step = ReluStep(unit_rows(512, 64, 1), encoder_bias=bias)
        before = path_counts[path]
        ours = [step.step(x, 1e-3, 0.5).loss for _ in range(3)]
        assert path_counts[path] == before + 3
        exact = ReluStep(unit_rows(512, 64, 1), encoder_bias=bias, backend="reference", precision="fp32")
        assert ours == pytest.approx([exact.step(x, 1e-3, 0.5).loss for _ in range(3)], rel=0.01)


def test_backend_choice() -> None:
    """The argument is obeyed, an unknown name is one sentence."""
    assert choose("reference") is None
    assert choose("plain").name == "plain"  # type: ignore[union-attr]
    with pytest.raises(UserError, match="no SAE kernels 'fast'"):
        choose("fast")


def test_without_a_compiler(tmp_path: Path) -> None:
    """Without a compiler the same results come from plain torch, and a line says that it is slow."""
    program = (
        "import torch; from sae_pipeline.kernels import path_counts; from sae_pipeline.sae.kinds.relu import ReluStep;"
        "ReluStep(torch.eye(8), encoder_bias=-0.5).step(torch.randn(9, 8), 1e-3, 1.0); print(dict(path_counts))"
    )
    environment = {**os.environ, "PATH": str(tmp_path), "CXX": "no-such-compiler", "SAE_KERNEL_CACHE": str(tmp_path)}
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == "{'step.dense.cpu': 1}"
    assert run.stderr.count("slower") == 1 and "compiler" in run.stderr
    assert not list(tmp_path.iterdir())


def test_amx_in_software(tmp_path: Path) -> None:
    """Where there is AVX-512 but no AMX, the AMX encoder passes the tests of this file with tiles made in C++."""
    if cpu_features() & CPU_REQUIREMENTS["amx"] or not cpu_features() & CPU_REQUIREMENTS["avx512"]:
        pytest.skip("this CPU has AMX itself, or not what the encoder needs besides")
    compiler = tmp_path / "g++"
    real = shutil.which(os.environ.get("CXX", "g++"))
    compiler.write_text(
        f'#!/bin/sh\nexec {real} -include {Path(__file__).parents[1] / "support" / "amx_tiles.h"} "$@"\n'
    )
    compiler.chmod(0o755)
    environment = {**os.environ, "CXX": str(compiler), "SAE_KERNEL_CACHE": str(tmp_path / "cache")}
    which = "(amx and not software) or threads or density or parity or resumes"
    command = [sys.executable, "-m", "pytest", "-vv", "-p", "no:cacheprovider", __file__, "-k", which]
    run = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert run.returncode == 0, run.stdout
    assert run.stdout.count("PASSED") > 20 and "SKIPPED" not in run.stdout
