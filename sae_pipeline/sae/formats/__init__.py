"""Writing SAEs as files of other libraries, and reading such files: one module per format, with `write` and `read`."""

from pathlib import Path
from types import ModuleType
from typing import Any

from sae_pipeline.errors import UserError
from sae_pipeline.sae.autoencoder import SparseAutoencoder
from sae_pipeline.sae.formats import dictionary_learning, saelens, sparsify
from sae_pipeline.sae.formats.plain import PlainSae, Recorded
from sae_pipeline.schema.kinds import listed

FORMATS: dict[str, ModuleType] = {
    "saelens": saelens,
    "dictionary-learning": dictionary_learning,
    "sparsify": sparsify,
}


def foreign_files(sae: SparseAutoencoder, name: str, recorded: Recorded) -> dict[str, bytes | dict[str, Any]]:
    """Make the files of one of our SAEs in a format: name → content. An object is to be written as JSON.

    The config is the last file. `recorded` gives L0 and FVU. Raises UserError when the format cannot hold the SAE.
    """
    files: dict[str, bytes | dict[str, Any]] = FORMATS[name].write(sae, recorded)
    return files


def read_foreign(place: Path, name: str | None = None) -> tuple[str, Path, PlainSae]:
    """Read an SAE that another library wrote. Returns the format, the folder and the SAE.

    `place` is the folder or a file in it. Without `name`, the format is recognised by the files. Raises UserError.
    """
    folder = place if place.is_dir() else place.parent
    if not place.exists():
        raise UserError(f"There is no {place}; name the folder of an SAE, or its file of weights.")
    present = [known for known, module in FORMATS.items() if (folder / module.WEIGHTS).is_file()]
    if place.is_file():
        named = [known for known in present if place.name == FORMATS[known].WEIGHTS]
        present = named or present
    if name is None and len(present) == 1:
        name = present[0]
    if name is None and present:
        raise UserError(f"{folder} holds SAEs of the formats {listed(present, 'and')}; choose one with --from.")
    if name is None:
        expected = listed((f"{module.WEIGHTS} ({known})" for known, module in FORMATS.items()), "or")
        raise UserError(f"{folder} holds no SAE of a known format, which would have {expected}.")
    for file in (FORMATS[name].WEIGHTS, FORMATS[name].CONFIG):
        if not (folder / file).is_file():
            raise UserError(f"{folder} has no {file}, which an SAE of the format {name} has.")
    sae: PlainSae = FORMATS[name].read(folder)
    return name, folder.resolve(), sae
