"""Checkpoints, from which work that was killed goes on.

`finbert_sae/checkpoints/<hash>/` belongs to one piece of work. The hash covers all inputs of the work, so a checkpoint
that was made from other inputs is never used. One process at a time holds the folder, by a lock that the operating
system frees when the process dies. A file in it appears whole or not at all. The folder is removed when the artefact
is published.
"""

import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from sae_pipeline.artefacts.locks import HeldError, locked
from sae_pipeline.artefacts.tensor_files import load_tensors, save_tensors
from sae_pipeline.artefacts.writing import readable_os_errors, set_aside, settings_hash
from sae_pipeline.errors import DamageError, ResourceError, UnreadableError, UserError

_FORMAT = 3  # raise it when older checkpoints can no longer be read
_PAUSE = 20.0  # seconds between checkpoints, unless the environment sets CHECKPOINT_SECONDS
_PAUSE_PER_COST = 20  # a pause is at least 20 times as long as the last `save` took: at most 5 % of the time


def _pause() -> float:
    text = os.environ.get("CHECKPOINT_SECONDS", "")
    try:
        return float(text or _PAUSE)
    except ValueError:
        raise UserError(f"CHECKPOINT_SECONDS must be a number of seconds, not {text!r}.") from None


class Checkpoint:
    """The folder of one piece of unfinished work, and the state in it."""

    def __init__(self, folder: Path) -> None:
        """The caller must hold `folder`; see `unfinished`."""
        self.folder = folder
        self._pause = _pause()
        self._cost = 0.0
        self._last = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether the next `save` is due, so that little work can be lost and little time is spent on saving."""
        return time.monotonic() - self._last >= max(self._pause, _PAUSE_PER_COST * self._cost if self._pause else 0.0)

    def save(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any], name: str = "state") -> None:
        """Write tensors and JSON-able facts, replacing those of the last call."""
        started = time.monotonic()
        save_tensors(self._path(name), tensors, {"work": self._work(name), **facts})
        self._last = time.monotonic()
        self._cost = self._last - started

    def load(self, name: str = "state") -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """The tensors (on the CPU) and facts that `save` wrote last.

        None before the first `save`, and where the file is damaged or of other work, which is said in one line.
        """
        path = self._path(name)
        if not path.exists():
            return None
        try:
            tensors, facts = load_tensors(path)
            if facts.pop("work", None) != self._work(name):
                raise DamageError("belongs to other work")
        except UnreadableError as error:
            raise ResourceError(f"{path} {error}; run the same command again when it can be read.") from error
        except DamageError as error:
            set_aside(path, f"{error}, so the work starts afresh")
            return None
        return tensors, facts

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.safetensors"

    def _work(self, name: str) -> str:
        return f"{self.folder.name} {name}"


@contextmanager
def unfinished(parent: Path, *inputs: Any) -> Iterator[Checkpoint]:
    """Hold the checkpoint of the work with these `inputs`; the same inputs name the same checkpoint.

    The checkpoint is removed when the block ends, and when the work cannot succeed (UserError). It stays after an
    interruption and when the disk or the memory is full. Raises UserError when another process holds it.
    """
    folder = _folder(parent, inputs)
    with ExitStack() as held:
        try:
            with readable_os_errors(parent):
                held.enter_context(locked(folder / ".lock", wait=False))
        except HeldError as error:
            raise UserError("Another process is at this very work; wait for it, or end it, and run again.") from error
        for leftover in (*folder.glob("*.partial"), *folder.rglob(".tmp*")):  # .tmp…: safetensors writes there first
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
    """Remove the checkpoint of a process that was killed after publishing its artefact and before removing it."""
    shutil.rmtree(_folder(parent, inputs), ignore_errors=True)


def _folder(parent: Path, inputs: tuple[Any, ...]) -> Path:
    return parent / settings_hash(_FORMAT, *inputs)
