"""One SAE's training shared by two processes equals the training by one."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from sae_pipeline import pipeline
from sae_pipeline.artefacts.checksums import file_hash
from sae_pipeline.errors import UserError
from sae_pipeline.machine.processes import Ranks
from sae_pipeline.sae.autoencoder import SparseAutoencoder
from sae_pipeline.sae.kinds import StepSharing, stepper, unit_rows
from sae_pipeline.sae.kinds.sharing import UNSHARED
from sae_pipeline.study.layout import read_sae_record
from tests.conftest import SmallStudy
from tests.support.shared_training import CASES, N_STEPS, N_TOKENS, train

# Where ranks share the tokens, these kinds choose the active entries among each rank's own: only figures are compared.
CHOOSES_PER_RANK = ("batchtopk", "matryoshka")
TOLERANCE = {"features": 1e-4, "tokens": 1e-3}  # all is fp32, so weights differ only by the order of sums
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of the two ranks ended with."""
    folder = tmp_path_factory.mktemp("ranks")
    done = subprocess.run(
        [*TORCHRUN, "-m", "tests.support.shared_training", str(folder)],
        env={**os.environ, "SAE_KERNELS": "plain", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return [torch.load(folder / f"{rank}.pt") for rank in (0, 1)]


@pytest.mark.parametrize(("kind", "share_by"), CASES)
def test_two_ranks_equal_one(
    ranks: list[dict[str, Any]], kind: str, share_by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two ranks end with the weights and figures of one process, for a d_sae that is odd."""
    monkeypatch.setenv("SAE_KERNELS", "plain")
    assert [rank["size"] for rank in ranks] == [2, 2]
    first, second = (rank["results"][kind, share_by] for rank in ranks)
    alone = train(kind, UNSHARED)
    for name, expected in alone.items():
        assert torch.equal(first[name], second[name]), name
        assert first[name].shape == expected.shape
        if kind not in CHOOSES_PER_RANK or share_by == "features":
            limit = TOLERANCE[share_by] * max(float(expected.abs().max()), 1e-6)
            assert float((first[name] - expected).abs().max()) < limit, name
    assert alone["figures"][:, 0].tolist() == [N_TOKENS] * N_STEPS  # tokens are counted once, features too
    assert torch.allclose(first["figures"], alone["figures"], rtol=0.03)


def test_nested_features_cannot_be_shared() -> None:
    """Ranks cannot share the features of nested dictionaries."""
    with pytest.raises(UserError, match="--split tokens"):
        stepper(
            "matryoshka", unit_rows(32, 8, torch.Generator()), 4, (16, 64), sharing=StepSharing(Ranks(0, 2), "features")
        )


def _sae(root: Path) -> SparseAutoencoder:
    return SparseAutoencoder.load(root / "finbert_sae" / "layer_4_1001.pt")


@pytest.mark.full
def test_training_resumes_after_a_rank_died(study: SmallStudy, tmp_path: Path) -> None:
    """The job ends with one sentence and keeps its checkpoint; the same command resumes and trains as one process."""
    root = Path(shutil.copytree(study.root, tmp_path / "shared"))
    settings = {"latent_dims": (1001,), "batch_size": 128, "num_epochs": 4}
    flags = [f"--{name.replace('_', '-')}={str(value).strip('(),')}" for name, value in settings.items()]
    command = ["train", "--root", str(root), "--device", "cpu", *flags]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    job = subprocess.run(
        [*TORCHRUN, "-m", "tests.support.dying_rank", *command],
        env={**environment, "CHECKPOINT_SECONDS": "0"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert job.returncode != 0
    assert "error: Another process of this training has ended" in job.stderr
    assert "Traceback" not in job.stderr.split("error: Another")[0]
    assert list(root.glob("finbert_sae/checkpoints/*/state.safetensors"))
    assert not (root / "finbert_sae" / "layer_4_1001.pt").exists()

    again = subprocess.run(
        [*TORCHRUN, "-m", "sae_pipeline", *command],
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert again.returncode == 0, again.stderr[-2000:]
    assert "goes on from its checkpoint" in again.stdout + again.stderr
    assert not list(root.glob("finbert_sae/checkpoints/*/state.safetensors"))

    alone = Path(shutil.copytree(study.root, tmp_path / "alone"))
    train = study.config.train.model_copy(update=settings)
    record = pipeline.train(study.config.extract, train, alone, torch.device("cpu"))["1001"]
    assert torch.nn.functional.cosine_similarity(_sae(root).W_dec, _sae(alone).W_dec).mean() > 0.9
    shared = read_sae_record(root / "finbert_sae" / "store" / file_hash(root / "finbert_sae" / "layer_4_1001.pt"))
    assert shared.report.held_out.fvu == pytest.approx(record.report.held_out.fvu, rel=0.03)
