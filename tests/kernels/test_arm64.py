"""The kernels for ARM64 pass the tests of the kernels, on chips that qemu emulates."""

import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sae_pipeline.kernels.cpu import HAS_DOTPROD, HAS_I8MM, HAS_NEON
from tests.support.arm64 import compile_program, missing

TESTS = Path(__file__).parents[1]
CHIPS = {"max": HAS_NEON | HAS_DOTPROD | HAS_I8MM, "neoverse-n1": HAS_NEON | HAS_DOTPROD, "cortex-a53": HAS_NEON}
"""Chips by qemu's names, with what cpu_features must find there."""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The kernels as a program for ARM64."""
    if lacks := missing():
        pytest.skip(f"{lacks} not installed: apt-get install qemu-user g++-aarch64-linux-gnu")
    if platform.machine() == "aarch64":
        pytest.skip("this is an ARM64 machine, where the tests of the kernels need no emulation")
    return compile_program(tmp_path_factory.mktemp("arm64"), "-fopenmp")


@pytest.mark.parametrize("chip", CHIPS)
def test_kernels_pass_on(chip: str, program: Path) -> None:
    """Products, encoders and training steps are those of dense algebra in float64 and of autograd."""
    which = "neon or lose_nothing or (auto and (autograd or exact))"
    command = [sys.executable, "-m", "pytest", "-vv", "-p", "no:cacheprovider", "-p", "tests.support.arm64"]
    command += ["-k", which]
    files = ("kernels/test_products.py", "kernels/test_cpu.py", "sae/test_relu.py", "sae/test_kinds.py")
    command += [str(TESTS / path) for path in files]
    environment = {**os.environ, "ARM64_PROGRAM": str(program), "ARM64_CHIP": chip}
    run = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=TESTS.parent, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert f"kernels on {chip}, features {CHIPS[chip]}\n" in run.stdout
    assert len(re.findall(r"neon\S* PASSED", run.stdout)) > 20 and "SKIPPED" not in run.stdout
