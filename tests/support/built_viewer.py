"""A folder in the place of the built viewer, which the browser tests have."""

import shutil
from pathlib import Path

from viz_analysis.share.bench import RUNTIME

VIEWER = Path(__file__).parents[2] / "sae-viewer"


def write_viewer(folder: Path) -> None:
    """Write the page, its licences, empty scripts and styles, and an empty runtime of the bench."""
    page = (VIEWER / "index.html").read_text(encoding="utf-8")
    (folder / "index.html").write_text(page.replace("/src/main.tsx", "./assets/index.js"), encoding="utf-8")
    (folder / "licenses.md").write_text("SIL OPEN FONT LICENSE </script>", encoding="utf-8")
    runtime = (f"{RUNTIME}/ort.js", f"{RUNTIME}/ort.wasm")
    for name in ("assets/index.js", "one-page/viewer.js", "one-page/viewer.css", *runtime):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("/* </script> <!-- */" if name.endswith("viewer.js") else "", encoding="utf-8")
    for path in (VIEWER / "public").iterdir():
        shutil.copy(path, folder)
