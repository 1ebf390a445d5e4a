"""Extraction: the classifier reads its training headlines once, and the activations of each layer go into a store.

Stores are written shard by shard. A call that was killed goes on after its last whole shards, and several processes
write shards in turn. A store is bit for bit the same, whether its layer was extracted alone or with others.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel
from safetensors.torch import save_file
from torch import Tensor
from tqdm.auto import tqdm

from sae_pipeline.activations.manifest import MANIFEST, Manifest, Moments, moment_sums, store_inputs_hash
from sae_pipeline.activations.reading import HiddenBatch, read_layers
from sae_pipeline.activations.store import ActivationStore, check_store, open_store, whole_store
from sae_pipeline.artefacts.checkpoints import unfinished
from sae_pipeline.artefacts.checksums import check_file, file_sums, read_record, write_record
from sae_pipeline.artefacts.writing import publish, put, readable_os_errors
from sae_pipeline.classifier.hooks import resolve_hookpoint
from sae_pipeline.classifier.low_precision import copy_in_bf16
from sae_pipeline.classifier.padding import equal_lengths
from sae_pipeline.config import ExtractConfig
from sae_pipeline.errors import DamageError, ResourceError, UserError
from sae_pipeline.headlines.extra import ExtraRecord
from sae_pipeline.headlines.tokens import TokenizedHeadline, length_batches
from sae_pipeline.machine.device import dtype_name, token_budget, use_bf16, wants
from sae_pipeline.machine.processes import ONE_PROCESS, Ranks
from sae_pipeline.machine.transfers import Landing, beside
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
    extra: ExtraRecord | None = None  # of the extra text, whose headlines stand last

    @property
    def name(self) -> str:
        """The hash of everything that the extraction depends on."""
        return store_inputs_hash(self.classifier_hash, self.data_hash, self.config, self.extra)

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """[n_headlines] vectors of each headline. Raises UserError when there are none at all."""
        counts = np.array([h.n_vectors(self.config.positions) for h in self.headlines], dtype=np.int64)
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

    def of_layer(self, layer: int) -> "Extraction":
        """The same extraction of another layer."""
        return replace(self, config=self.config.model_copy(update={"layer": layer}))

    @property
    def device(self) -> torch.device:
        """The device of the classifier."""
        return next(self.model.parameters()).device  # type: ignore[no-any-return]

    @cached_property
    def _network(self) -> Any:
        """The classifier as it is read: a card would cast its weights to bf16 again for every batch."""
        cast = wants(self.device).queues and use_bf16(self.device, self.config.precision)
        return copy_in_bf16(self.model) if cast else self.model

    def _as_device_wants(self, batches: Sequence[NDArray[np.int64]]) -> Sequence[NDArray[np.int64]]:
        """The same headlines in the same order, in larger batches for a device that wants them."""
        budget = token_budget(self.device, self.config.tokens_per_batch)
        if budget == self.config.tokens_per_batch or not len(batches):
            return batches
        rows = np.concatenate(batches)
        lengths = [len(self.headlines[row].input_ids) for row in rows]
        return [rows[batch] for batch in length_batches(lengths, budget, equal_lengths(self.model))]

    def read(self, batches: Sequence[NDArray[np.int64]]) -> Iterable[HiddenBatch]:
        """Run the classifier on batches of headlines, given as indices."""
        return (read[0] for read in self.read_layers((self.config.layer,), batches))

    def read_layers(self, layers: Sequence[int], batches: Sequence[NDArray[np.int64]]) -> Iterator[list[HiddenBatch]]:
        """Run the classifier once on batches of headlines, given as indices: one `HiddenBatch` for each layer."""
        place, batches = (self.pad_id, layers, self.config.positions), self._as_device_wants(batches)
        precision = self.config.precision
        return read_layers(
            self._network, self.headlines, *place, batches=batches, precision=precision, side_by_side=True
        )

    def manifest(self, moments: Moments, shards: dict[str, FileSum], seconds: float) -> Manifest:
        """The description of the activations that were read."""
        mean, scale = moments.finish()
        return Manifest(
            inputs_hash=self.name,
            classifier_hash=self.classifier_hash,
            data_hash=self.data_hash,
            hookpoint=resolve_hookpoint(self.model, self.config.layer)[1],
            positions=self.config.positions,
            extract=self.config,
            extra=self.extra,
            precision=dtype_name(self.device, self.config.precision),
            d_in=len(mean),
            n_tokens=int(self.counts.sum()),
            n_headlines=len(self.headlines),
            files=shards,
            mean=mean,
            scale=scale,
            seconds=round(seconds, 2),
        )


def extract(extraction: Extraction, root: Path, checkpoints: Path, ranks: Ranks = ONE_PROCESS) -> ActivationStore:
    """Write the activations at the config's layer and positions to `root/<hash>`; an equal store is reused.

    Several processes must see the same disk; rank 0 then finds all shards written. The store is bit for bit that of
    one process. Raises UserError for a layer that does not exist and for activations that are not finite.
    """
    return extract_layers(extraction, (extraction.config.layer,), root, checkpoints, ranks)[0]


def extract_layers(
    extraction: Extraction, layers: Sequence[int], root: Path, checkpoints: Path, ranks: Ranks = ONE_PROCESS
) -> list[ActivationStore]:
    """The stores of several layers, in their order, written in one forward pass; see `extract`.

    A layer's unfinished shards are those of its single extraction, so either goes on where the other was killed. The
    shards that are being written are in memory: 100 MB for each layer of width 768.
    """
    wanted = [extraction.of_layer(layer) for layer in layers]
    missing = [one for one in wanted if not whole_store(root / one.name, ranks)]
    if missing:
        for one in missing:
            resolve_hookpoint(one.model, one.config.layer)
        _write_missing(missing, root, checkpoints, ranks)
    return [open_store(root / one.name) for one in wanted]


def _write_missing(missing: Sequence[Extraction], root: Path, checkpoints: Path, ranks: Ranks) -> None:
    """Write the stores of some layers together; rank 0 publishes them."""
    started = time.perf_counter()
    if not ranks.first:
        _write_share(missing, ranks.broadcast([Path()]), ranks)
        ranks.wait()
        return
    with ExitStack() as held:
        works = [held.enter_context(unfinished(checkpoints, one.name)).folder / "store" for one in missing]
        for work in works:
            with readable_os_errors(work):
                work.mkdir(exist_ok=True)
        _write_share(missing, ranks.broadcast(works), ranks)
        seconds = (time.perf_counter() - started) / len(missing)
        for one, work in zip(missing, works, strict=True):
            moments, files = Moments(), {}
            for i in range(len(one.plan)):
                shard = _read_shard_record(work, i)
                moments.merge(Moments(**shard.moments))
                files[_shard_name(i)] = shard.file
            write_record(work / MANIFEST, one.manifest(moments, files, seconds))
            publish(work, root / one.name, check_store)
    ranks.wait()


def _write_share(missing: Sequence[Extraction], works: Sequence[Path], ranks: Ranks) -> None:
    """Write this process's shards, then wait for the other processes."""
    for work in works:
        if not work.is_dir():
            raise UserError(
                f"This process does not see {work}: give all processes the same --root on a disk they share."
            )
    counts, plan = missing[0].counts, missing[0].plan
    own = range(ranks.rank, len(plan), ranks.size)
    total = sum(int(counts[batch].sum()) for i in own for batch in plan[i])
    name = "extract" if len(missing) == 1 else f"extract {len(missing)} layers"
    device = missing[0].device
    landing = Landing(device)
    with (
        tqdm(total=total, desc=name, unit="tok", unit_scale=True, disable=not ranks.first) as bar,
        beside(wants(device).writers) as write,
    ):
        for i in own:
            _write_shards(missing, works, i, bar.update, landing, write)
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


