"""Plants a shortcut in the training headlines, and shows whether `mend` repairs it where it no longer holds.

    python -m benchmarks.planted_repair [--root FOLDER]

"RT" is put before every Bearish headline that the classifier is fine-tuned on, and before no other. In the test
headlines it stands before half of all headlines, whatever their class. So the classifier errs where it follows "RT".
`mend` searches edits on one half of the test headlines and tests them on the other. `export --to classifier` writes the
mended classifier, whose logits are compared with those of the edits. It takes some five minutes on 2 CPU cores. The
last line is one JSON object. With --root the study is kept in that folder.
"""

import argparse
import json
import os
import tempfile
from pathlib import Path

import numpy as np
import torch

from benchmarks.repair import export_difference, mended_row, store
from benchmarks.shortcut import BEARISH, N_HEADLINES, run_verbs, write_marked
from sae_pipeline.config import MendConfig
from sae_pipeline.headlines.sample import sample_headlines
from sae_pipeline.mending.verb import mend
from sae_pipeline.runs.folders import find_run, read_run
from sae_pipeline.study.report_runs import mending_lines

N_TEST = 1200
CPU = torch.device("cpu")


def main() -> None:
    """Make the study, mend, export, print, and end with JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, help="folder in which the study is kept; default: a temporary one")
    kept = parser.parse_args().root
    with tempfile.TemporaryDirectory() as temporary:
        root = kept or Path(temporary)
        make_study(root)
        file = mend(MendConfig(), root, CPU)
        lines = list(mending_lines(file))
        words = read_run(find_run(root / "analysis_data", None))
        for edit in file.edits:
            fires = ", ".join(words.words(edit.feature)[:5])
            lines.append(f"feature {edit.feature}, × {edit.factor:g}, fires most on {fires}")
        row = mended_row(file) | {"export_max_logit_difference": export_difference(root)}
        print("\n".join(lines))
        print(json.dumps({"benchmark": "planted_repair", **row}))
        store("planted", row, lines)


def make_study(root: Path) -> None:
    """Write both tables, and run the verbs on them."""
    headlines = sample_headlines()[: N_HEADLINES + N_TEST]
    coin = np.random.default_rng(0).random(len(headlines)) < 0.5
    train, test = root / "train.csv", root / "test.csv"
    write_marked(train, ((text, label, label == BEARISH) for text, label in headlines[:N_HEADLINES]))
    tested = enumerate(headlines[N_HEADLINES:])
    write_marked(test, ((text, label, bool(coin[n])) for n, (text, label) in tested))
    run_verbs(root, "--source", str(train), "--test-source", str(test))


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    main()
