"""`python -m benchmarks.runs.viewer_run FOLDER`: a made-up run of 100,000 headlines for the viewer's benchmark."""

import sys
from pathlib import Path

from sae_pipeline.runs.folders import list_runs
from tests.support.run_factory import write_run

N_HEADLINES, D_SAE = 100_000, 8192


def main(folder: Path) -> None:
    """Write the run into `folder` if it is not there yet."""
    if folder.is_dir() and any(entry.metadata for entry in list_runs(folder)):
        print(f"{folder} exists already.")
        return
    print(f"Writing {N_HEADLINES:,} headlines into {folder} (about two minutes, once)...", flush=True)
    write_run(folder, n_headlines=N_HEADLINES, d_sae=D_SAE, top=200)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
