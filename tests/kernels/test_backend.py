"""The choice of kernels."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sae_pipeline.errors import UserError
from sae_pipeline.kernels import choose


def test_backend_choice() -> None:
    """The argument names the kernels; an unknown name raises an error that lists the known ones."""
    assert choose("reference") is None
    assert choose("plain").name == "plain"  # type: ignore[union-attr]
    with pytest.raises(UserError, match="no SAE kernels 'fast'"):
        choose("fast")


def test_without_a_compiler(tmp_path: Path) -> None:
    """Without a compiler plain torch is used, and one line on stderr says that it is slower."""
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
