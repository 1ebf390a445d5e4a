"""Measures the search by meaning and the map on a run of 32,768 features.

`make bench-map`, or `QUICK=1 make bench-map` (the search alone). The last line is one JSON object. The search is asked
over the API in this process, each time for another phrase, with the reason for 50 results. The map is drawn by headless
Chromium, whose WebGL is software where there is no graphics card.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.runs.map_run import main as write_map_run
from sae_pipeline.machine.threads import wait_asleep
from viz_analysis.feature_probe_server import create_app

QUICK = os.environ.get("QUICK", "0") not in ("", "0")
ROOT = Path(__file__).resolve().parent.parent
RUNS = ROOT / "build" / "map-run"
VERBS = ("cuts", "raises", "denies", "plans", "delays", "wins", "loses", "reports")
THINGS = ("rating", "merger talk", "dividend", "guidance", "a lawsuit", "record profit", "jobs", "oil prices")


def search_figures() -> dict[str, float]:
    """Milliseconds of a search by meaning among features and headlines, and seconds until the first one."""
    wait_asleep()
    write_map_run(RUNS)
    client = create_app(RUNS).test_client()
    started = time.perf_counter()
    while (answer := client.get("/api/features?q=warm+up&by=meaning")).status_code == 503:
        pass  # each request waits a few seconds
    assert answer.status_code == 200, answer.text
    figures = {"first_search_s": round(time.perf_counter() - started, 1)}
    for name in ("features", "headlines"):
        times, cpu = [], []
        for verb in VERBS:
            for thing in THINGS:
                asked, worked = time.perf_counter(), time.process_time()
                page = client.get(f"/api/{name}", query_string={"q": f"{verb} {thing} {name}", "by": "meaning"})
                times.append(1000 * (time.perf_counter() - asked))
                cpu.append(1000 * (time.process_time() - worked))
                assert page.status_code == 200 and page.json["total"] == 100
        median, p95 = np.percentile(times, (50, 95))
        busy = float(np.median(cpu))
        figures |= {f"{name}_median_ms": round(float(median), 1), f"{name}_p95_ms": round(float(p95), 1)}
        figures[f"{name}_cpu_ms"] = round(busy, 1)  # which another program on the machine does not change
        print(f"by meaning among {name}: median {median:.1f} ms, p95 {p95:.1f} ms, {busy:.1f} ms of CPU", flush=True)
    figures["search_p95_ms"] = figures["features_p95_ms"]
    return figures


def map_figures() -> dict[str, Any]:
    """Frames per second while the map is dragged, by `sae-viewer/bench/map.bench.ts` on the built viewer."""
    write_map_run(RUNS)
    subprocess.run(
        ["npx", "playwright", "test", "-c", "bench/playwright.config.ts", "map.bench"],
        cwd=ROOT / "sae-viewer",
        env=os.environ | {"E2E_ANALYSIS_DIR": str(RUNS)},
        check=True,
        stdout=sys.stderr,
    )
    figures: dict[str, Any] = json.loads((ROOT / "build" / "bench-map.json").read_text(encoding="utf-8"))
    return figures


if __name__ == "__main__":
    found: dict[str, Any] = search_figures()
    if not QUICK:
        found |= map_figures()
    print(json.dumps(found))
