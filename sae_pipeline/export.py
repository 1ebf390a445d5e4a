"""An SAE in SAELens' format, which other tools read: a folder of `cfg.json` and `sae_weights.safetensors`.

SAELens (Bloom et al. 2024) has no mean and scale of the activations, so they are folded in:

    W_enc/scale,    b_enc − mean·W_enc/scale,    scale·W_dec,    mean + scale·b_dec

With these weights a feature's activation f is the same number, and x̂ is in the classifier's units; decoder rows have
length `scale` instead of 1. relu becomes its architecture "standard", topk "topk", all other kinds "jumprelu".
"""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from .artefacts import readable_os_errors, write_file, write_json
from .config import ExportConfig
from .errors import UserError
from .layout import Layout
from .sae import SparseAutoencoder

_FORMAT = "6.54.12"  # the SAELens that these files were read with


def export(config: ExportConfig, layer: int, root: Path) -> Path:
    """Write the newest SAE of a size; returns the folder.

    Raises UserError when there is no such SAE or when the folder is none.
    """
    layout = Layout(root)
    sae = SparseAutoencoder.load(layout.sae_alias(layer, config.sae_size))
    folder = Path(config.to) if config.to else layout.weights / "saelens" / f"layer_{layer}_{config.sae_size}"
    tensors, settings = saelens(sae)
    try:
        with readable_os_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "cfg.json").unlink(missing_ok=True)  # an older SAE's would fit the new weights by its look
    except (FileExistsError, NotADirectoryError) as error:
        raise UserError(f"{folder} is not a folder; choose another one with --to.") from error
    write_file(folder / "sae_weights.safetensors", save(tensors))
    write_json(folder / "cfg.json", settings)
    return folder


def saelens(sae: SparseAutoencoder) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Weights (fp32, W_enc [d_in, d_sae], W_dec [d_sae, d_in]) and the config that SAELens reads them with."""
    own = sae.config
    mean, scale, W_enc, b_enc = (t.detach().double() for t in (sae.mean, sae.scale, sae.W_enc, sae.b_enc))
    folded = {
        "W_enc": W_enc / scale,
        "b_enc": b_enc - mean / scale @ W_enc,
        "W_dec": sae.W_dec.detach() * scale,
        "b_dec": mean + scale * sae.b_dec.detach(),
    }
    architecture = {"relu": "standard", "topk": "topk"}.get(own.kind, "jumprelu")
    if architecture == "jumprelu":
        folded["threshold"] = sae.threshold
    tensors = {name: t.to("cpu", torch.float32).contiguous() for name, t in folded.items()}
    settings = {
        "architecture": architecture,
        "d_in": own.d_in,
        "d_sae": own.d_sae,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": False,
        "normalize_activations": "none",
        **({"k": own.k, "rescale_acts_by_decoder_norm": False} if architecture == "topk" else {}),
        "metadata": {
            "sae_lens_version": _FORMAT,
            "hook_name": own.hookpoint.module,
            "hook_layer": own.hookpoint.layer,
            "kind": own.kind,
            "positions": own.positions,
            "classifier_hash": own.classifier_hash,
            "data_hash": own.data_hash,
        },
    }
    return tensors, settings
