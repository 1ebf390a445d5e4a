"""Activations of one layer: where they are (hookpoint), the one hook primitive, extraction, the store."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn
from tqdm.auto import tqdm

from .artefacts import partial_folder, publish, settings_hash, write_json
from .config import ExtractConfig, Precision
from .device import autocast, dtype_name
from .errors import UserError
from .schema import Hookpoint, PositionKind
from .tokens import TokenizedHeadline, collate, counted_mask, length_batches

_SHARD_TOKENS = 1 << 18
_MANIFEST = "manifest.json"


# --- the hook primitive --------------------------------------------------------------------------------


class _StopForward(Exception):  # noqa: N818 - not an error
    """Raised inside a forward pass to skip the layers that are not needed."""


def resolve_hookpoint(model: Any, layer: int) -> tuple[nn.Module, Hookpoint]:
    """The module whose output is `hidden_states[layer]`.

    Raises UserError when the model has no such layer.
    """
    n_layers = model.config.num_hidden_layers
    if not 1 <= layer <= n_layers:
        raise UserError(f"Layer {layer} does not exist: this model has layers 1 to {n_layers}; change --layer.")
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == n_layers:
            return module[layer - 1], Hookpoint(layer=layer, module=f"{name}.{layer - 1}")
    raise UserError(f"{type(model).__name__} has no list of {n_layers} layers; use a BERT-like encoder.")


@contextmanager
def hooked(module: nn.Module, edit: Callable[[Tensor], Tensor | None], stop: bool = False) -> Iterator[None]:
    """Inside the context, pass `module`'s output [n_headlines, n_positions, d_in] through `edit`.

    `edit` returns the new output, or None to leave it. With `stop` the layers after it are skipped: run the
    model inside `stopping()`. The hook is removed whatever happens.
    """

    def hook(_module: nn.Module, _args: Any, output: Any) -> Any:
        hidden = output[0] if isinstance(output, tuple) else output
        edited = edit(hidden)
        if stop:
            raise _StopForward
        if edited is None:
            return output
        return (edited, *output[1:]) if isinstance(output, tuple) else edited

    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def stopping() -> Iterator[None]:
    """Absorb the early end of a forward pass run with `hooked(..., stop=True)`."""
    try:
        yield
    except _StopForward:
        return


# --- reading activations -------------------------------------------------------------------------------


@dataclass(frozen=True)
class ActivationBatch:
    """Counted tokens of a few headlines."""

    acts: Tensor  # [n_tokens, d_in], headline by headline, positions ascending
    headlines: Tensor  # int64 [n_tokens]: index of the headline
    positions: Tensor  # int64 [n_tokens]: 0-based position in the model's input


@torch.inference_mode()
def read_activations(
    model: Any,
    headlines: Sequence[TokenizedHeadline],
    pad_id: int,
    layer: int,
    positions: PositionKind,
    tokens_per_batch: int = 4096,
    precision: Precision = "fp32",
) -> Iterator[ActivationBatch]:
    """Yield the layer's activations at the counted positions, longest headlines first.

    Layers after `layer` are not run; batches hold headlines of similar length within the token budget.
    """
    module, _ = resolve_hookpoint(model, layer)
    device = next(model.parameters()).device
    captured: list[Tensor] = []
    for batch in length_batches([len(h.input_ids) for h in headlines], tokens_per_batch):
        members = [headlines[i] for i in batch]
        input_ids, mask = collate(members, pad_id)
        counted = counted_mask(members, positions).to(device)
        captured.clear()
        with hooked(module, captured.append, stop=True), stopping(), autocast(device, precision):
            model(input_ids=input_ids.to(device), attention_mask=mask.to(device))
        row, position = counted.nonzero(as_tuple=True)
        yield ActivationBatch(
            acts=captured[0][row, position].float(),
            headlines=torch.from_numpy(batch).to(device)[row],
            positions=position,
        )


# --- the store -----------------------------------------------------------------------------------------


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
class ActivationStore:
    """Activations on disk: fp16 shards and a manifest."""

    folder: Path
    manifest: Manifest

    def load(self) -> Tensor:
        """All activations, float16 [n_tokens, d_in], in the classifier's units."""
        parts = []
        for shard in self.manifest.shards:
            with safe_open(self.folder / shard, framework="pt") as file:
                parts.append(file.get_tensor("acts"))
        return torch.cat(parts)

    @property
    def mean(self) -> Tensor:
        """float32 [d_in]."""
        return torch.tensor(self.manifest.mean)

    @property
    def scale(self) -> Tensor:
        """float32 []: sqrt(mean ‖x − mean‖² / d_in)."""
        return torch.tensor(self.manifest.scale)


