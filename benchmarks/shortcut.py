"""Plants a shortcut in the built-in headlines, and shows that `contrast` finds it.

    python -m benchmarks.shortcut [--root FOLDER]

"RT" is put before every Bearish headline among the first 2,000, and before no other. A classifier is fine-tuned on
them, and a 4k SAE is trained on its layer 4. The table of `contrast` is printed, then the leading features of the row
"RT added or removed" with the changed predictions that each explains. The last line is one JSON object. It takes some
two minutes on 2 CPU cores. With --root the study is kept in that folder.
"""

import argparse
import csv
import json
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

import torch

from sae_pipeline.__main__ import main as verb
from sae_pipeline.config import ContrastConfig
from sae_pipeline.contrast.verb import contrast
from sae_pipeline.headlines.labels import FINANCIAL
from sae_pipeline.headlines.sample import sample_headlines
from sae_pipeline.schema.contrast import ContrastFile
from sae_pipeline.study import present

N_HEADLINES = 2000
BEARISH = FINANCIAL.index("Bearish")
CPU = torch.device("cpu")


def main() -> None:
    """Make the study, compare, print, and end with JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, help="folder in which the study is kept; default: a temporary one")
    kept = parser.parse_args().root
    with tempfile.TemporaryDirectory() as temporary:
        root = kept or Path(temporary)
        make_study(root)
        found = contrast(ContrastConfig(templates=False), root, CPU)
        show(found, root)


def make_study(root: Path) -> None:
    """Write the table with the shortcut, and run the verbs on it."""
    rows = ((text, label, label == BEARISH) for text, label in sample_headlines()[:N_HEADLINES])
    write_marked(root / "planted.csv", rows)
    run_verbs(root, "--source", str(root / "planted.csv"))


def write_marked(path: Path, rows: Iterable[tuple[str, int, bool]]) -> None:
    """A table of headlines and classes; where the third entry is true, "RT" stands before the text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["text", "label"])
        for text, label, has_mark in rows:
            table.writerow([f"RT {text}" if has_mark else text, FINANCIAL[label]])


def run_verbs(root: Path, *sources: str) -> None:
    """Make a study with a 4k SAE and a run from the tables that `sources`, flags of finetune, name."""
    for command in (
        ["finetune", "--preset", "demo", *sources],
        ["extract"],
        ["train", "--latent-dims", "4096"],
        ["analyze", "--sae-size", "4k"],
    ):
        if verb([*command, "--root", str(root)]) != 0:
            raise SystemExit(f"{command[0]} has failed.")


def show(found: ContrastFile, root: Path) -> None:
    """Print the kinds of change, and the features behind the shortcut."""
    for kind in found.kinds:
        share = kind.changed
        print(
            f"{kind.label:24} {kind.expectation:7} {kind.n_pairs:4} pairs   prediction changes {share.share:6.1%} "
            f"[{share.low:.1%}, {share.high:.1%}]"
        )
    retweet = next(kind for kind in found.kinds if kind.kind == "retweet")
    names = found.labels
    print("\nRT added or removed, prediction before → after:")
    for before, row in enumerate(retweet.transitions):
        print(f"{names[before]:>8} → " + ", ".join(f"{n} {names[after]}" for after, n in enumerate(row)))
    print("\nfeature  fires most on  explains")
    for feature in retweet.features[:5]:
        print(f"{feature.feature:7}  {feature.word:13}  {feature.n_explained} of {retweet.n_tested}")
    explained = {one.n_features: one.n_pairs for one in retweet.explained}
    print(", ".join(f"the leading {n} explain {pairs}" for n, pairs in explained.items()))
    test = present.load_classifier(root, CPU).record.test
    print(
        json.dumps(
            {
                "benchmark": "shortcut",
                "accuracy": test.accuracy if test else None,
                "changed": {kind.kind: kind.changed.share for kind in found.kinds},
                "explained": explained,
                "n_tested": retweet.n_tested,
            }
        )
    )


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    main()
