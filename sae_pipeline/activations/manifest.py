"""The description of activations: the manifest of a store, and the moments that give their mean and scale."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from sae_pipeline.activations.batches import HeldTokens, chunks
from sae_pipeline.artefacts.writing import settings_hash
from sae_pipeline.config import ExtractConfig
from sae_pipeline.errors import UserError
from sae_pipeline.headlines.extra import ExtraRecord
from sae_pipeline.machine.device import wants
from sae_pipeline.schema.common import FileName, FileSum, PositionKind
from sae_pipeline.schema.run import Hookpoint

MANIFEST = "manifest.json"


def store_inputs_hash(
    classifier_hash: str, data_hash: str, config: ExtractConfig, extra: ExtraRecord | None = None
) -> str:
    """The name of an extraction: a hash of everything that it depends on. Of extra text that is its content."""
    texts = [extra.texts_hash] if extra else []
    return settings_hash(classifier_hash, data_hash, config.model_dump(exclude={"extra_text"}), *texts)


class Manifest(BaseModel):
    """`manifest.json` of an activation store."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    inputs_hash: str
    classifier_hash: str
    data_hash: str
    hookpoint: Hookpoint
    positions: PositionKind
    extract: ExtractConfig
    extra: ExtraRecord | None = Field(None, description="null: the training headlines alone")
    precision: str
    d_in: int
    n_tokens: int
    n_headlines: int
    files: dict[FileName, FileSum] = Field(description="the shards, in the order of their rows")
    mean: list[float]
    scale: float
    seconds: float


@dataclass(frozen=True)
class Activations:
    """A layer's activations over the training headlines, wherever they come from."""

    manifest: Manifest

    @property
    def name(self) -> str:
        """The hash of everything that they depend on."""
        return self.manifest.inputs_hash

    @property
    def n_tokens(self) -> int:
        """The number of counted tokens of all headlines."""
        return self.manifest.n_tokens

    @property
    def d_in(self) -> int:
        """The width of the layer."""
        return self.manifest.d_in

    @property
    def mean(self) -> Tensor:
        """The mean over all tokens, float32 [d_in]."""
        return torch.tensor(self.manifest.mean)

    @property
    def scale(self) -> Tensor:
        """The root of mean ‖x − mean‖² / d_in, float32 []."""
        return torch.tensor(self.manifest.scale)


def moment_sums(acts: Tensor) -> Tensor:
    """The mean of activations [n, d_in] and Σ‖x − mean‖² as one float64 [d_in + 1], on their device."""
    x = acts.double()
    mean = x.mean(0)
    return torch.cat([mean, (x - mean).square().sum()[None]])


class Moments:
    """The mean and Σ‖x − mean‖² of activations in one pass, in float64; parts can be merged (Chan et al. 1983)."""

    def __init__(self, n: int = 0, mean: Sequence[float] = (), squares: float = 0.0) -> None:
        self.n, self.mean, self.squares = n, np.asarray(mean, np.float64), squares

    def add(self, acts: Tensor) -> None:
        """Take in activations [n, d_in]; a card computes their moments. Raises UserError when they are not finite."""
        if wants(acts.device).queues:
            self.add_sums(len(acts), moment_sums(acts))
            return
        for part in chunks(HeldTokens(acts.cpu())):
            x = part.double().numpy()
            mean = x.mean(0)
            x = x - mean
            self.merge(Moments(len(x), mean, float((x * x).sum())))

    def add_sums(self, n: int, sums: Tensor) -> None:
        """Take in the `moment_sums` of n activations. Raises UserError when they are not finite."""
        if n:
            *mean, squares = sums.tolist()
            self.merge(Moments(n, mean, squares))

    def merge(self, other: "Moments") -> None:
        """Take in the moments of other activations. Raises UserError when these are not finite."""
        if not np.isfinite(other.squares):
            raise UserError(
                "The classifier's activations are not finite (NaN or beyond fp16's 65,504); fine-tune it again."
            )
        if self.n == 0:
            self.n, self.mean, self.squares = other.n, other.mean, other.squares
            return
        n, difference = self.n + other.n, other.mean - self.mean
        self.squares += other.squares + float(difference @ difference) * self.n * other.n / n
        self.mean = self.mean + difference * (other.n / n)
        self.n = n

    def finish(self) -> tuple[list[float], float]:
        """Mean [d_in] and scale. Raises UserError when all activations are the same."""
        scale = (self.squares / self.n / len(self.mean)) ** 0.5
        if scale == 0.0:
            raise UserError("All activations are the same; an SAE has nothing to learn: check the headlines.")
        return self.mean.tolist(), float(scale)

    def to_dict(self) -> dict[str, Any]:
        """The moments as JSON-able fields; the constructor takes them."""
        return {"n": self.n, "mean": self.mean.tolist(), "squares": self.squares}
