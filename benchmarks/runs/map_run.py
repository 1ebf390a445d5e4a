"""`python -m benchmarks.runs.map_run FOLDER`: a made-up run of 32,768 features with examples and a map."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from sae_pipeline.runs.added_files import add_file, made_from
from sae_pipeline.runs.folders import Run, list_runs, read_run
from sae_pipeline.schema.map import MAP
from tests.support.run_factory import WORDS, write_run

N_HEADLINES, D_SAE, N_REGIONS = 2_000, 32_768, 40


def map_of(run: Run) -> dict[str, Any]:
    """A map on which the live features lie in round heaps."""
    chance = np.random.default_rng(0)
    live = np.flatnonzero(run.feature_stats.headline_counts)
    middles = chance.uniform(0.1, 0.9, (N_REGIONS, 2))
    region = chance.integers(0, N_REGIONS, len(live))
    places = (middles[region] + chance.normal(0, 0.03, (len(live), 2))).clip(0, 1).round(5)
    regions = [
        {"name": WORDS[n % len(WORDS)], "words": [], "n_features": int((region == n).sum()), "x": x, "y": y}
        for n, (x, y) in enumerate(middles.tolist())
    ]
    head = {**made_from(run), "d_sae": D_SAE, "method": "made up", "seed": 0, "named_by": "nothing"}
    places_of = {"features": live.tolist(), "x": places[:, 0].tolist(), "y": places[:, 1].tolist()}
    return {**head, **places_of, "region": region.tolist(), "regions": regions}


def main(folder: Path) -> Path:
    """Write the run into `folder` if it is not there yet; its folder."""
    if folder.is_dir() and (found := [entry.folder for entry in list_runs(folder) if entry.metadata]):
        return found[0]
    print(f"Writing a run of {D_SAE:,} features into {folder} (about a minute, once)...", flush=True)
    run = write_run(folder, N_HEADLINES, D_SAE, top=D_SAE)
    whole = read_run(run)
    add_file(whole, MAP, json.dumps(map_of(whole)).encode())
    return run


if __name__ == "__main__":
    main(Path(sys.argv[1]))
