"""`export --to site`: a run and its viewer as a folder of files for any static host."""

import shutil
from hashlib import sha256
from pathlib import Path

import orjson

from sae_pipeline.artefacts.writing import new_folder
from sae_pipeline.config import ExportConfig
from sae_pipeline.errors import UserError
from viz_analysis.share.archive import ArchiveWriter
from viz_analysis.share.bench import RUNTIME, check_bench, write_bench
from viz_analysis.share.contents import Grain
from viz_analysis.share.page import ONE_PAGE, site_page, viewer_file
from viz_analysis.share.shared_run import SharedRun
from viz_analysis.web import viewer_files

_GRAIN = Grain(headlines=8, features=4, rows=16, whole=False)  # a block is fetched for what a view shows
_MANIFEST = Path("data", "manifest.json")
_PAGE, _README_NAME = "index.html", "README.md"
_README = """---
title: {title}
emoji: 📈
colorFrom: gray
colorTo: blue
sdk: static
app_file: index.html
pinned: false
---

# {title}

The viewer of the FinBERT SAE Explorer with one run: {n_headlines:,} headlines and {d_sae:,} features.

`index.html` and the files beside it need a static host, for example `python -m http.server` in this folder. They ask no
other server. The front matter above makes this folder a static Space.
"""


def export_site(config: ExportConfig, layer: int, root: Path) -> Path:
    """Write a run as a folder for a static host, in place of an older site there. Returns the folder.

    Raises UserError when there is no such run, and when the folder holds something else or cannot be written.
    """
    run = SharedRun(root, config.run)
    out = Path(config.out or f"{run.run_id}-site")
    _check_place(out)
    if config.bench:
        check_bench(viewer_files.VIEWER_DIR)
    with new_folder(out, "--out") as partial:
        _write(partial, run, root if config.bench else None)
    return out


def _check_place(out: Path) -> None:
    if not out.exists():
        return
    if not out.is_dir():
        raise UserError(f"{out} is a file; choose another folder with --out.")
    if any(out.iterdir()) and not (out / _MANIFEST).is_file():
        raise UserError(f"{out} holds other files; choose a new or an empty folder with --out.")
    if added := {entry.name for entry in out.iterdir()} - _names():  # a .git folder, for example
        raise UserError(
            f"{out} holds {min(added)}, which would be lost with the older site; choose a new or an empty folder with "
            "--out, and copy its files."
        )


def _names() -> set[str]:
    """The names of the files and folders at the top of a site."""
    return {_MANIFEST.parts[0], _PAGE, _README_NAME, *(entry.name for entry in viewer_files.VIEWER_DIR.iterdir())}


def _write(folder: Path, run: SharedRun, study: Path | None) -> None:
    """Write a site; with its bench if the folder of its study is given."""
    viewer = viewer_files.VIEWER_DIR
    viewer_file(viewer, _PAGE)
    shutil.copytree(viewer, folder, ignore=shutil.ignore_patterns(ONE_PAGE, _PAGE, RUNTIME))
    data = folder / _MANIFEST.parent
    archive = ArchiveWriter(data / "packs")
    run.add_to(archive, _GRAIN, has_model=study is not None)
    manifest = archive.manifest()
    named = sha256(b"".join(sha256(pack.read_bytes()).digest() for pack in sorted((data / "packs").iterdir())))
    manifest["folder"] = named.hexdigest()[:12]  # so that no cache mixes the packs of two exports
    (data / "packs").rename(data / manifest["folder"])
    (folder / _MANIFEST).write_bytes(orjson.dumps(manifest))
    model = None
    if study is not None:
        model = data / f"{run.metadata.classifier_hash}-{run.metadata.sae_hash}"  # so that no cache mixes two models
        model.mkdir()
        write_bench(model, study, run.metadata, viewer)
    place = None if model is None else model.relative_to(folder).as_posix()
    page = site_page(viewer, run.title, _MANIFEST.as_posix(), place)
    (folder / _PAGE).write_text(page, encoding="utf-8")
    readme = _README.format(title=run.title, n_headlines=run.n_headlines, d_sae=run.d_sae)
    (folder / _README_NAME).write_text(readme, encoding="utf-8")
