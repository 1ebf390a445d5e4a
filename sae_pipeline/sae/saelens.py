"""The weights and the config of an SAE in SAELens' format. Mean and scale are folded in, so that f is unchanged."""

from typing import Any

import torch
from torch import Tensor

from sae_pipeline.sae.autoencoder import SparseAutoencoder
from sae_pipeline.schema.kinds import KINDS

_FORMAT = "6.54.12"  # the version of SAELens that was checked to read these files


def saelens(sae: SparseAutoencoder) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The weights (fp32, W_enc [d_in, d_sae], W_dec [d_sae, d_in]) and the config with which SAELens reads them.

    The kinds that SAELens has no architecture for become its "jumprelu"; see schema/kinds.py.
    """
    own = sae.config
    mean, scale, W_enc, b_enc = (t.detach().double() for t in (sae.mean, sae.scale, sae.W_enc, sae.b_enc))
    folded = {
        "W_enc": W_enc / scale,
        "b_enc": b_enc - mean / scale @ W_enc,
        "W_dec": sae.W_dec.detach() * scale,
        "b_dec": mean + scale * sae.b_dec.detach(),
    }
    architecture = KINDS[own.kind].saelens_architecture
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
