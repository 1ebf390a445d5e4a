"""`export --to html`: a run and its viewer in one HTML page."""

import tempfile
import zlib
from pathlib import Path

import orjson

from sae_pipeline.artefacts.writing import make_folder, readable_os_errors, write_file
from sae_pipeline.config import ExportConfig
from sae_pipeline.errors import UserError
from viz_analysis.share.archive import ArchiveWriter
from viz_analysis.share.contents import Grain
from viz_analysis.share.page import whole_page
from viz_analysis.share.shared_run import SharedRun
from viz_analysis.web import viewer_files

MAX_HEADLINES = 10_000
MAX_BYTES = 25_000_000
_GRAIN = Grain(headlines=250, features=100, rows=500, whole=True)  # the whole page is in memory


def export_html(config: ExportConfig, layer: int, root: Path) -> Path:
    """Write a run as one page, which needs neither a server nor a network. Returns the page.

    Raises UserError for a run that is too large for a page, when there is no such run, and when the page cannot be
    written.
    """
    run = SharedRun(root, config.run)
    out = Path(config.out or f"{run.run_id}.html")
    if out.is_dir():
        raise UserError(f"{out} is a folder; name a file with --out, for example --out {out / run.run_id}.html.")
    if out.exists() and not out.is_file():
        raise UserError(f"{out} is no ordinary file, and would be replaced; name another with --out.")
    make_folder(out.parent, "--out")
    if run.n_headlines > MAX_HEADLINES:
        raise _too_large(run, f"{run.n_headlines:,} headlines are too many for one page")
    with tempfile.TemporaryDirectory() as folder, readable_os_errors(out.parent, "--out"):
        archive = ArchiveWriter(Path(folder))
        run.add_to(archive, _GRAIN)
        packs = [(Path(folder) / f"{n}.bin").read_bytes() for n in range(len(archive.manifest()["packs"]))]
        manifest = zlib.compress(orjson.dumps(archive.manifest()), 9)
        page = whole_page(viewer_files.VIEWER_DIR, run.title, manifest, packs).encode()
        if len(page) > MAX_BYTES:
            raise _too_large(run, f"the page would have {len(page) / 1e6:.0f} MB")
        write_file(out, page, "--out")
    return out


def _too_large(run: SharedRun, reason: str) -> UserError:
    return UserError(
        f"{run.run_id} does not fit one page ({reason}; a page has at most {MAX_BYTES / 1e6:.0f} MB and "
        f"{MAX_HEADLINES:,} headlines); write a folder for a static host with --to site."
    )
