"""The activation store on disk: shards of fp16 rows that are memory-mapped when they are read.

`extraction.py` writes it. Rows stand headline by headline, the longest headlines first.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from sae_pipeline.activations.manifest import MANIFEST, Activations, Manifest, store_inputs_hash
from sae_pipeline.arrays import Ints
from sae_pipeline.artefacts.checksums import check_files, named_record, passing_over_damage
from sae_pipeline.errors import DamageError, UserError, command
from sae_pipeline.machine.processes import Ranks


@dataclass(frozen=True)
class ActivationStore(Activations):
    """Activations in a folder of safetensors shards with a manifest."""

    folder: Path

    def load(self) -> Tensor:
        """All activations, float16 [n_tokens, d_in], in the classifier's units."""
        return self.read([(0, self.n_tokens)])

    def read(self, spans: Sequence[tuple[int, int]]) -> Tensor:
        """The rows of half-open spans in the order given, float16 [n, d_in]; only they are read from disk."""
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

    @property
    def shape(self) -> tuple[int, int]:
        """[n_tokens, d_in] of the shards together."""
        ends, shards = self._shards
        return int(ends[-1]) if shards else 0, shards[0].get_shape()[1] if shards else 0

    @cached_property
    def _shards(self) -> tuple[Ints, list[Any]]:
        """The number of rows up to the end of each shard, and the memory-mapped shards."""
        shards = []
        for name in self.manifest.files:
            shards.append(safe_open(self.folder / name, framework="pt").get_slice("acts"))  # type: ignore[no-untyped-call]
        return np.cumsum([shard.get_shape()[0] for shard in shards], dtype=np.int64), shards


def check_store(folder: Path) -> ActivationStore:
    """The activation store in a folder, all of whose files are as they were written. Raises DamageError."""
    manifest = named_record(folder, MANIFEST, Manifest)
    name = store_inputs_hash(manifest.classifier_hash, manifest.data_hash, manifest.extract, manifest.extra)
    if not manifest.inputs_hash == name == folder.name:
        raise DamageError(f"{MANIFEST} belongs to other activations")
    check_files(folder, manifest.files)
    store = ActivationStore(manifest, folder)
    if store.shape != (manifest.n_tokens, manifest.d_in) or len(manifest.mean) != manifest.d_in:
        raise DamageError(
            f"{MANIFEST} does not fit the shards, which hold {store.shape[0]} rows of {store.shape[1]} numbers"
        )
    return store


def whole_store(folder: Path, ranks: Ranks) -> bool:
    """Whether there is a whole store in a folder. Rank 0 looks, so that all ranks know the same."""
    found = False
    if ranks.first:
        with passing_over_damage(folder):
            found = bool(check_store(folder))
    return ranks.broadcast(found)


def open_store(folder: Path) -> ActivationStore:
    """Open an activation store. Raises UserError when it is missing or damaged."""
    try:
        return check_store(folder)
    except DamageError as error:
        again = f"`{command('extract')}`"
        if not folder.exists():
            raise UserError(f"There are no activations in {folder}; run {again}.") from error
        raise UserError(f"The activations in {folder} are damaged: {error}; {again} makes them again.") from error
