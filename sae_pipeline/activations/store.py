"""The activation store: a layer's activations over the training headlines, on disk or streamed.

Shards are safetensors files of fp16 rows, longest headlines first, memory-mapped when read. A shard is the unit in
which an extraction that was killed goes on. `ActivationStream` gives the same tokens without a store, by running the
classifier whenever they are read.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from tqdm.auto import tqdm

from sae_pipeline.activations.extraction import Extraction, Manifest, _Activations, _Moments, _plan
from sae_pipeline.artefacts.checkpoints import unfinished
from sae_pipeline.artefacts.writing import publish, readable_os_errors, write_json
from sae_pipeline.classifier.hooks import resolve_hookpoint
from sae_pipeline.errors import UserError
from sae_pipeline.machine.processes import ALONE, World

_MANIFEST = "manifest.json"


@dataclass(frozen=True)
class ActivationStore(_Activations):
    """Activations on disk: fp16 shards and a manifest."""

    folder: Path

    def load(self) -> Tensor:
        """All activations, float16 [n_tokens, d_in], in the classifier's units."""
        return self.read([(0, self.n_tokens)])

    def read(self, spans: Sequence[tuple[int, int]]) -> Tensor:
        """The rows of half-open spans, in the order given: float16 [n, d_in]; only they are read from disk."""
        out = torch.empty(sum(stop - start for start, stop in spans), self.d_in, dtype=torch.float16)
        ends, shards = self._shards
        filled = 0
        for start, stop in spans:
            while start < stop:
                shard = int(np.searchsorted(ends, start, side="right"))
                first = int(ends[shard - 1]) if shard else 0
                last = min(stop, int(ends[shard]))
                out[filled : filled + last - start] = shards[shard][start - first : last - first]
                filled += last - start
                start = last
        return out

    @cached_property
    def _shards(self) -> tuple[NDArray[np.int64], list[Any]]:
        """Rows up to the end of each shard, and the memory-mapped shards."""
        shards = []
        for name in self.manifest.shards:
            try:
                shards.append(safe_open(self.folder / name, framework="pt").get_slice("acts"))  # type: ignore[no-untyped-call]
            except (OSError, SafetensorError) as error:
                raise _damaged(self.folder / name, self.folder) from error
        shapes = [shard.get_shape() for shard in shards]
        ends = np.cumsum([rows for rows, _ in shapes], dtype=np.int64)
        if not shapes or ends[-1] != self.n_tokens or any(width != self.d_in for _, width in shapes):
            raise _damaged(self.folder, self.folder)
        return ends, shards


def _damaged(what: Path, folder: Path) -> UserError:
    return UserError(f"{what} is missing or damaged; delete {folder} and run `python -m sae_pipeline extract`.")


def open_store(folder: Path) -> ActivationStore:
    """Open an activation store. Raises UserError when it is missing or damaged."""
    try:
        manifest = Manifest.model_validate_json((folder / _MANIFEST).read_bytes())
    except (OSError, ValidationError) as error:
        raise UserError(f"{folder} holds no activations; run `python -m sae_pipeline extract`.") from error
    for shard in manifest.shards:
        if not (folder / shard).is_file():
            raise _damaged(folder / shard, folder)
    return ActivationStore(manifest, folder)


# --- extraction ----------------------------------------------------------------------------------------


def extract(extraction: Extraction, root: Path, checkpoints: Path, here: World = ALONE) -> ActivationStore:
    """Write the activations of all counted tokens to `root/<hash>`; an equal store is reused.

    A call that was killed goes on after its last whole shard. Several processes write shards in turn to a disk that
    they share, and the first then finds them written: the store is bit for bit that of one process. Raises UserError
    for a layer that does not exist and for activations that are not finite.
    """
    target = root / extraction.name
    if (target / _MANIFEST).is_file():
        return open_store(target)
    resolve_hookpoint(extraction.model, extraction.config.layer)
    started = time.perf_counter()
    if not here.first:
        _write_share(extraction, here.broadcast(Path()), here)
        here.wait()
        return open_store(target)
    with unfinished(checkpoints, extraction.name) as checkpoint:
        work = checkpoint.folder / "store"
        work.mkdir(exist_ok=True)
        _write_share(extraction, here.broadcast(work), here)
        shards = [_shard_name(i) for i in range(len(_plan(extraction)))]
        moments = _Moments()
        for name in shards:
            moments.merge(_moments(work / name))
        manifest = extraction.manifest(moments, shards, time.perf_counter() - started)
        write_json(work / _MANIFEST, manifest.model_dump())
        root.mkdir(parents=True, exist_ok=True)
        publish(work, target)
    here.wait()
    return open_store(target)


def _write_share(extraction: Extraction, work: Path, here: World) -> None:
    """This process's shards, then wait for the others'."""
    if not work.is_dir():
        raise UserError(f"This process does not see {work}: give all processes the same --root on a disk they share.")
    plan = _plan(extraction)
    own = range(here.rank, len(plan), here.size)
    total = sum(int(extraction.counts[batch].sum()) for i in own for batch in plan[i])
    with tqdm(total=total, desc="extract", unit="tok", unit_scale=True, disable=not here.first) as bar:
        for i in own:
            bar.update(_shard(extraction, plan[i], work / _shard_name(i)))
    here.wait()


def _shard_name(i: int) -> str:
    return f"acts-{i:05d}.safetensors"


def _shard(extraction: Extraction, batches: list[NDArray[np.int64]], path: Path) -> int:
    """Write one shard, or find it written: float16 [n_tokens, d_in], and its moments; n_tokens."""
    if path.is_file():
        return _moments(path).n
    read = [(b.acts.cpu().half(), b.headlines.cpu(), b.positions.cpu()) for b in extraction.read(batches)]
    acts, headlines, positions = (torch.cat(column) for column in zip(*read, strict=True))
    moments = _Moments()
    moments.add(acts)
    temporary = path.with_suffix(".partial")
    tensors = {"acts": acts, "headlines": headlines.int(), "positions": positions.short()}
    with readable_os_errors(path.parent):
        save_file(tensors, temporary, metadata={"moments": moments.to_json()})
        temporary.replace(path)
    return moments.n


def _moments(path: Path) -> "_Moments":
    """A shard's, written beside its activations, so that nobody has to read them again."""
    with safe_open(path, framework="pt") as file:
        return _Moments(**json.loads(file.metadata()["moments"]))


# --- streaming -----------------------------------------------------------------------------------------
