"""dictionary_learning (Marks, Karvonen, Mueller): a folder with `ae.pt`, a state_dict, and `config.json`.

    AutoEncoder, AutoEncoderNew              f = relu(pre)
    AutoEncoderTopK                          the k largest of relu(pre)
    BatchTopKSAE, MatryoshkaBatchTopKSAE     f = relu(pre) where it is above one threshold for all features
    JumpReluAutoEncoder                      f = relu(pre) where pre > threshold
    GatedAutoEncoder                         as in SAELens

All but AutoEncoderNew and JumpReluAutoEncoder subtract b_dec from x first. When the library loads an AutoEncoder,
it scales the decoder rows to length 1. So our relu is written as an AutoEncoderNew, for which f stays the same.
"""

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field, FiniteFloat
from torch import Tensor

from sae_pipeline.errors import UserError
from sae_pipeline.sae.autoencoder import SparseAutoencoder
from sae_pipeline.sae.formats.facts import Facts, facts
from sae_pipeline.sae.formats.files import ForeignConfig, Shape, parse, read_json, read_state_dict, taken
from sae_pipeline.sae.formats.plain import Encoder, PlainSae, Recorded, gated_encoder, plain
from sae_pipeline.schema.kinds import KINDS, listed

CONFIG, WEIGHTS = "config.json", "ae.pt"
EVALUATION = "eval_results.json"  # written beside the SAE by the library's evaluation; may be absent
VERSION = "0.1.0"  # the version of dictionary-learning that was checked to read and write these files
_KINDS = {  # class → our kind
    "AutoEncoder": "relu",
    "AutoEncoderNew": "relu",
    "AutoEncoderTopK": "topk",
    "BatchTopKSAE": "batchtopk",
    "MatryoshkaBatchTopKSAE": "matryoshka",
    "JumpReluAutoEncoder": "jumprelu",
    "GatedAutoEncoder": "gated",
}
_SUBTRACT_B_DEC = _KINDS.keys() - {"AutoEncoderNew", "JumpReluAutoEncoder"}
_TRAINERS = {  # class → the trainer that makes it
    "AutoEncoderNew": "StandardTrainer",
    "AutoEncoderTopK": "TopKTrainer",
    "BatchTopKSAE": "BatchTopKTrainer",
    "MatryoshkaBatchTopKSAE": "MatryoshkaBatchTopKTrainer",
    "JumpReluAutoEncoder": "JumpReluTrainer",
    "GatedAutoEncoder": "GatedSAETrainer",
}
Tensors = dict[str, Tensor]

# --- out -----------------------------------------------------------------------------------------------


def write(sae: SparseAutoencoder, recorded: Recorded) -> dict[str, bytes | dict[str, Any]]:
    """The files of one of our SAEs. The config is the last of them."""
    own, folded = sae.config, plain(sae)
    name = _class_of(folded)
    state = _LAID_OUT[name](folded.centred() if name in _SUBTRACT_B_DEC else folded)
    buffer = io.BytesIO()
    torch.save({key: (t.float() if t.is_floating_point() else t).contiguous() for key, t in state.items()}, buffer)
    settings = {
        "trainer": {
            "trainer_class": _TRAINERS[name],
            "dict_class": name,
            "activation_dim": folded.d_in,
            "dict_size": folded.d_sae,
            **({"k": int(state["k"])} if "k" in state else {}),
            "layer": own.hookpoint.layer - 1,  # the library counts layers from 0
            "submodule_name": own.hookpoint.module,
        },
        "finbert_sae": facts(sae, recorded),
    }
    return {WEIGHTS: buffer.getvalue(), CONFIG: settings}


def _class_of(sae: PlainSae) -> str:
    """The class that holds an SAE. A kind with a threshold per feature is a JumpReluAutoEncoder."""
    record = KINDS[sae.kind]
    if record.saelens_architecture != "jumprelu":
        return {"standard": "AutoEncoderNew", "topk": "AutoEncoderTopK"}[record.saelens_architecture]
    if sae.kind == "gated":
        return "GatedAutoEncoder"
    one_threshold = bool((sae.threshold == sae.threshold[0]).all()) and sae.k is not None
    if one_threshold and record.nested:
        return "MatryoshkaBatchTopKSAE"
    return "BatchTopKSAE" if one_threshold and record.fixes_k else "JumpReluAutoEncoder"


def _linear(sae: PlainSae) -> Tensors:
    return {"encoder.weight": sae.W_enc.T, "encoder.bias": sae.b_enc, "decoder.weight": sae.W_dec.T}


