"""Measures how the size of an SAE and its passes over the data matter when there are few headlines.

    python -m benchmarks.small_data --root STUDY        trains the rows that are missing, then prints the table
    QUICK=1 python -m benchmarks.small_data             prints what is stored

The last line is one JSON object. STUDY is the study that `make bench-quality` makes in build/quality/study. A row
describes two trainings that differ by their seed, on headlines that are drawn at random from train. They are evaluated
on dev, or on the 1,000 headlines of train that are drawn last. FVU and L0 are means of the two. `stable` is the share
of live features that have a partner with a cosine of at least 0.7 in the other training. `unchanged` is the share of
dev predictions that stay the same when the reconstruction of the first SAE is spliced in. SAEs of positions `mean` read
one vector per headline, the mean over its words. A star marks the recommended size.
"""

import argparse
import json
import os
from collections.abc import Iterator
from functools import cached_property
from itertools import permutations
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from sae_pipeline.activations.batches import HeldTokens
from sae_pipeline.config import ExtractConfig, TrainConfig
from sae_pipeline.evaluation.code_quality import code_quality
from sae_pipeline.evaluation.family import MATCH, nearest_rows
from sae_pipeline.evaluation.held_out import HeldOut
from sae_pipeline.evaluation.rivals import live_features
from sae_pipeline.sae.recommended import recommended_size
from sae_pipeline.sae.training import Job, TrainedSae, train_saes
from sae_pipeline.schema.common import PositionKind
from sae_pipeline.study import present
from sae_pipeline.study.making import ensure_activations, sae_config

QUICK = os.environ.get("QUICK", "0") not in ("", "0")
RESULTS = Path(__file__).parent / "results" / "minilm" / "small_data.jsonl"
CPU = torch.device("cpu")
SEEDS = (0, 1)
UNDRAWN = 1000  # headlines of train that judge where dev does not
_KEYS = ("kind", "positions", "headlines", "d_sae", "k", "passes", "judged")
Row = dict[str, Any]


def wanted() -> Iterator[Row]:
    """The rows of the table."""
    rows = [
        *(
            ("batchtopk", "words", 500, d_sae, k, passes, "dev")
            for d_sae, k in ((256, 16), (1024, 32), (4096, 32))
            for passes in (3, 10, 30)
        ),
        *(("topk", "words", 2000, d_sae, 32, 10, "dev") for d_sae in (256, 1024, 2048, 4096)),
        ("topk", "words", 8470, 1024, 32, 3, "dev"),
        *(("topk", "mean", 7470, d_sae, 16, 20, "undrawn") for d_sae in (256, 1024)),
    ]
    for row in rows:
        yield dict(zip(_KEYS, row, strict=True))


