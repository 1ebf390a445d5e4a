"""Extraction: the classifier reads its training headlines, and one layer's activations go into a store.

The store is written shard by shard. A call that was killed goes on after its last whole shard, and several processes
write shards in turn.
"""

import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel
from safetensors.torch import save_file
from tqdm.auto import tqdm

from sae_pipeline.activations.manifest import MANIFEST, Manifest, Moments, store_inputs_hash
from sae_pipeline.activations.reading import HiddenBatch, read_batches
from sae_pipeline.activations.store import ActivationStore, check_store, open_store, whole_store
from sae_pipeline.artefacts.checkpoints import unfinished
from sae_pipeline.artefacts.checksums import check_file, file_sums, read_record, write_record
from sae_pipeline.artefacts.writing import publish, put, readable_os_errors
from sae_pipeline.classifier.hooks import resolve_hookpoint
from sae_pipeline.classifier.padding import equal_lengths
from sae_pipeline.config import ExtractConfig
from sae_pipeline.errors import DamageError, ResourceError, UserError
from sae_pipeline.headlines.tokens import TokenizedHeadline, length_batches
from sae_pipeline.machine.device import dtype_name
from sae_pipeline.machine.processes import ONE_PROCESS, Ranks
from sae_pipeline.schema.common import FileSum

SHARD_TOKENS = 1 << 16


@dataclass(frozen=True)
class Extraction:
    """A classifier and the headlines whose activations are wanted."""

    model: Any
    headlines: Sequence[TokenizedHeadline]
    pad_id: int
    config: ExtractConfig
    classifier_hash: str
    data_hash: str

    @property
    def name(self) -> str:
        """The hash of everything that the extraction depends on."""
        return store_inputs_hash(self.classifier_hash, self.data_hash, self.config)

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """[n_headlines] counted tokens of each headline. Raises UserError when there are none at all."""
        counts = np.array([len(h.counted(self.config.positions)) for h in self.headlines], dtype=np.int64)
        if counts.sum() == 0:
            raise UserError("The headlines hold no tokens to extract; check the text column.")
        return counts

    @cached_property
    def plan(self) -> list[list[NDArray[np.int64]]]:
        """The batches of headlines, as indices, of each shard."""
        lengths = [len(h.input_ids) for h in self.headlines]
        plan: list[list[NDArray[np.int64]]] = [[]]
        filled = 0
        for batch in length_batches(lengths, self.config.tokens_per_batch, equal_lengths(self.model)):
            if filled >= SHARD_TOKENS:
                plan.append([])
                filled = 0
            plan[-1].append(batch)
            filled += int(self.counts[batch].sum())
        return plan

    def read(self, batches: Sequence[NDArray[np.int64]]) -> Iterable[HiddenBatch]:
        """Run the classifier on batches of headlines, given as indices."""
        return read_batches(
            self.model,
            self.headlines,
            self.pad_id,
            self.config.layer,
            self.config.positions,
            batches=batches,
            precision=self.config.precision,
        )

    def manifest(self, moments: Moments, shards: dict[str, FileSum], seconds: float) -> Manifest:
        """The description of the activations that were read."""
        mean, scale = moments.finish()
        device = next(self.model.parameters()).device
        return Manifest(
            inputs_hash=self.name,
            classifier_hash=self.classifier_hash,
            data_hash=self.data_hash,
            hookpoint=resolve_hookpoint(self.model, self.config.layer)[1],
            positions=self.config.positions,
            extract=self.config,
            precision=dtype_name(device, self.config.precision),
            d_in=len(mean),
            n_tokens=int(self.counts.sum()),
            n_headlines=len(self.headlines),
            files=shards,
            mean=mean,
            scale=scale,
            seconds=round(seconds, 2),
        )


def extract(extraction: Extraction, root: Path, checkpoints: Path, ranks: Ranks = ONE_PROCESS) -> ActivationStore:
    """Write the activations of all counted tokens to `root/<hash>`; an equal store is reused.

    Several processes must see the same disk; rank 0 then finds all shards written. The store is bit for bit that of
    one process. Raises UserError for a layer that does not exist and for activations that are not finite.
    """
    target = root / extraction.name
    if whole_store(target, ranks):
        return open_store(target)
    resolve_hookpoint(extraction.model, extraction.config.layer)
    started = time.perf_counter()
    if not ranks.first:
        _write_share(extraction, ranks.broadcast(Path()), ranks)
        ranks.wait()
        return open_store(target)
    with unfinished(checkpoints, extraction.name) as checkpoint:
        work = checkpoint.folder / "store"
        with readable_os_errors(work):
            work.mkdir(exist_ok=True)
        _write_share(extraction, ranks.broadcast(work), ranks)
        moments, files = Moments(), {}
        for i in range(len(extraction.plan)):
            shard = _read_shard_record(work, i)
            moments.merge(Moments(**shard.moments))
            files[_shard_name(i)] = shard.file
        write_record(work / MANIFEST, extraction.manifest(moments, files, time.perf_counter() - started))
        publish(work, target, check_store)
    ranks.wait()
    return open_store(target)


def _write_share(extraction: Extraction, work: Path, ranks: Ranks) -> None:
    """Write this process's shards, then wait for the other processes."""
    if not work.is_dir():
        raise UserError(f"This process does not see {work}: give all processes the same --root on a disk they share.")
    own = range(ranks.rank, len(extraction.plan), ranks.size)
    total = sum(int(extraction.counts[batch].sum()) for i in own for batch in extraction.plan[i])
    with tqdm(total=total, desc="extract", unit="tok", unit_scale=True, disable=not ranks.first) as bar:
        for i in own:
            bar.update(_write_shard(extraction, i, work))
    ranks.wait()


def _shard_name(i: int) -> str:
    return f"acts-{i:05d}.safetensors"


class _Shard(BaseModel):
    """What is known of a shard that is whole. It is kept in the checkpoint until the manifest is written."""

    file: FileSum
    moments: dict[str, Any]


def _read_shard_record(work: Path, i: int) -> _Shard:
    try:
        return read_record(_shard_record(work, i), _Shard)
    except DamageError as error:
        raise ResourceError(f"{_shard_record(work, i)} {error}; run the same command again.") from error


def _shard_record(work: Path, i: int) -> Path:
    return work.parent / f"{_shard_name(i)}.json"


def _write_shard(extraction: Extraction, i: int, work: Path) -> int:
    """Write one shard, then its record, unless both are there already; returns its number of tokens."""
    path = work / _shard_name(i)
    with suppress(DamageError):
        known = read_record(_shard_record(work, i), _Shard)
        check_file(path, known.file)
        return int(known.moments["n"])
    read = [(b.acts.cpu().half(), b.headlines.cpu(), b.positions.cpu()) for b in extraction.read(extraction.plan[i])]
    acts, headlines, positions = (torch.cat(column) for column in zip(*read, strict=True))
    moments = Moments()
    moments.add(acts)
    temporary = path.with_suffix(".partial")
    tensors = {"acts": acts, "headlines": headlines.int(), "positions": positions.short()}
    with readable_os_errors(path.parent):
        save_file(tensors, temporary)
        put(temporary, path)
    file = file_sums(work, [path.name])[path.name]
    write_record(_shard_record(work, i), _Shard(file=file, moments=moments.to_dict()))
    return moments.n
