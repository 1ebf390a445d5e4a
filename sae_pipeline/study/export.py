"""The verb export: an SAE or a run in a format that others read.

A format is a function that takes the config, the layer and the study's folder, writes, and returns what it wrote.
Packages above the library add theirs as entry points of the group `sae_pipeline.formats`.

`saelens` writes a folder with `cfg.json` and `sae_weights.safetensors`. SAELens (Bloom et al. 2024) has no mean and
scale of the activations, so they are folded into the weights:

    W_enc/scale,    b_enc − mean·W_enc/scale,    scale·W_dec,    mean + scale·b_dec

With these weights a feature's activation f is the same number, and x̂ is in the classifier's units. Decoder rows have
the length `scale` instead of 1. The kind relu becomes the architecture "standard", topk becomes "topk", and all other
kinds become "jumprelu".
"""

from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import cast

from safetensors.torch import save

from sae_pipeline.artefacts.writing import readable_os_errors, write_file, write_json
from sae_pipeline.config import ExportConfig
from sae_pipeline.errors import UserError
from sae_pipeline.sae.autoencoder import SparseAutoencoder
from sae_pipeline.sae.saelens import saelens
from sae_pipeline.study.layout import Layout

Writer = Callable[[ExportConfig, int, Path], Path]


def export(config: ExportConfig, layer: int, root: Path) -> Path:
    """Write an SAE of a layer, or a run, of the study in `root`. Returns the file or folder.

    Raises UserError when there is no such SAE or run, when it does not fit the format, or when the place cannot be
    written.
    """
    return _writer(config.to)(config, layer, root)


def _writer(name: str) -> Writer:
    if name in _WRITERS:
        return _WRITERS[name]
    found = next(iter(entry_points(group="sae_pipeline.formats", name=name)), None)
    if found is None:
        raise UserError(f"The format {name} is not installed here; install this package again (pip install -e .).")
    return cast(Writer, found.load())


def export_saelens(config: ExportConfig, layer: int, root: Path) -> Path:
    """Export the newest SAE of a size to SAELens. Returns the folder.

    Raises UserError when there is no such SAE, or when the path of the folder is a file.
    """
    layout = Layout(root)
    sae = SparseAutoencoder.load(layout.sae_alias(layer, config.sae_size))
    folder = Path(config.out) if config.out else layout.weights / "saelens" / f"layer_{layer}_{config.sae_size}"
    tensors, settings = saelens(sae)
    try:
        with readable_os_errors(folder, "--out"):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "cfg.json").unlink(missing_ok=True)  # an older SAE's settings must not stand beside new weights
    except (FileExistsError, NotADirectoryError) as error:
        raise UserError(f"{folder} is not a folder; choose another one with --out.") from error
    write_file(folder / "sae_weights.safetensors", save(tensors))
    write_json(folder / "cfg.json", settings)
    return folder


_WRITERS: dict[str, Writer] = {"saelens": export_saelens}