class Study:
    """A study whose training headlines can be drawn from."""

    def __init__(self, root: Path, layer: int) -> None:
        self.root, self.layer = root, layer
        self.store = ensure_activations(ExtractConfig(layer=layer), root, CPU)
        shards = [load_file(self.store.folder / name) for name in self.store.manifest.files]
        self.acts = torch.cat([shard["acts"] for shard in shards])
        self.headline = torch.cat([shard["headlines"] for shard in shards]).long()

    @cached_property
    def dev(self) -> HeldOut:
        """Dev, read once."""
        dev = present.same_headlines(self.root).dev
        classifier = present.load_classifier(self.root, CPU)
        return HeldOut.read(classifier, "dev", dev.texts, dev.labels, self.layer)

    @cached_property
    def order(self) -> Tensor:
        """The training headlines in the order in which they are drawn."""
        return torch.randperm(self.store.manifest.n_headlines, generator=torch.Generator().manual_seed(0))

    def vectors(self, headlines: Tensor, positions: PositionKind) -> Tensor:
        """The activations [n, d_in] of some training headlines."""
        if positions == "words":
            return self.acts[torch.isin(self.headline, headlines)]
        n = len(self.order)
        sums = torch.zeros(n, self.acts.shape[1]).index_add_(0, self.headline, self.acts.float())
        return (sums / torch.bincount(self.headline, minlength=n)[:, None].clamp_min(1))[headlines]

    def measured(self, row: Row) -> Row:
        """Train a row's two SAEs, and evaluate them."""
        positions, on_dev = row["positions"], row["judged"] == "dev"
        acts = self.vectors(self.order[: row["headlines"]], positions)
        held = self.dev.acts(positions) if on_dev else self.vectors(self.order[-UNDRAWN:], positions)
        trained = self._trained(acts, row)
        saes = [result.sae for result in trained]
        live = [live_features(sae, acts.float()) for sae in saes]
        rows = [sae.W_dec[alive] for sae, alive in zip(saes, live, strict=True)]
        cosines = torch.cat([nearest_rows(a, b)[1] for a, b in permutations(rows, 2)])
        spliced = self.dev.splice_report(saes[0], "words") if on_dev and positions == "words" else None
        quality = [code_quality(sae, "headlines", held.split(4096), len(held)) for sae in saes]
        train = [code_quality(sae, "train", acts.split(4096), len(acts)) for sae in saes]
        return {
            **row,
            "n_vectors": len(acts),
            "fvu_train": mean(one.fvu for one in train),
            "fvu": mean(one.fvu for one in quality),
            "l0": mean(one.l0 for one in quality),
            "dead": 1 - float(torch.stack(live).float().mean()),
            "stable": float((cosines >= MATCH).float().mean()),
            "unchanged": spliced and spliced.unchanged,
            "kl": spliced and spliced.mean_kl,
            "seconds": mean(result.seconds for result in trained),
        }

    def _trained(self, acts: Tensor, row: Row) -> list[TrainedSae]:
        centre = acts.float().mean(0)
        scale = (acts.float() - centre).square().mean().sqrt()
        configs = [
            TrainConfig(kind=row["kind"], latent_dims=(row["d_sae"],), k=row["k"], num_epochs=row["passes"], seed=seed)
            for seed in SEEDS
        ]
        manifest = self.store.manifest.model_copy(update={"positions": row["positions"]})
        jobs = [Job(str(c.seed), sae_config(manifest, c, row["d_sae"]), c) for c in configs]
        return train_saes(HeldTokens(acts), centre, scale, jobs, CPU)


def stored() -> list[Row]:
    """The rows that were measured."""
    return [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.is_file() else []


def print_table(rows: list[Row]) -> None:
    """Print the rows; a star marks the recommended size."""
    print(f"{'':16}{'headlines':>10}{'vectors':>9}{'d_sae':>7} {'k':>4}{'passes':>7}{'FVU train':>11}{'held out':>9}"
          f"{'L0':>6}{'dead':>7}{'stable':>8}{'unchanged':>11}{'KL':>7}  judged on")  # fmt: skip
    for row in sorted(rows, key=lambda r: [r[key] for key in _KEYS]):
        star = "*" if recommended_size(row["n_vectors"]) == row["d_sae"] else " "
        spliced = f"{row['unchanged']:11.2%}{1000 * row['kl']:7.2f}" if row["unchanged"] else f"{'-':>11}{'-':>7}"
        print(f"{row['kind']:10}{row['positions']:6}{row['headlines']:10,}{row['n_vectors']:9,}{row['d_sae']:7}{star}"
              f"{row['k']:4}{row['passes']:7}{row['fvu_train']:11.4f}{row['fvu']:9.4f}{row['l0']:6.1f}{row['dead']:7.1%}"
              f"{row['stable']:8.1%}{spliced}  {row['judged']}")  # fmt: skip


def main() -> None:
    """Measure the missing rows, print the table, and end with JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, help="the study on the real headlines")
    parser.add_argument("--layer", type=int, default=4)
    args = parser.parse_args()
    have = [{key: row[key] for key in _KEYS} for row in stored()]
    left = [row for row in wanted() if row not in have]
    if left and not QUICK:
        study = Study(args.root, args.layer)
        for row in left:
            print("training", row, flush=True)
            with RESULTS.open("a") as file:
                file.write(json.dumps(study.measured(row)) + "\n")
    print_table(stored())
    print(json.dumps({"rows": stored()}))


if __name__ == "__main__":
    main()
