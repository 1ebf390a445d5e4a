"""One SAE's training shared by two processes equals the training by one."""

import os
import subprocess
import sys
from typing import Any

import pytest
import torch

from sae_pipeline.errors import UserError
from sae_pipeline.kinds import ALONE, Group, stepper, unit_rows

from .shared_training import CASES, N_STEPS, N_TOKENS, train

# fp32 everywhere: what is left is the order of sums. Per rank, batchtopk chooses among its own tokens.
TOLERANCE = {"features": 1e-4, "tokens": 1e-3}
CHOOSES_PER_RANK = ("batchtopk", "matryoshka")


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What both ranks ended with."""
    folder = tmp_path_factory.mktemp("ranks")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*torchrun, "-m", "tests.shared_training", str(folder)],
        env={**os.environ, "SAE_KERNELS": "plain", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return [torch.load(folder / f"{rank}.pt") for rank in (0, 1)]


@pytest.mark.parametrize(("kind", "split"), CASES)
def test_two_ranks_equal_one(
    ranks: list[dict[str, Any]], kind: Any, split: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights and figures, for a d_sae that the ranks do not divide."""
    monkeypatch.setenv("SAE_KERNELS", "plain")
    assert [rank["size"] for rank in ranks] == [2, 2]
    first, second = (rank["results"][kind, split] for rank in ranks)
    alone = train(kind, ALONE)
    for name, expected in alone.items():
        assert torch.equal(first[name], second[name]), name
        assert first[name].shape == expected.shape
        if kind not in CHOOSES_PER_RANK or split == "features":
            limit = TOLERANCE[split] * max(float(expected.abs().max()), 1e-6)
            assert float((first[name] - expected).abs().max()) < limit, name
    assert alone["figures"][:, 0].tolist() == [N_TOKENS] * N_STEPS  # tokens are counted once, features too
    assert torch.allclose(first["figures"], alone["figures"], rtol=0.03)


def test_nested_features_cannot_be_split() -> None:
    """Matryoshka's prefixes belong together."""
    with pytest.raises(UserError, match="--split tokens"):
        stepper("matryoshka", unit_rows(32, 8, torch.Generator()), 4, (16, 64), Group("features", 0, 2))
