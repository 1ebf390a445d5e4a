"""Checkpoints: work that was killed goes on from its last one.

`finbert_sae/checkpoints/<hash>/` belongs to one piece of work, named by everything that goes into it, so that one
made from other inputs is never taken up. It is held by one process at a time: the kernel frees the lock when its
process dies. What is in it appears whole or not at all, and it is gone when the artefact is published.
"""

import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from sae_pipeline.artefacts.locks import HeldError, locked
from sae_pipeline.artefacts.writing import readable_os_errors, settings_hash
from sae_pipeline.errors import ResourceError, UserError

_FORMAT = 1  # raise it when a checkpoint of before can no longer be read
_PAUSE = 20.0  # seconds between checkpoints; CHECKPOINT_SECONDS sets it from outside
_SHARE = 20  # a checkpoint is due after this many times what the last one cost: at most 5 % of the time


def _pause() -> float:
    text = os.environ.get("CHECKPOINT_SECONDS", "")
    try:
        return float(text or _PAUSE)
    except ValueError:
        raise UserError(f"CHECKPOINT_SECONDS must be a number of seconds, not {text!r}.") from None


class Checkpoint:
    """The folder of one piece of unfinished work, and the state in it."""

    def __init__(self, folder: Path) -> None:
        """`folder` must be held; see `unfinished`."""
        self.folder = folder
        self._pause = _pause()
        self._cost = 0.0
        self._last = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether it is time for the next `save`: bounded loss, bounded cost."""
        return time.monotonic() - self._last >= max(self._pause, _SHARE * self._cost if self._pause else 0.0)

    def save(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any], name: str = "state") -> None:
        """Write tensors and JSON-able facts in the place of those of before."""
        started = time.monotonic()
        path = self.folder / f"{name}.safetensors"
        temporary = path.with_suffix(".partial")
        with readable_os_errors(self.folder):
            save_file({k: v.contiguous() for k, v in tensors.items()}, temporary, {"facts": json.dumps(facts)})
            with temporary.open("rb") as file:
                os.fsync(file.fileno())  # a power cut after the rename leaves a whole file too
            temporary.replace(path)
        self._last = time.monotonic()
        self._cost = self._last - started

    def load(self, name: str = "state") -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """What `save` wrote last: tensors on the CPU and facts; None when there is nothing."""
        path = self.folder / f"{name}.safetensors"
        if not path.is_file():
            return None
        with safe_open(path, framework="pt") as file:
            facts = json.loads(file.metadata()["facts"])
            return {key: file.get_tensor(key) for key in file.keys()}, facts  # noqa: SIM118 - no mapping


@contextmanager
def unfinished(parent: Path, *inputs: Any) -> Iterator[Checkpoint]:
    """Hold the checkpoint of the work that is named by `inputs`; the same inputs find it again.

    It is removed when the block ends, and when the work cannot succeed (UserError); an interruption, a full disk
    or memory leaves it. Raises UserError when another process is at the same work.
    """
    folder = _folder(parent, inputs)
    with ExitStack() as held:
        try:
            with readable_os_errors(parent):
                held.enter_context(locked(folder / ".lock", wait=False))
        except HeldError as error:
            raise UserError("Another process is at this very work; wait for it, or end it, and run again.") from error
        for leftover in folder.glob("*.partial"):
            leftover.unlink()
        try:
            yield Checkpoint(folder)
        except ResourceError:
            raise
        except UserError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        shutil.rmtree(folder, ignore_errors=True)


def discard(parent: Path, *inputs: Any) -> None:
    """Remove what a process left that was killed between publishing its artefact and clearing up."""
    shutil.rmtree(_folder(parent, inputs), ignore_errors=True)


def _folder(parent: Path, inputs: tuple[Any, ...]) -> Path:
    return parent / settings_hash(_FORMAT, *inputs)
