"""What only the compiled kernels do: preselection in 8-bit integers, threads, and AMX tiles."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sae_pipeline.kernels import choose, path_counts, reference
from sae_pipeline.kernels.backend import CPU_REQUIREMENTS
from sae_pipeline.kernels.cpu import cpu_features
from tests.kernels.compiled import COMPILED, PRESELECTING, dense_of

TESTS = Path(__file__).parents[1]


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
    """Up to fp32 rounding, the entries above the threshold are listed and no others, with exact values."""
    generator = torch.Generator().manual_seed(seed)
    x, W = (torch.randn(rows, d, generator=generator) for rows in (n, d_sae))
    x, W = x * (1 + x.abs()) ** sharp, W * (1 + W.abs()) ** sharp
    x[::5], W[::7] = 0, 0
    x *= size
    exact = x.double() @ W.double().T
    threshold = exact.std(0, correction=0).float() * torch.rand(d_sae, generator=generator)
    b = -3 * exact.std(0, correction=0).float()
    b[::10] = threshold[::10] - exact[seed % n, ::10].float()  # one token is at the threshold
    exact += b
    rounding = 1e-6 * (x.double().norm(dim=1)[:, None] * W.double().norm(dim=1) + b.abs() + threshold)
    for isa in COMPILED:
        kernels = choose(isa)
        assert kernels is not None
        for encoder in kernels.int8_encoders:
            lists = kernels.encode_int8(x, W, b, threshold, encoder)
            if lists is None:  # so many that a dense product is faster
                continue
            found = dense_of(lists, n).T
            listed = torch.zeros(n, d_sae, dtype=torch.bool)
            listed[lists.cols.long(), lists.rows] = True
            assert listed[exact > threshold + rounding].all()
            assert not listed[exact < threshold - rounding].any()
            assert ((found - exact).abs() <= rounding)[listed].all()


def test_integers_find_few_among_many(isa: str) -> None:
    """A sparse encoder preselects; tokens and rows that hold NaN have no entries."""
    x, W, b = torch.randn(100, 24), torch.randn(500, 24) / 24**0.5, torch.full((500,), -2.5)
    x[3, 5], x[4, 6], W[7, 8] = torch.nan, torch.inf, torch.nan
    x[4, :6], W[:, 6] = 0, W[:, 6].abs()
    path_counts.clear()
    lists = choose(isa).encode_by_feature(x, W, b)  # type: ignore[union-attr]
    assert path_counts["encode.preselected"] == (isa in PRESELECTING)
    pre = x @ W.T + b
    expected = reference.compress(pre.T.contiguous())
    assert torch.equal(lists.ptr, expected.ptr) and torch.equal(lists.cols, expected.cols)
    finite = expected.values.isfinite()
    assert torch.allclose(lists.values[finite], expected.values[finite], atol=1e-4) and not finite.all()


def test_integers_of_tiny_rows(isa: str) -> None:
    """The error is bounded also for a row whose squares are too small for a float."""
    kernels = choose(isa)
    assert kernels is not None
    x, W = torch.zeros(64, 2), torch.zeros(300, 2)
    x[:] = torch.tensor([1.0, 0.49 / 127])
    W[0, 1], b = 1e-23, torch.full((300,), -1.0)
    b[0] = -1e-27
    lists = kernels.encode_by_feature(x, W, b)
    assert lists.ptr[1] == len(lists.cols) == 64


def test_threads_change_nothing() -> None:
    """Lists and weights are the same bits with one, two and five threads, some of which have nothing to do.

    A few features are dense: whether a dense product is chosen must not depend on how features are shared by threads.
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


def test_amx_in_software(tmp_path: Path) -> None:
    """On a CPU with AVX-512 but no AMX, the AMX encoder passes its tests with tiles that C++ emulates."""
    if cpu_features() & CPU_REQUIREMENTS["amx"] or not cpu_features() & CPU_REQUIREMENTS["avx512"]:
        pytest.skip("this CPU has AMX, or lacks AVX-512")
    compiler = tmp_path / "g++"
    real = shutil.which(os.environ.get("CXX", "g++"))
    compiler.write_text(f'#!/bin/sh\nexec {real} -include {TESTS / "support" / "amx_tiles.h"} "$@"\n')
    compiler.chmod(0o755)
    environment = {**os.environ, "CXX": str(compiler), "SAE_KERNEL_CACHE": str(tmp_path / "cache")}
    which = "(amx and not software) or threads or density or ((parity or resumes) and relu)"
    command = [sys.executable, "-m", "pytest", "-vv", "-p", "no:cacheprovider", "-k", which]
    command += [str(TESTS / path) for path in ("kernels", "sae/test_relu.py", "sae/test_kinds.py")]
    run = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert run.returncode == 0, run.stdout
    assert run.stdout.count("PASSED") > 20 and "SKIPPED" not in run.stdout
