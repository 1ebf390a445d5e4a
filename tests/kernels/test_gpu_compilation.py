"""The Triton kernels become machine code for cards that this machine need not have."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="there is no Triton for this platform")

# Registers a thread, on any card. Up to 80 leave room for three blocks of 256 threads; a thread has 255 at most.
MOST_REGISTERS = {"encode": 255, "update": 112, "parts": 80, "decode": 160, "sddmm": 192, "spmm": 96}


def rows_of(tmp_path: Path, *arguments: str) -> list[tuple[str, list[tuple[int, int, int]]]]:
    """The table of compile_gpu_kernels.py: name, and registers, spilled and shared bytes on each card."""
    environment = os.environ | {"TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "tests.support.compile_gpu_kernels", *arguments]
    run = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    found = []
    for line in run.stdout.splitlines():
        cells = re.findall(r"(\d+) / (\d+) / (\d+)", line)
        if cells:
            found.append((line.split("|")[1].strip(), [(int(a), int(b), int(c)) for a, b, c in cells]))
    return found


def test_compiles_for_h100(tmp_path: Path) -> None:
    """The kernels that cost most keep their numbers in registers, at the size of FinBERT's 32k SAE."""
    found = rows_of(tmp_path, "encode", "update", "--cards", "90", "--kinds", "relu", "gated")
    assert {name for name, _ in found} == {"encode", "update"}
    for name, ((registers, spilled, shared),) in found:
        assert registers <= {"encode": 255, "update": 80}[name] and spilled == 0 and shared <= 227 * 1024, name


@pytest.mark.full
@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_every_kernel_compiles_for_every_card(precision: str, tmp_path: Path) -> None:
    """All kernels of all kinds, on A100, H100 and B200, and on a card with little shared memory."""
    found = rows_of(tmp_path, "--precision", precision, "--cards", "80", "86", "90", "100")
    assert len(found) > 30
    for name, cards in found:
        for registers, spilled, _ in cards:
            assert registers <= MOST_REGISTERS.get(name, 64), name
            assert spilled <= (64 if name == "encode" else 0), name
        for shared, limit in zip((shared for _, _, shared in cards), (163, 99, 227, 227), strict=True):
            assert shared <= limit * 1024, name


@pytest.mark.full
@pytest.mark.parametrize("n", [1, 17])
def test_awkward_sizes_compile(n: int, tmp_path: Path) -> None:
    """Numbers of tokens that Triton treats as constants, or that are no multiples of 16; k = 1."""
    found = rows_of(tmp_path, "--cards", "90", "--tokens", str(n), "--d-in", "21", "--d-sae", "301", "--k", "1")
    assert len(found) > 25
