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
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor

from sae_pipeline.activations.manifest import MANIFEST, Activations, Manifest
from sae_pipeline.arrays import Ints
from sae_pipeline.errors import UserError


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

    @cached_property
    def _shards(self) -> tuple[Ints, list[Any]]:
        """The number of rows up to the end of each shard, and the memory-mapped shards."""
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


def open_store(folder: Path) -> ActivationStore:
    """Open an activation store. Raises UserError when it is missing or damaged."""
    try:
        manifest = Manifest.model_validate_json((folder / MANIFEST).read_bytes())
    except (OSError, ValidationError) as error:
        raise UserError(f"{folder} holds no activations; run `python -m sae_pipeline extract`.") from error
    for shard in manifest.shards:
        if not (folder / shard).is_file():
            raise _damaged(folder / shard, folder)
    return ActivationStore(manifest, folder)


def _damaged(what: Path, folder: Path) -> UserError:
    return UserError(f"{what} is missing or damaged; delete {folder} and run `python -m sae_pipeline extract`.")
