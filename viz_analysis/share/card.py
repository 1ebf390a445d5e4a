"""`export --to card`: what can be claimed of a feature, as one HTML page or as LaTeX."""

from pathlib import Path

from sae_pipeline.artefacts.writing import make_folder, readable_os_errors, write_file
from sae_pipeline.config import ExportConfig
from sae_pipeline.errors import UserError
from sae_pipeline.runs.folders import find_run
from sae_pipeline.runs.run_files import read_metadata
from viz_analysis.feature_probe_server import create_app


def export_card(config: ExportConfig, layer: int, root: Path) -> Path:
    """Write the card of a feature, as the server answers it. Returns the file; its name ends in .html or .tex.

    Raises UserError where no feature is named, when there is no such run or feature, and when the file cannot be
    written.
    """
    if config.feature is None:
        raise UserError("A card is about one feature; name it with --feature, for example --feature 254.")
    run = find_run(root / "analysis_data", config.run)
    out = Path(config.out or f"{read_metadata(run).run_id}-feature-{config.feature}.html")
    if out.suffix not in (".html", ".tex"):
        raise UserError(f"{out} is neither HTML nor LaTeX; name a file that ends in .html or .tex with --out.")
    answer = create_app(run.parent, run.name).test_client().get(f"/api/feature_card?id={config.feature}").get_json()
    if "error" in answer:
        raise UserError(answer["error"]["message"])
    make_folder(out.parent, "--out")
    with readable_os_errors(out.parent, "--out"):
        write_file(out, answer["html" if out.suffix == ".html" else "latex"].encode(), "--out")
    return out