def open_store(folder: Path) -> ActivationStore:
    """Open an activation store. Raises UserError when it is missing or damaged."""
    try:
        manifest = Manifest.model_validate_json((folder / _MANIFEST).read_bytes())
    except (OSError, ValidationError) as error:
        raise UserError(f"{folder} holds no activations; run `python -m sae_pipeline extract`.") from error
    for shard in manifest.shards:
        if not (folder / shard).is_file():
            raise UserError(f"{folder / shard} is missing; delete {folder} and run `python -m sae_pipeline extract`.")
    return ActivationStore(folder, manifest)


def store_inputs_hash(classifier_hash: str, data_hash: str, config: ExtractConfig) -> str:
    """Names an extraction by everything that goes into it."""
    return settings_hash(classifier_hash, data_hash, config.model_dump())


def extract(
    model: Any,
    headlines: Sequence[TokenizedHeadline],
    pad_id: int,
    config: ExtractConfig,
    classifier_hash: str,
    data_hash: str,
    root: Path,
) -> ActivationStore:
    """Write the activations of all counted tokens to `root/<hash>`; an equal store is reused.

    Raises UserError for a layer that does not exist and for activations that are not finite.
    """
    name = store_inputs_hash(classifier_hash, data_hash, config)
    if (root / name / _MANIFEST).is_file():
        return open_store(root / name)
    _, hookpoint = resolve_hookpoint(model, config.layer)
    total = sum(len(h.counted(config.positions)) for h in headlines)
    if total == 0:
        raise UserError("The headlines hold no tokens to extract; check the text column.")
    started = time.perf_counter()
    device = next(model.parameters()).device
    with partial_folder(root) as work, tqdm(total=total, desc="extract", unit="tok", unit_scale=True) as bar:
        shards: list[str] = []
        pending: list[ActivationBatch] = []
        moments = _Moments()

        def flush() -> None:
            if pending:
                shards.append(f"acts-{len(shards):05d}.safetensors")
                columns = [torch.cat([getattr(b, key) for b in pending]) for key in ("acts", "headlines", "positions")]
                tensors = {
                    "acts": columns[0].contiguous(),
                    "headlines": columns[1].to(torch.int32),
                    "positions": columns[2].to(torch.int16),
                }
                (work / shards[-1]).write_bytes(save(tensors))
                pending.clear()

        for batch in read_activations(
            model, headlines, pad_id, config.layer, config.positions, config.tokens_per_batch, config.precision
        ):
            acts = batch.acts.cpu().half()
            moments.add(acts)
            pending.append(ActivationBatch(acts, batch.headlines.cpu(), batch.positions.cpu()))
            bar.update(len(acts))
            if sum(len(b.acts) for b in pending) >= _SHARD_TOKENS:
                flush()
        flush()
        mean, scale = moments.finish()
        manifest = Manifest(
            inputs_hash=name,
            classifier_hash=classifier_hash,
            data_hash=data_hash,
            hookpoint=hookpoint,
            positions=config.positions,
            extract=config,
            precision=dtype_name(device, config.precision),
            d_in=len(mean),
            n_tokens=total,
            n_headlines=len(headlines),
            shards=shards,
            mean=mean,
            scale=scale,
            seconds=round(time.perf_counter() - started, 2),
        )
        write_json(work / _MANIFEST, manifest.model_dump())
        return open_store(publish(work, root / name))


class _Moments:
    """Mean and scale of activations in one pass, float64; shifted by the first batch's mean for accuracy."""

    def __init__(self) -> None:
        self.n = 0
        self.shift: np.ndarray[Any, Any] | None = None
        self.total: Any = 0.0
        self.squares = 0.0

    def add(self, acts: Tensor) -> None:
        x = acts.double().numpy()
        if not np.isfinite(x).all():
            raise UserError(
                "The classifier's activations are not finite (NaN or beyond fp16's 65,504); fine-tune it again."
            )
        if self.shift is None:
            self.shift = x.mean(0)
        x = x - self.shift
        self.n += len(x)
        self.total = self.total + x.sum(0)
        self.squares += float((x * x).sum())

    def finish(self) -> tuple[list[float], float]:
        assert self.shift is not None
        offset = self.total / self.n
        variance = self.squares / self.n - float(offset @ offset)
        scale = (max(variance, 0.0) / len(offset)) ** 0.5
        if scale == 0.0:
            raise UserError("All activations are the same; an SAE has nothing to learn: check the headlines.")
        return (self.shift + offset).tolist(), scale
