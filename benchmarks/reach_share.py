"""Sizes of shared runs, and how soon a cold browser shows them. A part of `benchmarks/reach.py`.

Three runs are shared: the small study of the tests as a page, 5,000 made-up headlines with 4,096 features as a page,
and 100,000 as a site. `QUICK=1` makes them a tenth as long.
"""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

from sae_pipeline.__main__ import main
from tests.support.run_factory import write_run

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "build" / "share"
TIMES = 0.1 if os.environ.get("QUICK") else 1


def share() -> dict[str, Any]:
    """MB, files, milliseconds and bytes of each shared run. Raises where one cannot be made or opened."""
    study = Path(os.environ.get("TEST_STUDY") or ROOT / "build" / "test-study")
    shutil.copytree(study / "analysis_data", FOLDER / "study" / "analysis_data", dirs_exist_ok=True)
    names = {"study.html": FOLDER / "study", "5k.html": _made_up("5k", 5_000), "100k": _made_up("100k", 100_000)}
    figures = {name: _exported(root, name) for name, root in names.items()}
    environment = os.environ | {"SHARED": str(FOLDER), "SHARED_NAMES": ",".join(names)}
    command = ["npx", "playwright", "test", "-c", "bench/share.config.ts"]
    done = subprocess.run(command, cwd=ROOT / "sae-viewer", env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]
    measured = json.loads((FOLDER / "share.json").read_bytes())
    return {name: found | measured[name] for name, found in figures.items()}


def _made_up(name: str, n_headlines: int) -> Path:
    """The root of a made-up run, which is kept for the next time."""
    root = FOLDER / f"{name}-{TIMES:g}"
    if not (root / "analysis_data").exists():
        shutil.rmtree(FOLDER / "partial", ignore_errors=True)
        write_run(FOLDER / "partial" / "analysis_data", int(n_headlines * TIMES), d_sae=4096, top=100)
        (FOLDER / "partial").rename(root)
    return root


def _exported(root: Path, name: str) -> dict[str, Any]:
    out, started = FOLDER / name, time.perf_counter()
    to = "html" if name.endswith(".html") else "site"
    assert main(["export", "--root", str(root), "--to", to, "--out", str(out)]) == 0
    files = [out] if out.is_file() else [path for path in out.rglob("*") if path.is_file()]
    sizes = [file.stat().st_size for file in files]
    return {
        "seconds_to_export": round(time.perf_counter() - started, 1),
        "mb": round(sum(sizes) / 1e6, 2),
        "files": len(sizes),
        "largest_file_mb": round(max(sizes) / 1e6, 2),
    }
