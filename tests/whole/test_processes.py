"""Two processes under torchrun write the same files as one."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sae_pipeline.__main__ import main
from sae_pipeline.machine.processes import Ranks
from sae_pipeline.runs.folders import read_run
from sae_pipeline.schema.run import NEIGHBOURS
from tests.conftest import SmallStudy


def torchrun(n: int, *arguments: str, program: tuple[str, ...] = ("-m", "sae_pipeline")) -> Any:
    """Run `python -m sae_pipeline …`, or another program, in n processes on the CPU."""
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(n)) if n > 1 else ()
    command = [sys.executable, *launcher]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
    return subprocess.run(
        [*command, *program, *arguments], capture_output=True, text=True, env=environment, timeout=300
    )


def test_shares_cover_everything_once() -> None:
    """Shares are contiguous, in order, and differ by at most one item; some may be empty."""
    for n in (0, 1, 5, 100):
        for size in (1, 2, 3, 7):
            shares = [Ranks(rank, size).share(n) for rank in range(size)]
            assert [i for share in shares for i in share] == list(range(n))
            assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_two_processes_analyze_as_one(study: SmallStudy, tmp_path: Path) -> None:
    """Counts, choices and words are the same. Sums agree to 1e-5, since batches and so roundings differ."""
    root = Path(shutil.copytree(study.root, tmp_path / "copy", ignore=shutil.ignore_patterns("activations")))
    done = torchrun(2, "analyze", "--root", str(root), "--sae-size", "2k", "--top-features", "30", "--device", "cpu")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "(2 processes)" in done.stdout
    folder = max((root / "analysis_data").glob("*_run-*"))
    assert folder.name != study.run.name
    one, two = read_run(study.run), read_run(folder)
    assert (one.metadata.processes, two.metadata.processes) == (1, 2)
    assert one.metadata.totals == two.metadata.totals
    for a, b in zip(one.prompts, two.prompts, strict=True):
        exact = {"headline_id", "text", "label", "prediction", "tokens", "starts", "ends", "words"}
        assert a.model_dump(include=exact) == b.model_dump(include=exact)
        np.testing.assert_allclose(a.probabilities, b.probabilities, atol=1e-5)
    stats = [run.feature_stats for run in (one, two)]
    # A value within rounding of zero may fire in one batch and not in another.
    assert np.abs(np.subtract(stats[0].counts, stats[1].counts)).sum() <= 5
    for a, b in zip(stats[0].metrics, stats[1].metrics, strict=True):
        close = np.isclose(a.values, b.values, rtol=1e-4, atol=1e-5)
        assert close.mean() > 0.999, a.name
    same = [
        [e.headline for e in a.examples] == [e.headline for e in b.examples]
        and [w.word for w in a.words] == [w.word for w in b.words]
        and [[e.headline for e in g.examples] for g in a.groups] == [[e.headline for e in g.examples] for g in b.groups]
        for a, b in zip(one.feature_tokens.features, two.feature_tokens.features, strict=True)
    ]
    assert np.mean(same) > 0.98
    for a, b in zip(one.headline_features.headlines, two.headline_features.headlines, strict=True):
        np.testing.assert_allclose([f.activation for f in a.features], [f.activation for f in b.features], rtol=1e-4)
    assert len((folder / NEIGHBOURS).read_bytes()) == pytest.approx(
        len((study.run / NEIGHBOURS).read_bytes()), rel=0.01
    )


def test_two_processes_extract_as_one(study: SmallStudy, tmp_path: Path) -> None:
    """The stores are the same bit for bit but for their seconds. Shards are small, so that each process writes some."""
    script = tmp_path / "small_shards.py"
    script.write_text(
        "import sys\nfrom sae_pipeline.activations import extraction\nfrom sae_pipeline.__main__ import main\n"
        "extraction.SHARD_TOKENS = 2000\nsys.exit(main())\n",
        encoding="utf-8",
    )
    stores = []
    for n in (1, 2):
        skip = shutil.ignore_patterns("activations", "analysis_data")
        root = Path(shutil.copytree(study.root, tmp_path / str(n), ignore=skip))
        flags = ("--root", str(root), "--device", "cpu", "--precision", "fp32", "--tokens-per-batch", "512")
        done = torchrun(n, "extract", "--layers", "3,4", *flags, program=(str(script),))
        assert done.returncode == 0, done.stderr[-3000:]
        assert done.stdout.count("activations: ") == 2
        stores.append(sorted((root / "finbert_sae" / "activations").iterdir()))
    for one, two in zip(*stores, strict=True):
        assert len([*one.glob("*.safetensors")]) >= 3
        assert one.name == two.name and sorted(p.name for p in one.iterdir()) == sorted(p.name for p in two.iterdir())
        for path in one.glob("*.safetensors"):
            assert path.read_bytes() == (two / path.name).read_bytes()
        manifests = [json.loads((store / "manifest.json").read_bytes()) for store in (one, two)]
        varying = {"checksum": "", "seconds": 0}  # the checksum covers the seconds
        assert manifests[0] | varying == manifests[1] | varying
    assert not any((tmp_path / "2" / "finbert_sae" / "checkpoints").glob("*"))


def test_other_verbs_run_in_one_process(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A verb that cannot be shared is refused with one sentence."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["intervene"]) == 2
    assert "error: intervene runs in one process; torchrun is for extract, train, analyze" in capsys.readouterr().err
