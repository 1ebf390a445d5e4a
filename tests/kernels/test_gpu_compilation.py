"""The Triton kernels become machine code for cards that this machine need not have."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="there is no Triton for this platform")


def test_compiles_for_cards(tmp_path: Path) -> None:
    """All kernels compile for H100, and the encoder's product, which has its own instructions there, for A100."""
    environment = os.environ | {"TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "tests.support.compile_gpu_kernels"]
    run = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    assert run.stdout.split() == ["80", "cubin", "90", *["cubin"] * 16]
