"""One SAE's training shared by two processes equals the training by one."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from sae_pipeline import pipeline
from sae_pipeline.artefacts.writing import file_hash
from sae_pipeline.errors import UserError
from sae_pipeline.machine.processes import Ranks
from sae_pipeline.sae.autoencoder import SparseAutoencoder
from sae_pipeline.sae.kinds import StepSharing, stepper, unit_rows
from sae_pipeline.sae.kinds.sharing import UNSHARED
from sae_pipeline.study.layout import read_sae_record
from tests.conftest import SmallStudy
from tests.support.shared_training import CASES, N_STEPS, N_TOKENS, train

# fp32 everywhere: what is left is the order of sums. Per rank, batchtopk chooses among its own tokens.
TOLERANCE = {"features": 1e-4, "tokens": 1e-3}
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
CHOOSES_PER_RANK = ("batchtopk", "matryoshka")


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What both ranks ended with."""
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


@pytest.mark.parametrize(("kind", "split"), CASES)
def test_two_ranks_equal_one(
    ranks: list[dict[str, Any]], kind: Any, split: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights and figures, for a d_sae that the ranks do not divide."""
    monkeypatch.setenv("SAE_KERNELS", "plain")
    assert [rank["size"] for rank in ranks] == [2, 2]
    first, second = (rank["results"][kind, split] for rank in ranks)
    alone = train(kind, UNSHARED)
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
        stepper(
            "matryoshka", unit_rows(32, 8, torch.Generator()), 4, (16, 64), sharing=StepSharing(Ranks(0, 2), "features")
        )


def _sae(root: Path) -> SparseAutoencoder:
    return SparseAutoencoder.load(root / "finbert_sae" / "layer_4_1001.pt")


def _rank_1(torchrun: int) -> int:
    """The process of rank 1 among torchrun's children."""
    children = Path(f"/proc/{torchrun}/task/{torchrun}/children").read_text(encoding="ascii").split()
    return next(int(pid) for pid in children if b"\0RANK=1\0" in Path(f"/proc/{pid}/environ").read_bytes())


@pytest.mark.full
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds the rank through /proc")
def test_a_rank_that_dies_ends_the_job_and_it_goes_on(study: SmallStudy, tmp_path: Path) -> None:
    """One sentence, the checkpoint intact; the same command then ends close to the training by one process."""
    root = Path(shutil.copytree(study.root, tmp_path / "shared"))
    settings = {"latent_dims": (1001,), "batch_size": 128, "num_epochs": 16}
    flags = [f"--{name.replace('_', '-')}={str(value).strip('(),')}" for name, value in settings.items()]
    command = [*TORCHRUN, "-m", "sae_pipeline", "train", "--root", str(root), "--device", "cpu", *flags]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    often = {**environment, "CHECKPOINT_SECONDS": "0.2"}
    job = subprocess.Popen(command, env=often, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not list(root.glob("finbert_sae/checkpoints/*/state.safetensors")):
        assert job.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(_rank_1(job.pid), signal.SIGKILL)
    errors = job.communicate(timeout=120)[1]
    assert job.returncode != 0
    assert "error: Another process of this training has ended" in errors
    assert "Traceback" not in errors.split("error: Another")[0]
    assert not (root / "finbert_sae" / "layer_4_1001.pt").exists()

    again = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert again.returncode == 0, again.stderr[-2000:]
    assert "goes on from its checkpoint" in again.stdout + again.stderr
    assert not list(root.glob("finbert_sae/checkpoints/*/state.safetensors"))

    alone = Path(shutil.copytree(study.root, tmp_path / "alone"))
    train = study.config.train.model_copy(update=settings)
    record = pipeline.train(study.config.extract, train, alone, torch.device("cpu"))["1001"]
    assert torch.nn.functional.cosine_similarity(_sae(root).W_dec, _sae(alone).W_dec).mean() > 0.9
    shared = read_sae_record(root / "finbert_sae" / "store" / file_hash(root / "finbert_sae" / "layer_4_1001.pt"))
    assert shared.report.held_out.fvu == pytest.approx(record.report.held_out.fvu, rel=0.03)
