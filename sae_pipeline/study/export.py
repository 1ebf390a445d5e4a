"""The export of an SAE in SAELens' format: a folder with `cfg.json` and `sae_weights.safetensors`.

SAELens (Bloom et al. 2024) has no mean and scale of the activations, so they are folded into the weights:

    W_enc/scale,    b_enc − mean·W_enc/scale,    scale·W_dec,    mean + scale·b_dec

With these weights a feature's activation f is the same number, and x̂ is in the classifier's units. Decoder rows have
the length `scale` instead of 1. The kind relu becomes the architecture "standard", topk becomes "topk", and all other
kinds become "jumprelu".
"""

from pathlib import Path

from safetensors.torch import save

from sae_pipeline.artefacts.writing import readable_os_errors, write_file, write_json
from sae_pipeline.config import ExportConfig
from sae_pipeline.errors import UserError
from sae_pipeline.sae.autoencoder import SparseAutoencoder
from sae_pipeline.sae.saelens import saelens
from sae_pipeline.study.layout import Layout


def export(config: ExportConfig, layer: int, root: Path) -> Path:
    """Export the newest SAE of a size. Returns the folder.

    Raises UserError when there is no such SAE, or when the path of the folder is a file.
    """
    layout = Layout(root)
    sae = SparseAutoencoder.load(layout.sae_alias(layer, config.sae_size))
    folder = Path(config.to) if config.to else layout.weights / "saelens" / f"layer_{layer}_{config.sae_size}"
    tensors, settings = saelens(sae)
    try:
        with readable_os_errors(folder, "--to"):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "cfg.json").unlink(missing_ok=True)  # an older SAE's settings must not stand beside new weights
    except (FileExistsError, NotADirectoryError) as error:
        raise UserError(f"{folder} is not a folder; choose another one with --to.") from error
    write_file(folder / "sae_weights.safetensors", save(tensors))
    write_json(folder / "cfg.json", settings)
    return folder
