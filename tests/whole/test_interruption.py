"""Killed at any moment, or stopped by a full disk, the same command goes on and ends in the same bits.

A process changes what is on the disk at few moments: it opens, renames or removes a file or makes a folder. A command
here counts these events and stops itself at a drawn one, so no test depends on the speed of the machine.
"""

import multiprocessing
import os
import random
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

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
_CHANGES = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir"}  # audit events of the Python interpreter


def _kill(event: str, path: str) -> None:
    """Kill this process, in the middle of a file that it writes."""
    if event == "open" and path.endswith(".partial"):
        os.truncate(path, Path(path).stat().st_size // 2)
    os.kill(os.getpid(), signal.SIGKILL)


def _fill(event: str, path: str) -> None:
    """Let this process write nothing more, as if the disk were full: each write ends in an error of the system."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))


Stop = Callable[[str, str], None]
CODES: dict[Stop, int] = {_kill: -signal.SIGKILL, _fill: 2}  # with which a command ends


def _command(arguments: list[str], root: str, stop: Stop, stop_at: int | None, events: Any) -> None:
    """One command in a process of its own that saves a checkpoint whenever it can; it counts its events."""
    os.environ["CHECKPOINT_SECONDS"] = "0"
    for stream in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    torch.set_num_threads(1)
    extraction.SHARD_TOKENS = 200

    def watch(event: str, args: tuple[Any, ...]) -> None:
        if event in _CHANGES and str(args[0]).startswith(root):
            events.value += 1
            if events.value == stop_at:
                stop(event, str(args[0]))

    sys.addaudithook(watch)
    raise SystemExit(main(arguments))


def _run(arguments: list[str], root: Path, stop_at: int | None = None, stop: Stop = _kill) -> tuple[int | None, int]:
    """The exit code (a negative one is the signal that ended it) and the number of events under `root`."""
    events = _SERVER.Value("i", 0)
    process = _SERVER.Process(target=_command, args=(arguments, str(root / "finbert_sae"), stop, stop_at, events))
    process.start()
    process.join()
    return process.exitcode, events.value


def _arguments(stage: str, root: Path, given: Path) -> list[str]:
    """One stage under `root`; headlines and encoder are in `given`."""
    flags = {
        "finetune": f"--source {given / 'headlines.csv'} --model {given / 'encoder'} --new-head true "
        "--epochs 2 --batch-size 8",
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
    events: dict[str, int]  # by stage


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """Made once."""
    root = tmp_path_factory.mktemp("whole")
    write_headlines(root / "headlines.csv", 240)
    save_encoder("bert", root / "encoder")
    events = {}
    for stage in STAGES:
        code, events[stage] = _run(_arguments(stage, root, root), root)
        assert code == 0
    return Whole(root, events)


def test_pause_that_is_no_number(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One sentence."""
    monkeypatch.setenv("CHECKPOINT_SECONDS", "often")
    with pytest.raises(UserError, match="CHECKPOINT_SECONDS must be a number"):
        Checkpoint(tmp_path)


def _stop_until_done(whole: Whole, root: Path, rng: random.Random, tries: int, stop: Stop = _kill) -> None:
    """Run every stage to its end; stop it at random events, at most `tries` times.

    A kill stops a stage at least once. A full disk does not, where all is written when it fills.
    """
    first = []
    for stage in STAGES:
        codes = []
        while 0 not in codes:
            stop_at = rng.randint(1, whole.events[stage]) if len(codes) < tries else None
            code, _ = _run(_arguments(stage, root, whole.root), root, stop_at, stop)
            assert code == 0 or (code == CODES[stop] and stop_at)
            codes.append(code)
        first.append(codes[0])
    assert CODES[stop] in first and (stop is _fill or 0 not in first)


def _check(whole: Whole, root: Path) -> None:
    expected, found = _artefacts(whole.root), _artefacts(root)
    assert found.keys() == expected.keys()
    assert [name for name in expected if found[name] != expected[name]] == []
    names = (path.name for path in (root / "finbert_sae").rglob("*"))
    assert [name for name in names if "partial" in name or name == "state.safetensors"] == []


def test_killed_at_random_moments(whole: Whole, tmp_path: Path) -> None:
    """Fine-tuning, extraction and training, each killed a few times: the same bits, nothing left over."""
    _stop_until_done(whole, tmp_path, random.Random(0), 3)
    _check(whole, tmp_path)


def test_full_disk_at_random_moments(whole: Whole, tmp_path: Path) -> None:
    """The same where nothing can be written from a random moment on: one sentence, and nothing good is lost."""
    _stop_until_done(whole, tmp_path, random.Random(0), 3, _fill)
    _check(whole, tmp_path)


def _flip(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


def _empty(data: bytes) -> bytes:
    return b""


def _cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


_OTHERS = [pytest.param(damage, marks=pytest.mark.full) for damage in (_empty, _cut)]


@pytest.mark.parametrize("damage", [_flip, *_OTHERS])
def test_damaged_checkpoints(whole: Whole, tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    """What a killed command left is damaged before the next one: the work starts afresh and ends in the same bits."""
    for stage in STAGES:
        code, _ = _run(_arguments(stage, tmp_path, whole.root), tmp_path, whole.events[stage] * 3 // 4)
        assert code == -signal.SIGKILL
        left = [p for p in (tmp_path / "finbert_sae" / "checkpoints").rglob("*.safetensors") if p.stat().st_size]
        assert left, f"nothing of {stage} is left"
        for path in left:
            path.write_bytes(damage(path.read_bytes()))
        assert _run(_arguments(stage, tmp_path, whole.root), tmp_path)[0] == 0
    _check(whole, tmp_path)


@pytest.mark.full
@pytest.mark.parametrize("seed", range(1, 13))
@pytest.mark.parametrize("stop", CODES)
def test_stopped_at_many_random_moments(whole: Whole, tmp_path: Path, seed: int, stop: Stop) -> None:
    """The same with many more stops."""
    _stop_until_done(whole, tmp_path, random.Random(seed), 15, stop)
    _check(whole, tmp_path)