def _k_and_threshold(sae: PlainSae, threshold: Tensor | float) -> Tensors:
    return {"k": torch.tensor(sae.k, dtype=torch.int32), "threshold": torch.as_tensor(threshold)}


def _matrices(sae: PlainSae) -> Tensors:
    return {"W_enc": sae.W_enc, "b_enc": sae.b_enc, "W_dec": sae.W_dec, "b_dec": sae.b_dec}


def _group_sizes(sae: PlainSae) -> Tensor:
    return torch.tensor(sae.prefixes or (sae.d_sae,)).diff(prepend=torch.zeros(1, dtype=torch.int64))


def _gates(sae: PlainSae) -> Tensors:
    return {
        "decoder_bias": sae.b_dec,
        "encoder.weight": sae.W_enc.T,
        "r_mag": torch.zeros_like(sae.b_enc),
        "gate_bias": sae.b_enc - sae.threshold,
        "mag_bias": sae.b_enc,
        "decoder.weight": sae.W_dec.T,
    }


_LAID_OUT: Mapping[str, Callable[[PlainSae], Tensors]] = {
    "AutoEncoderNew": lambda sae: {**_linear(sae), "decoder.bias": sae.b_dec},
    "AutoEncoderTopK": lambda sae: {**_linear(sae), "b_dec": sae.b_dec, **_k_and_threshold(sae, -1.0)},
    "BatchTopKSAE": lambda sae: {**_linear(sae), "b_dec": sae.b_dec, **_k_and_threshold(sae, sae.threshold[0])},
    "MatryoshkaBatchTopKSAE": lambda sae: {
        **_matrices(sae),
        **_k_and_threshold(sae, sae.threshold[0]),
        "group_sizes": _group_sizes(sae),
    },
    "JumpReluAutoEncoder": lambda sae: {**_matrices(sae), "threshold": sae.threshold},
    "GatedAutoEncoder": _gates,
}

# --- in ------------------------------------------------------------------------------------------------


class _Trainer(ForeignConfig):
    """The fields of `trainer` in `config.json`."""

    dict_class: str
    activation_dim: Annotated[int, Field(ge=1)]
    dict_size: Annotated[int, Field(ge=1)]
    k: Annotated[int, Field(ge=1)] | None = None
    layer: int | None = None
    submodule_name: str | None = None
    target_l0: FiniteFloat | None = None


class _Config(ForeignConfig):
    trainer: _Trainer
    finbert_sae: Facts = Facts()


class _Evaluation(ForeignConfig):
    l0: FiniteFloat | None = None
    frac_variance_explained: FiniteFloat | None = None


def read(folder: Path) -> PlainSae:
    """Read an SAE that dictionary_learning saved. Raises UserError."""
    path = folder / CONFIG
    config = parse(path, read_json(path), _Config)
    trainer, name = config.trainer, config.trainer.dict_class
    if name not in _KINDS:
        raise UserError(f"{path}: the class {name[:60]!r} cannot be imported; {listed(_KINDS, 'and')} can.")
    config.finbert_sae.check_sizes(path, trainer.dict_size)
    path = folder / WEIGHTS
    tensors = read_state_dict(path)
    optional = ("k", "threshold") if name == "AutoEncoderTopK" else ()
    groups = tuple(tensors["group_sizes"].shape) if "group_sizes" in tensors else ()
    shapes = _shapes(name, trainer.activation_dim, trainer.dict_size, groups if len(groups) == 1 else (1,))
    tensors = taken(path, tensors, shapes, f"an SAE of class {name}", optional)
    k = _k(path, tensors, trainer)
    encoder, notes = _encoder(name, tensors)
    sae = PlainSae(
        kind=config.finbert_sae.kind_of(_KINDS[name]),
        **encoder._asdict(),
        W_dec=tensors["W_dec"] if "W_dec" in tensors else tensors["decoder.weight"].T,
        b_dec=next(tensors[key] for key in ("b_dec", "bias", "decoder.bias", "decoder_bias") if key in tensors),
        k=k or config.finbert_sae.k,
        prefixes=_prefixes(path, tensors, trainer.dict_size),
        architecture=name,
        recorded=_recorded(folder, config, k),
        notes=notes,
    )
    if name in _SUBTRACT_B_DEC:
        sae = sae.uncentred()
    return sae.with_rows_of_length_1() if name == "AutoEncoder" and _rescales(sae) else sae


