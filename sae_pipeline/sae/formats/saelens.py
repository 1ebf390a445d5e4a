"""SAELens (Bloom et al. 2024): a folder with `cfg.json` and `sae_weights.safetensors`.

    standard    f = relu(pre)                          W_enc, b_enc, W_dec, b_dec
    topk        the k largest of relu(pre)             the same
    jumprelu    f = relu(pre) where pre > threshold    the same, threshold
    gated       f = relu(exp(r_mag)·x·W_enc + b_mag) where x·W_enc + b_gate > 0

Our relu becomes "standard" and topk becomes "topk"; all other kinds become "jumprelu" (see schema/kinds.py), as
SAELens itself saves its BatchTopK and Matryoshka.
"""

from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field
from safetensors.torch import save
from torch import Tensor

from sae_pipeline.errors import UserError
from sae_pipeline.sae.autoencoder import SparseAutoencoder
from sae_pipeline.sae.formats.facts import Facts, facts, residual_layer
from sae_pipeline.sae.formats.files import ForeignConfig, parse, read_json, read_safetensors, taken
from sae_pipeline.sae.formats.plain import Encoder, PlainSae, Recorded, gated_encoder, plain
from sae_pipeline.schema.kinds import KINDS, listed

CONFIG, WEIGHTS = "cfg.json", "sae_weights.safetensors"
SPARSITY = "sparsity.safetensors"  # log10 of how often each feature fired in training; may be absent
VERSION = "6.54.12"  # the version of SAELens that was checked to read and write these files
_KINDS = {"standard": "relu", "topk": "topk", "jumprelu": "jumprelu", "gated": "gated"}  # architecture → our kind


def write(sae: SparseAutoencoder, recorded: Recorded) -> dict[str, bytes | dict[str, Any]]:
    """The files of one of our SAEs. The config is the last of them."""
    own, folded = sae.config, plain(sae)
    architecture = KINDS[own.kind].saelens_architecture
    tensors = {name: getattr(folded, name) for name in ("W_enc", "b_enc", "W_dec", "b_dec")}
    if architecture == "jumprelu":
        tensors["threshold"] = folded.threshold
    settings = {
        "architecture": architecture,
        "d_in": own.d_in,
        "d_sae": own.d_sae,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": False,
        "normalize_activations": "none",
        **({"k": folded.k, "rescale_acts_by_decoder_norm": False} if architecture == "topk" else {}),
        "metadata": {
            "sae_lens_version": VERSION,
            "hook_name": own.hookpoint.module,
            "hook_layer": own.hookpoint.layer - 1,  # SAELens counts layers from 0
            **facts(sae, recorded),
        },
    }
    return {WEIGHTS: save({name: t.float().contiguous() for name, t in tensors.items()}), CONFIG: settings}


class _Config(ForeignConfig):
    """The fields of `cfg.json`."""

    architecture: str = "standard"
    d_in: Annotated[int, Field(ge=1)]
    d_sae: Annotated[int, Field(ge=1)]
    k: Annotated[int, Field(ge=1)] | None = None
    apply_b_dec_to_input: bool = True
    normalize_activations: str | bool | None = "none"
    reshape_activations: str = "none"
    rescale_acts_by_decoder_norm: bool = False
    finetuning_scaling_factor: bool = False
    hook_name: str | None = None  # up to version 5; later it stands in metadata
    hook_point: str | None = None
    activation_fn: str | None = None
    activation_fn_str: str | None = None
    activation_fn_kwargs: dict[str, Any] = Field({})
    metadata: dict[str, Any] = Field({})


class _Metadata(Facts):
    hook_name: str | None = None


def read(folder: Path) -> PlainSae:
    """Read an SAE that SAELens saved for inference. Raises UserError."""
    path = folder / CONFIG
    config = parse(path, read_json(path), _Config)
    metadata = parse(path, config.metadata, _Metadata)
    metadata.check_sizes(path, config.d_sae)
    architecture, k = _rule(path, config)
    hook = metadata.hook_name or config.hook_name or config.hook_point
    d_in, d_sae = config.d_in, config.d_sae
    shapes: dict[str, tuple[int, ...]] = {"W_enc": (d_in, d_sae), "W_dec": (d_sae, d_in), "b_dec": (d_in,)}
    biases = {"jumprelu": ("b_enc", "threshold"), "gated": ("b_gate", "b_mag", "r_mag")}
    shapes |= dict.fromkeys(biases.get(architecture, ("b_enc",)), (d_sae,))
    path = folder / WEIGHTS
    tensors = taken(path, read_safetensors(path), shapes, f"an SAE of architecture {architecture}")
    sae = PlainSae(
        kind=metadata.kind_of(_KINDS[architecture]),
        W_dec=tensors["W_dec"],
        b_dec=tensors["b_dec"],
        k=k or metadata.k,
        prefixes=tuple(metadata.prefixes),
        architecture=architecture,
        recorded=metadata.recorded(layer=residual_layer(hook), l0=k or _trained_l0(folder, d_sae)),
        **_encoder(tensors)._asdict(),
    )
    if config.apply_b_dec_to_input:
        sae = sae.uncentred()
    return sae.with_rows_of_length_1() if config.rescale_acts_by_decoder_norm and architecture == "topk" else sae


def _rule(path: Path, config: _Config) -> tuple[str, int | None]:
    """The architecture, and k of topk. Raises UserError for what this program cannot compute."""
    architecture, k = config.architecture, config.k
    if (config.activation_fn_str or config.activation_fn) == "topk":  # as SAELens up to version 5 wrote it
        architecture = "topk"
        k = parse(path, {"k": config.activation_fn_kwargs.get("k", k)}, _K).k
    if architecture not in _KINDS:
        raise UserError(
            f"{path}: the architecture {architecture[:60]!r} cannot be imported; {listed(_KINDS, 'and')} can."
        )
    if config.normalize_activations not in ("none", None, False):
        raise UserError(
            f"{path}: normalize_activations is {config.normalize_activations!r}, which these files do not say how to "
            "undo; fold the normalisation into the weights with SAELens and save the SAE again."
        )
    if config.reshape_activations != "none" or config.finetuning_scaling_factor:
        raise UserError(f"{path}: SAEs of attention heads and of fine-tuned scaling factors cannot be imported.")
    if architecture != "topk":
        return architecture, None
    if k is None:
        raise UserError(f"{path} lacks k, the number of active features per token of a topk SAE.")
    if k > config.d_sae:
        raise UserError(f"{path}: k = {k} is more than the {config.d_sae} features there are.")
    return architecture, k


class _K(ForeignConfig):
    k: Annotated[int, Field(ge=1)]


def _encoder(tensors: dict[str, Tensor]) -> Encoder:
    if "r_mag" in tensors:
        return gated_encoder(tensors["W_enc"], tensors["r_mag"], tensors["b_mag"], tensors["b_gate"])
    b_enc = tensors["b_enc"]
    return Encoder(tensors["W_enc"], b_enc, tensors.get("threshold", torch.zeros_like(b_enc)))


def _trained_l0(folder: Path, d_sae: int) -> float | None:
    """L0 in training, from the features' frequencies beside the weights; None where they are absent or unreadable."""
    path = folder / SPARSITY
    if not path.is_file():
        return None
    frequency = read_safetensors(path).get("sparsity")
    if frequency is None or frequency.shape != (d_sae,):
        return None
    l0 = float((10.0 ** frequency.double()).sum())
    return l0 if 0 < l0 <= d_sae else None
