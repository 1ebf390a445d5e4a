"""The verb export: an SAE or a run in a format that others read.

A format is a function that takes the config, the layer and the study's folder, writes, and returns what it wrote.
Packages above the library add theirs as entry points of the group `sae_pipeline.formats`.
"""

from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import cast

from sae_pipeline.artefacts.checksums import file_hash
from sae_pipeline.artefacts.writing import readable_os_errors, write_file, write_json
from sae_pipeline.config import ExportConfig
from sae_pipeline.errors import DamageError, UserError
from sae_pipeline.sae.autoencoder import SparseAutoencoder
from sae_pipeline.sae.formats import FORMATS, foreign_files
from sae_pipeline.sae.formats.plain import Recorded
from sae_pipeline.study.layout import Layout, check_sae_record

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


def export_sae(config: ExportConfig, layer: int, root: Path) -> Path:
    """Export the newest SAE of a size to another library; see sae/formats/. Returns the folder.

    Raises UserError when there is no such SAE, when the format cannot hold it, or when the folder's path is a file.
    """
    layout = Layout(root)
    path = layout.sae_alias(layer, config.sae_size)
    sae = SparseAutoencoder.load(path)
    folder = Path(config.out) if config.out else layout.weights / config.to / f"layer_{layer}_{config.sae_size}"
    files = foreign_files(sae, config.to, _measured(layout, path))
    prepared_folder(folder, list(files)[-1])
    for name, content in files.items():
        if isinstance(content, bytes):
            write_file(folder / name, content)
        else:
            write_json(folder / name, content)
    return folder


def prepared_folder(folder: Path, last: str) -> None:
    """Make a folder for an export whose file `last` is written last; an older one goes before others are replaced.

    Raises UserError when the path is a file, or cannot be written.
    """
    try:
        with readable_os_errors(folder, "--out"):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / last).unlink(missing_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise UserError(f"{folder} is not a folder; choose another one with --out.") from error


def _measured(layout: Layout, path: Path) -> Recorded:
    """L0 and FVU on held-out headlines of the SAE at `path`, where the study has its record."""
    try:
        report = check_sae_record(layout.store / file_hash(path)).report.held_out
    except DamageError:
        return Recorded()
    return Recorded(l0=report.l0, fvu=report.fvu)


_WRITERS: dict[str, Writer] = dict.fromkeys(FORMATS, export_sae)
