"""Small SAEs in the files of other libraries, written by hand from the formats' own formulas. Tests only.

Each writer takes a folder and returns what the library computes: a function from x [n, D_IN] to f and x̂, in float64.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

D_IN, D_SAE, K = 12, 40, 5
Formula = Callable[[Tensor], tuple[Tensor, Tensor]]


def _drawn(seed: int, **shapes: tuple[int, ...]) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator) * 0.4 for name, shape in shapes.items()}


def _largest(f: Tensor, k: int) -> Tensor:
    top = f.topk(k)
    return torch.zeros_like(f).scatter(1, top.indices, top.values)


def saelens(
    folder: Path, architecture: str = "standard", dtype: torch.dtype = torch.float32, **settings: Any
) -> Formula:
    """An SAE as SAELens 6 saves it for inference."""
    folder.mkdir(parents=True, exist_ok=True)
    shapes: dict[str, tuple[int, ...]] = {"W_enc": (D_IN, D_SAE), "W_dec": (D_SAE, D_IN), "b_dec": (D_IN,)}
    biases = {"jumprelu": ("b_enc", "threshold"), "gated": ("b_gate", "b_mag", "r_mag")}
    shapes |= dict.fromkeys(biases.get(architecture, ("b_enc",)), (D_SAE,))
    weights = {name: t.to(dtype) for name, t in _drawn(1, **shapes).items()}
    config: dict[str, Any] = {
        "architecture": architecture,
        "d_in": D_IN,
        "d_sae": D_SAE,
        "dtype": str(dtype).removeprefix("torch."),
        "device": "cpu",
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": {"sae_lens_version": "6.54.12", "hook_name": None},
        **({"k": K, "rescale_acts_by_decoder_norm": True} if architecture == "topk" else {}),
    } | settings
    save_file(weights, folder / "sae_weights.safetensors")
    (folder / "cfg.json").write_text(json.dumps(config))
    w = {name: t.double() for name, t in weights.items()}

    def compute(x: Tensor) -> tuple[Tensor, Tensor]:
        x = x.double() - w["b_dec"] * bool(config["apply_b_dec_to_input"])
        if architecture == "gated":
            gate = (x @ w["W_enc"] + w["b_gate"]) > 0
            f = torch.relu(x @ (w["W_enc"] * w["r_mag"].exp()) + w["b_mag"]) * gate
        else:
            pre = x @ w["W_enc"] + w["b_enc"]
            f = torch.relu(pre) * (pre > w.get("threshold", torch.tensor(-torch.inf)))
        norms = torch.ones(D_SAE, dtype=torch.float64)
        if config.get("rescale_acts_by_decoder_norm"):
            norms = w["W_dec"].norm(dim=1)
        if architecture == "topk":
            f = _largest(f * norms, K)
        return f, (f / norms) @ w["W_dec"] + w["b_dec"]

    return compute


def sparsify(folder: Path, **settings: Any) -> Formula:
    """An SAE as sparsify saves it."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = _drawn(
        2, **{"encoder.weight": (D_SAE, D_IN), "encoder.bias": (D_SAE,), "W_dec": (D_SAE, D_IN), "b_dec": (D_IN,)}
    )
    config = {
        "activation": "topk",
        "expansion_factor": 32,
        "normalize_decoder": True,
        "num_latents": D_SAE,
        "k": K,
        "multi_topk": False,
        "skip_connection": False,
        "transcode": False,
        "d_in": D_IN,
    } | settings
    save_file(weights, folder / "sae.safetensors")
    (folder / "cfg.json").write_text(json.dumps(config))
    w = {name: t.double() for name, t in weights.items()}

    def compute(x: Tensor) -> tuple[Tensor, Tensor]:
        f = _largest(torch.relu((x.double() - w["b_dec"]) @ w["encoder.weight"].T + w["encoder.bias"]), K)
        return f, f @ w["W_dec"] + w["b_dec"]

    return compute


_LINEAR = {"encoder.weight": (D_SAE, D_IN), "encoder.bias": (D_SAE,), "decoder.weight": (D_IN, D_SAE)}
_MATRICES = {"W_enc": (D_IN, D_SAE), "b_enc": (D_SAE,), "W_dec": (D_SAE, D_IN), "b_dec": (D_IN,)}
_GATES = dict.fromkeys(("r_mag", "gate_bias", "mag_bias"), (D_SAE,))
CLASSES: dict[str, dict[str, tuple[int, ...]]] = {
    "AutoEncoder": {**_LINEAR, "bias": (D_IN,)},
    "AutoEncoderNew": {**_LINEAR, "decoder.bias": (D_IN,)},
    "AutoEncoderTopK": {**_LINEAR, "b_dec": (D_IN,)},
    "BatchTopKSAE": {**_LINEAR, "b_dec": (D_IN,)},
    "MatryoshkaBatchTopKSAE": _MATRICES,
    "JumpReluAutoEncoder": {**_MATRICES, "threshold": (D_SAE,)},
    "GatedAutoEncoder": {
        "encoder.weight": (D_SAE, D_IN),
        "decoder.weight": (D_IN, D_SAE),
        "decoder_bias": (D_IN,),
        **_GATES,
    },
}


def dictionary_learning(folder: Path, name: str = "BatchTopKSAE", threshold: float = 0.7, **settings: Any) -> Formula:
    """An SAE as dictionary_learning saves it."""
    folder.mkdir(parents=True, exist_ok=True)
    weights: dict[str, Tensor] = _drawn(3, **CLASSES[name])
    keeps_k = name in ("AutoEncoderTopK", "BatchTopKSAE", "MatryoshkaBatchTopKSAE")
    if keeps_k:
        weights |= {"k": torch.tensor(K, dtype=torch.int), "threshold": torch.tensor(threshold)}
    if name == "MatryoshkaBatchTopKSAE":
        weights["group_sizes"] = torch.tensor([10, 10, 20])
    trainer = {"dict_class": name, "activation_dim": D_IN, "dict_size": D_SAE, "layer": None, "submodule_name": None}
    trainer |= {"k": K} if keeps_k else {}
    torch.save(weights, folder / "ae.pt")
    (folder / "config.json").write_text(json.dumps({"trainer": trainer | settings, "buffer": {"ctx_len": 128}}))
    w = {key: t.double() for key, t in weights.items()}
    W_enc = w["W_enc"] if "W_enc" in w else w["encoder.weight"].T
    W_dec = w["W_dec"] if "W_dec" in w else w["decoder.weight"].T
    bias = next(w[key] for key in ("b_dec", "bias", "decoder.bias", "decoder_bias") if key in w)

    def compute(x: Tensor) -> tuple[Tensor, Tensor]:
        x = x.double() - bias * (name not in ("AutoEncoderNew", "JumpReluAutoEncoder"))
        if name == "GatedAutoEncoder":
            gate = (x @ W_enc + w["gate_bias"]) > 0
            f = torch.relu(w["r_mag"].exp() * (x @ W_enc) + w["mag_bias"]) * gate
        else:
            pre = x @ W_enc + (w["b_enc"] if "b_enc" in w else w["encoder.bias"])
            f = torch.relu(pre)
            if name == "AutoEncoderTopK":
                f = _largest(f, K)
            elif "threshold" in w:
                f = f * (f > w["threshold"])
        norms = W_dec.norm(dim=1) if name == "AutoEncoder" else torch.ones(D_SAE)  # its loader scales the rows
        return f * norms, f @ W_dec + bias

    return compute
