"""Killed at any moment, the same command goes on and ends in the same bits."""

import multiprocessing
import os
import random
import signal
import time
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from sae_pipeline.__main__ import main
from sae_pipeline.activations import extraction
from sae_pipeline.artefacts.checkpoints import Checkpoint
from sae_pipeline.errors import UserError
from tests.support.encoders import save_encoder
from tests.support.small_study import write_headlines

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["sae_pipeline.pipeline", "transformers.models.bert.modeling_bert"])
STAGES = ("finetune", "extract", "train")


def _command(arguments: list[str], pause: str) -> None:
    """One command in a process of its own, with frequent checkpoints."""
    os.environ["CHECKPOINT_SECONDS"] = pause
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    torch.set_num_threads(1)
    extraction.SHARD_TOKENS = 200
    raise SystemExit(main(arguments))


def _run(arguments: list[str], kill_after: float | None = None, pause: str = "0") -> int | None:
    """The exit code; a negative one is the signal that ended it."""
    process = _SERVER.Process(target=_command, args=(arguments, pause))
    process.start()
    process.join(kill_after)
    if process.is_alive():
        os.kill(process.pid or 0, signal.SIGKILL)
        process.join()
    return process.exitcode


def _arguments(stage: str, root: Path, given: Path) -> list[str]:
    """One stage under `root`; headlines and encoder are in `given`."""
    flags = {
        "finetune": f"--source {given / 'headlines.csv'} --model {given / 'encoder'} --epochs 2 --batch-size 8",
        "extract": "--layer 2 --tokens-per-batch 128",
        "train": "--layer 2 --tokens-per-batch 128 --latent-dims 64,128 --batch-size 128 --num-epochs 3",
    }
    return [stage, "--root", str(root), "--preset", "demo", *flags[stage].split()]


def _artefacts(root: Path) -> dict[str, bytes]:
    """Every weight and activation by its path; reports hold seconds and are left out."""
    kinds = ("*.safetensors", "*.pt")
    return {str(p.relative_to(root)): p.read_bytes() for kind in kinds for p in (root / "finbert_sae").rglob(kind)}


class Whole(NamedTuple):
    """A study whose stages were never interrupted."""

    root: Path
    seconds: dict[str, float]  # of each stage


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """Made once."""
    root = tmp_path_factory.mktemp("whole")
    write_headlines(root / "headlines.csv", 240)
    save_encoder("bert", root / "encoder")
    seconds = {}
    for stage in STAGES:
        started = time.perf_counter()
        assert _run(_arguments(stage, root, root)) == 0
        seconds[stage] = time.perf_counter() - started
    return Whole(root, seconds)


def test_pause_that_is_no_number(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One sentence."""
    monkeypatch.setenv("CHECKPOINT_SECONDS", "often")
    with pytest.raises(UserError, match="CHECKPOINT_SECONDS must be a number"):
        Checkpoint(tmp_path)


def _kill_until_done(whole: Whole, root: Path, rng: random.Random, tries: int) -> int:
    """Every stage, killed at random moments at most `tries` times; how often a kill came in time.

    The first time in the first half of what the stage took, as the machine may have been busier then.
    """
    kills = 0
    for stage in STAGES:
        for left in range(tries, -1, -1):
            moment = rng.uniform(0.05, whole.seconds[stage] / (2 if left == tries else 1))
            code = _run(_arguments(stage, root, whole.root), moment if left else None)
            if code == 0:
                break
            assert code == -signal.SIGKILL
            kills += 1
    return kills


def _check(whole: Whole, root: Path) -> None:
    expected, found = _artefacts(whole.root), _artefacts(root)
    assert found.keys() == expected.keys()
    assert [name for name in expected if found[name] != expected[name]] == []
    leftovers = [p for p in (root / "finbert_sae").rglob("*") if "partial" in p.name or p.name == "state.safetensors"]
    assert leftovers == []


def test_killed_at_random_moments(whole: Whole, tmp_path: Path) -> None:
    """Fine-tuning, extraction and training, each killed a few times: the same bits, nothing left over."""
    assert _kill_until_done(whole, tmp_path, random.Random(), 3) > 0
    _check(whole, tmp_path)


@pytest.mark.full
@pytest.mark.parametrize("seed", range(12))
def test_killed_at_many_random_moments(whole: Whole, tmp_path: Path, seed: int) -> None:
    """The same with many more kills."""
    assert _kill_until_done(whole, tmp_path, random.Random(seed), 15) > 0
    _check(whole, tmp_path)