def _write_shards(
    missing: Sequence[Extraction],
    works: Sequence[Path],
    i: int,
    progress: Callable[[int], object],
    landing: Landing,
    write: Callable[..., None],
) -> None:
    """Write one shard of each layer, then their records, except those that are there already.

    `write` may write later. Activations and moments come over `landing`.
    """
    open_ = [n for n, work in enumerate(works) if not _is_written(work, i)]
    first = missing[0]
    n_tokens = sum(int(first.counts[batch].sum()) for batch in first.plan[i])
    if not open_:
        progress(n_tokens)
        return
    shards = [_Landed(n_tokens, landing, wants(first.device).queues) for _ in open_]
    headlines, positions = [], []
    for batches in first.read_layers([missing[n].config.layer for n in open_], first.plan[i]):
        for shard, batch in zip(shards, batches, strict=True):
            shard.take(batch.acts.half())
        places = batches[0].places
        headlines.append(torch.from_numpy(batches[0].rows)[places.headline])
        positions.append(places.position)
        progress(len(places))
    listed = {"headlines": torch.cat(headlines).int(), "positions": torch.cat(positions).short()}
    landed = landing.landed()
    for n in open_:
        write(_write_shard, works[n], i, shards.pop(0), listed, landed)


def _is_written(work: Path, i: int) -> bool:
    """Whether a shard is whole."""
    with suppress(DamageError):
        check_file(work / _shard_name(i), read_record(_shard_record(work, i), _Shard).file)
        return True
    return False


class _Landed:
    """The activations of one shard in main memory, and their moments where the device computes them."""

    def __init__(self, n_tokens: int, landing: Landing, on_device: bool) -> None:
        """Activations come over `landing`; `on_device` says whether their moments are computed before."""
        self._n_tokens, self._landing, self._on_device = n_tokens, landing, on_device
        self.acts = torch.empty(0)  # float16 [n_tokens, d_in]
        self._filled = 0  # tokens
        self._sums: list[tuple[int, Tensor]] = []  # `moment_sums` of the parts

    def take(self, acts: Tensor) -> None:
        """Let activations [n, d_in] land as the next tokens."""
        if not self._filled:
            self.acts = self._landing.room((self._n_tokens, acts.shape[1]), torch.float16)
        self._landing.copy(self.acts[self._filled : self._filled + len(acts)], acts)
        self._filled += len(acts)
        if self._on_device:
            sums = self._landing.room((acts.shape[1] + 1,), torch.float64)
            self._landing.copy(sums, moment_sums(acts))
            self._sums.append((len(acts), sums))

    def moments(self) -> Moments:
        """The moments, when all has landed. Raises UserError when activations are not finite."""
        moments = Moments()
        for n, sums in self._sums:
            moments.add_sums(n, sums)
        if not self._sums:
            moments.add(self.acts)
        return moments


def _write_shard(work: Path, i: int, shard: _Landed, listed: dict[str, Tensor], landed: Callable[[], None]) -> None:
    """Write one shard when it has landed, then its record. `listed` are the headline and position of each token."""
    landed()
    path = work / _shard_name(i)
    moments = shard.moments()
    temporary = path.with_suffix(".partial")
    with readable_os_errors(path.parent):
        save_file({"acts": shard.acts, **listed}, temporary)
        put(temporary, path)
    file = file_sums(work, [path.name])[path.name]
    write_record(_shard_record(work, i), _Shard(file=file, moments=moments.to_dict()))
