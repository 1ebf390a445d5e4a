"""sparsify (EleutherAI): a folder with `cfg.json` and `sae.safetensors`.

    f = the k largest of relu((x − b_dec) · encoder.weightᵀ + encoder.bias)
    x̂ = f · W_dec + b_dec

The format holds SAEs of the kind topk only.
"""

from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field
from safetensors.torch import save

from sae_pipeline.errors import UserError
from sae_pipeline.sae.autoencoder import SparseAutoencoder
from sae_pipeline.sae.formats.facts import Facts, facts, residual_layer
from sae_pipeline.sae.formats.files import ForeignConfig, parse, read_json, read_safetensors, taken
from sae_pipeline.sae.formats.plain import PlainSae, Recorded, plain
from sae_pipeline.schema.kinds import KINDS

CONFIG, WEIGHTS = "cfg.json", "sae.safetensors"
VERSION = "1.3.3"  # the version of eai-sparsify that was checked to read and write these files


def write(sae: SparseAutoencoder, recorded: Recorded) -> dict[str, bytes | dict[str, Any]]:
    """The files of one of our SAEs, the config last. Raises UserError for every kind but topk."""
    if not KINDS[sae.config.kind].k_per_token:
        raise UserError(
            f"sparsify's format holds topk SAEs only, and this one is of kind {sae.config.kind}; "
            "use --to saelens or --to dictionary-learning."
        )
    folded = plain(sae).centred()
    tensors = {
        "encoder.weight": folded.W_enc.T,
        "encoder.bias": folded.b_enc,
        "W_dec": folded.W_dec,
        "b_dec": folded.b_dec,
    }
    settings = {
        "activation": "topk",
        "expansion_factor": max(1, folded.d_sae // folded.d_in),
        "normalize_decoder": False,  # in further training; the rows have the length `scale`
        "num_latents": folded.d_sae,
        "k": folded.k,
        "multi_topk": False,
        "skip_connection": False,
        "transcode": False,
        "d_in": folded.d_in,
        "finbert_sae": facts(sae, recorded),
    }
    return {WEIGHTS: save({name: t.float().contiguous() for name, t in tensors.items()}), CONFIG: settings}


class _Config(ForeignConfig):
    """The fields of `cfg.json`."""

    activation: str = "topk"
    d_in: Annotated[int, Field(ge=1)]
    num_latents: Annotated[int, Field(ge=0)] = 0
    expansion_factor: Annotated[int, Field(ge=1)] = 32
    k: Annotated[int, Field(ge=1)] = 32
    skip_connection: bool = False
    transcode: bool = False
    signed: bool = False
    finbert_sae: Facts = Facts()


def read(folder: Path) -> PlainSae:
    """Read an SAE that sparsify saved. Its folder is often named after its hookpoint. Raises UserError."""
    path = folder / CONFIG
    config = parse(path, read_json(path), _Config)
    if config.activation != "topk" or config.signed:
        named = "signed activations" if config.signed else f"the activation {config.activation[:60]!r}"
        raise UserError(f"{path}: {named} cannot be imported; topk can.")
    if config.skip_connection or config.transcode:
        raise UserError(f"{path} is of a transcoder, which predicts other activations than it reads; SAEs can be read.")
    d_in, d_sae = config.d_in, config.num_latents or config.d_in * config.expansion_factor
    if config.k > d_sae:
        raise UserError(f"{path}: k = {config.k} is more than the {d_sae} features there are.")
    config.finbert_sae.check_sizes(path, d_sae)
    path = folder / WEIGHTS
    shapes = {"encoder.weight": (d_sae, d_in), "encoder.bias": (d_sae,), "W_dec": (d_sae, d_in), "b_dec": (d_in,)}
    tensors = taken(path, read_safetensors(path), shapes, "an SAE of sparsify")
    return PlainSae(
        kind=config.finbert_sae.kind_of("topk"),
        W_enc=tensors["encoder.weight"].T,
        b_enc=tensors["encoder.bias"],
        threshold=torch.zeros_like(tensors["encoder.bias"]),
        W_dec=tensors["W_dec"],
        b_dec=tensors["b_dec"],
        k=config.k,
        architecture="SparseCoder",
        recorded=config.finbert_sae.recorded(layer=residual_layer(folder.resolve().name), l0=config.k),
    ).uncentred()