def _shapes(name: str, d_in: int, d_sae: int, groups: Shape) -> dict[str, Shape]:
    """The tensors of a class."""
    linear: dict[str, Shape] = {"encoder.weight": (d_sae, d_in), "decoder.weight": (d_in, d_sae)}
    biased: dict[str, Shape] = {**linear, "encoder.bias": (d_sae,)}
    matrices: dict[str, Shape] = {"W_enc": (d_in, d_sae), "b_enc": (d_sae,), "W_dec": (d_sae, d_in), "b_dec": (d_in,)}
    limits: dict[str, Shape] = {"k": (), "threshold": ()}
    return {
        "AutoEncoder": {**biased, "bias": (d_in,)},
        "AutoEncoderNew": {**biased, "decoder.bias": (d_in,)},
        "AutoEncoderTopK": {**biased, "b_dec": (d_in,), **limits},
        "BatchTopKSAE": {**biased, "b_dec": (d_in,), **limits},
        "MatryoshkaBatchTopKSAE": {**matrices, **limits, "group_sizes": groups},
        "JumpReluAutoEncoder": {**matrices, "threshold": (d_sae,)},
        "GatedAutoEncoder": {
            **linear,
            "decoder_bias": (d_in,),
            **dict.fromkeys(("r_mag", "gate_bias", "mag_bias"), (d_sae,)),
        },
    }[name]


def _encoder(name: str, tensors: Tensors) -> tuple[Encoder, tuple[str, ...]]:
    """The encoder in plain formulas, and what the user should know about it."""
    W_enc = tensors["W_enc"] if "W_enc" in tensors else tensors["encoder.weight"].T
    if name == "GatedAutoEncoder":
        return gated_encoder(W_enc, tensors["r_mag"], tensors["mag_bias"], tensors["gate_bias"]), ()
    b_enc = tensors["b_enc"] if "b_enc" in tensors else tensors["encoder.bias"]
    threshold, notes = torch.zeros_like(b_enc), []
    if name != "AutoEncoderTopK" and "threshold" in tensors:
        threshold = tensors["threshold"].expand_as(b_enc).clone()
        if tensors["threshold"].dim() == 0 and tensors["threshold"] < 0:
            notes.append("Its threshold was never set in training, so every positive activation counts as active.")
    return Encoder(W_enc, b_enc, threshold), tuple(notes)


def _rescales(sae: PlainSae) -> bool:
    """Whether the library scales an AutoEncoder's decoder rows when it loads one, by its own tolerance."""
    norms = sae.W_dec.float().norm(dim=1)
    return not torch.allclose(norms, torch.ones_like(norms))


def _k(path: Path, tensors: Tensors, trainer: _Trainer) -> int | None:
    """The k of a class that has one. Raises UserError if config and weights disagree, or if the value cannot be a k."""
    if trainer.dict_class not in ("AutoEncoderTopK", "BatchTopKSAE", "MatryoshkaBatchTopKSAE"):
        return None
    stored = int(tensors["k"]) if "k" in tensors else trainer.k
    if stored is None:
        raise UserError(f"{path} and its config both lack k, the number of active features per token.")
    if trainer.k is not None and trainer.k != stored:
        raise UserError(f"{path} has k = {stored}, but its config has k = {trainer.k}; which one is right?")
    if not 1 <= stored <= trainer.dict_size:
        raise UserError(f"{path}: k = {stored} is not between 1 and the {trainer.dict_size} features there are.")
    return stored


def _prefixes(path: Path, tensors: Tensors, d_sae: int) -> tuple[int, ...]:
    """The sizes of the nested dictionaries of a Matryoshka SAE."""
    if "group_sizes" not in tensors:
        return ()
    sizes = tensors["group_sizes"]
    if not bool((sizes >= 1).all()) or float(sizes.sum()) != d_sae:
        raise UserError(f"{path}: group_sizes do not add up to the {d_sae} features there are.")
    return tuple(int(size) for size in sizes.cumsum(0))


def _recorded(folder: Path, config: _Config, k: int | None) -> Recorded:
    """What the config says, and what the library's evaluation measured."""
    trainer, measured = config.trainer, _Evaluation()
    if (folder / EVALUATION).is_file():
        measured = parse(folder / EVALUATION, read_json(folder / EVALUATION), _Evaluation)
    explained = measured.frac_variance_explained
    return config.finbert_sae.recorded(
        layer=None if trainer.layer is None else trainer.layer + 1,
        l0=next((v for v in (measured.l0, k, trainer.target_l0) if v is not None), None),
        fvu=None if explained is None else 1 - explained,
    )
