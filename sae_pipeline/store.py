"""The activation store: a layer's activations over the training headlines, on disk or streamed.

Shards are safetensors files of fp16 rows, longest headlines first, memory-mapped when read. A shard is the unit in
which an extraction that was killed goes on. `ActivationStream` gives the same tokens without a store, by running the
classifier whenever they are read.
"""

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from tqdm.auto import tqdm

from .activations import ActivationBatch, read_activations, resolve_hookpoint
from .artefacts import publish, readable_os_errors, settings_hash, write_json
from .batches import HeldTokens, chunks
from .checkpoints import unfinished
from .config import ExtractConfig
from .device import dtype_name
from .errors import UserError
from .processes import ALONE, World
from .schema.common import PositionKind
from .schema.run import Hookpoint
from .tokens import TokenizedHeadline, length_batches

SHARD_TOKENS = 1 << 16
_MANIFEST = "manifest.json"


class Manifest(BaseModel):
    """`manifest.json` of an activation store."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    inputs_hash: str
    classifier_hash: str
    data_hash: str
    hookpoint: Hookpoint
    positions: PositionKind
    extract: ExtractConfig
    precision: str
    d_in: int
    n_tokens: int
    n_headlines: int
    shards: list[str]
    mean: list[float]
    scale: float
    seconds: float


@dataclass(frozen=True)
class _Activations:
    """What a store and a stream have in common."""

    manifest: Manifest

    @property
    def name(self) -> str:
        """Hash of everything that went into them."""
        return self.manifest.inputs_hash

    @property
    def n_tokens(self) -> int:
        """Counted tokens of all headlines."""
        return self.manifest.n_tokens

    @property
    def d_in(self) -> int:
        """Width of the layer."""
        return self.manifest.d_in

    @property
    def mean(self) -> Tensor:
        """float32 [d_in]."""
        return torch.tensor(self.manifest.mean)

    @property
    def scale(self) -> Tensor:
        """float32 []: sqrt(mean ‖x − mean‖² / d_in)."""
        return torch.tensor(self.manifest.scale)


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


def store_inputs_hash(classifier_hash: str, data_hash: str, config: ExtractConfig) -> str:
    """Names an extraction by everything that goes into it."""
    return settings_hash(classifier_hash, data_hash, config.model_dump())


# --- extraction ----------------------------------------------------------------------------------------


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
        """Hash of everything that goes into it."""
        return store_inputs_hash(self.classifier_hash, self.data_hash, self.config)

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """Counted tokens of each headline. Raises UserError when there are none at all."""
        counts = np.array([len(h.counted(self.config.positions)) for h in self.headlines], dtype=np.int64)
        if counts.sum() == 0:
            raise UserError("The headlines hold no tokens to extract; check the text column.")
        return counts

    def read(self, batches: Sequence[NDArray[np.int64]]) -> Iterable[ActivationBatch]:
        """Run the classifier on batches of headlines."""
        config = self.config
        return read_activations(
            self.model,
            self.headlines,
            self.pad_id,
            config.layer,
            config.positions,
            config.tokens_per_batch,
            config.precision,
            batches,
        )

    def manifest(self, moments: "_Moments", shards: list[str], seconds: float) -> Manifest:
        """The description of what was read."""
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
            shards=shards,
            mean=mean,
            scale=scale,
            seconds=round(seconds, 2),
        )


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


def _plan(extraction: Extraction) -> list[list[NDArray[np.int64]]]:
    """The batches of headlines of each shard."""
    lengths = [len(h.input_ids) for h in extraction.headlines]
    plan: list[list[NDArray[np.int64]]] = [[]]
    filled = 0
    for batch in length_batches(lengths, extraction.config.tokens_per_batch):
        if filled >= SHARD_TOKENS:
            plan.append([])
            filled = 0
        plan[-1].append(batch)
        filled += int(extraction.counts[batch].sum())
    return plan


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


@dataclass(frozen=True)
class ActivationStream(_Activations):
    """The same tokens without a store: whatever is read is computed by the classifier, again each time."""

    extraction: Extraction

    @classmethod
    def open(cls, extraction: Extraction) -> "ActivationStream":
        """One pass over the headlines for mean and scale."""
        started = time.perf_counter()
        moments = _Moments()
        batches = [batch for shard in _plan(extraction) for batch in shard]
        with tqdm(total=int(extraction.counts.sum()), desc="mean and scale", unit="tok", unit_scale=True) as bar:
            for batch in extraction.read(batches):
                moments.add(batch.acts.cpu().half())
                bar.update(len(batch.acts))
        return cls(extraction.manifest(moments, [], time.perf_counter() - started), extraction)

    def read(self, spans: Sequence[tuple[int, int]]) -> Tensor:
        """The rows of half-open spans, in the order given: float16 [n, d_in]."""
        order, ends = self._order
        rows = np.concatenate([np.arange(start, stop) for start, stop in spans])
        places = np.searchsorted(ends, rows, side="right")  # of the row's headline in `order`
        within = rows - (ends - self.extraction.counts[order])[places]
        wanted = np.unique(places)
        known = np.empty(len(self.extraction.headlines), dtype=np.int64)
        known[order[wanted]] = np.arange(len(wanted))
        lengths = [len(self.extraction.headlines[i].input_ids) for i in order[wanted]]
        budget = self.extraction.config.tokens_per_batch
        batches = [order[wanted[batch]] for batch in length_batches(lengths, budget)]
        parts, firsts, filled = [], np.empty(len(wanted), dtype=np.int64), 0
        for batch, members in zip(self.extraction.read(batches), batches, strict=True):
            parts.append(batch.acts.cpu().half())
            counts = self.extraction.counts[members]
            firsts[known[members]] = filled + counts.cumsum() - counts
            filled += len(batch.acts)
        return torch.cat(parts)[firsts[known[order[places]]] + within]

    @cached_property
    def _order(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Headlines as in a store, longest first, and the rows up to the end of each."""
        order = np.concatenate([batch for shard in _plan(self.extraction) for batch in shard])
        return order, self.extraction.counts[order].cumsum()


class _Moments:
    """Mean and Σ‖x − mean‖² of activations in one pass, float64; parts are merged (Chan et al. 1983)."""

    def __init__(self, n: int = 0, mean: Sequence[float] = (), squares: float = 0.0) -> None:
        self.n, self.mean, self.squares = n, np.asarray(mean, np.float64), squares

    def add(self, acts: Tensor) -> None:
        for part in chunks(HeldTokens(acts)):
            x = part.double().numpy()
            mean = x.mean(0)
            x = x - mean
            squares = float((x * x).sum())
            if not np.isfinite(squares):
                raise UserError(
                    "The classifier's activations are not finite (NaN or beyond fp16's 65,504); fine-tune it again."
                )
            self.merge(_Moments(len(x), mean, squares))

    def merge(self, other: "_Moments") -> None:
        if self.n == 0:
            self.n, self.mean, self.squares = other.n, other.mean, other.squares
            return
        n, apart = self.n + other.n, other.mean - self.mean
        self.squares += other.squares + float(apart @ apart) * self.n * other.n / n
        self.mean = self.mean + apart * (other.n / n)
        self.n = n

    def to_json(self) -> str:
        return json.dumps({"n": self.n, "mean": self.mean.tolist(), "squares": self.squares})

    def finish(self) -> tuple[list[float], float]:
        scale = (self.squares / self.n / len(self.mean)) ** 0.5
        if scale == 0.0:
            raise UserError("All activations are the same; an SAE has nothing to learn: check the headlines.")
        return self.mean.tolist(), float(scale)
