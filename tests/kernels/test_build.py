"""The kernels as other compilers build them: without OpenMP, and by clang."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
ALL_TESTS = ("kernels/test_products.py", "kernels/test_cpu.py", "sae/test_relu.py")
NO_OPENMP = """#!/bin/sh
for flag; do
  if [ "$flag" = -fopenmp ]; then echo "error: unsupported option '-fopenmp'" >&2; exit 1; fi
done
exec {} "$@"
"""  # as Apple's clang does

STEPS = """
import torch
from sae_pipeline.sae.kinds.relu import ReluStep
start, x = torch.nn.functional.normalize(torch.randn(300, 48), dim=1), torch.randn(200, 48)
found = [ReluStep(start.clone(), encoder_bias=-2.0, backend=b, precision="fp32") for b in ("auto", "reference")]
losses = [[step.step(x, 1e-3, 1.0).loss for _ in range(5)] for step in found]
torch.testing.assert_close(torch.tensor(losses[0]), torch.tensor(losses[1]), rtol=1e-4, atol=0)
torch.testing.assert_close(found[0].features.W_enc, found[1].features.W_enc, rtol=1e-3, atol=1e-4)
"""


def assert_passes(compiler: str, cache: Path, tests: tuple[str, ...], least: int) -> str:
    """Run tests with the kernels of a compiler; returns what `say_kernels` does."""
    environment = {**os.environ, "CXX": compiler, "SAE_KERNEL_CACHE": str(cache)}
    command = [sys.executable, "-m", "pytest", "-vv", "-p", "no:cacheprovider", "-k", "not software and not density"]
    command += [str(TESTS / path) for path in tests]
    run = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert run.returncode == 0, run.stdout
    assert run.stdout.count("PASSED") >= least and "SKIPPED" not in run.stdout
    return say_kernels(compiler, cache)


def say_kernels(compiler: str, cache: Path) -> str:
    """What `choose` says of a compiler's kernels, after a few training steps that agree with plain torch."""
    environment = {**os.environ, "CXX": compiler, "SAE_KERNEL_CACHE": str(cache)}
    run = subprocess.run([sys.executable, "-c", STEPS], capture_output=True, text=True, env=environment, check=False)
    assert run.returncode == 0, run.stderr
    return run.stderr


@pytest.fixture
def without_openmp(tmp_path: Path) -> str:
    """A compiler without OpenMP."""
    compiler = tmp_path / "compiler"
    compiler.write_text(NO_OPENMP.format(shutil.which(os.environ.get("CXX", "g++"))))
    compiler.chmod(0o755)
    return str(compiler)


def test_without_openmp(without_openmp: str, tmp_path: Path) -> None:
    """Training steps are right on one thread, and the line that names the kernels says so."""
    said = say_kernels(without_openmp, tmp_path / "cache")
    assert re.fullmatch(r"SAE kernels: \w+, on one thread, because the compiler lacks OpenMP\n", said)
    assert len(list((tmp_path / "cache").iterdir())) == 1


@pytest.mark.full
def test_all_without_openmp(without_openmp: str, tmp_path: Path) -> None:
    """Every test of the kernels passes."""
    assert_passes(without_openmp, tmp_path / "cache", ALL_TESTS, 60)


@pytest.mark.full
def test_clang(tmp_path: Path) -> None:
    """clang++ builds kernels for the same instruction sets, which pass every test; only AMX is g++'s alone."""
    if shutil.which("clang++") is None:
        pytest.skip("clang++ is not installed: apt-get install clang")
    said = assert_passes("clang++", tmp_path / "cache", ALL_TESTS, 60)
    assert "plain torch" not in said
