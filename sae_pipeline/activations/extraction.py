"""A classifier before its training headlines: what an extraction reads, and the description of what it wrote."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from sae_pipeline.activations.batches import HeldTokens, chunks
from sae_pipeline.activations.reading import ActivationBatch, read_activations
from sae_pipeline.artefacts.writing import settings_hash
from sae_pipeline.classifier.hooks import resolve_hookpoint
from sae_pipeline.config import ExtractConfig
from sae_pipeline.errors import UserError
from sae_pipeline.headlines.tokens import TokenizedHeadline, length_batches
from sae_pipeline.machine.device import dtype_name
from sae_pipeline.schema.common import PositionKind
from sae_pipeline.schema.run import Hookpoint

SHARD_TOKENS = 1 << 16


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


def store_inputs_hash(classifier_hash: str, data_hash: str, config: ExtractConfig) -> str:
    """Names an extraction by everything that goes into it."""
    return settings_hash(classifier_hash, data_hash, config.model_dump())


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
