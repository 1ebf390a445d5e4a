"""Measures what few headlines allow: SAEs of many sizes beside the recommended one, on held-out headlines.

    python -m benchmarks.small_data --root STUDY        trains the rows that are missing, then prints the table
    QUICK=1 python -m benchmarks.small_data             prints what is stored

The last line is one JSON object. STUDY is one of `make bench-quality`, on the real headlines, with activations of its
layer. A row is a pair of TopK trainings that differ by their seed, on headlines drawn from train at random. FVU is of
dev and of test, `stable` is the share of live features with a partner at cosine 0.7 in the other training, and
`unchanged` the share of dev predictions that stay when the reconstruction is spliced in. Rows of positions `mean`
read one vector per headline, the mean of its words.
"""

import argparse
import json
import os
from collections.abc import Iterator
from functools import cached_property
from itertools import permutations
from pathlib import Path
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
_KEYS = ("positions", "headlines", "d_sae", "k", "passes")
Row = dict[str, Any]


def wanted() -> Iterator[Row]:
    """The rows of the table, those of most use first."""
    rows = [
        *(("words", 500, d_sae, k, 30) for d_sae, k in ((1024, 32), (256, 32), (4096, 32))),
        *(("words", 2000, d_sae, k, 10) for d_sae, k in ((1024, 32), (4096, 32), (256, 32), (2048, 32))),
        *(("words", 8470, d_sae, 32, 3) for d_sae in (1024, 4096)),
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
    def judges(self) -> dict[str, HeldOut]:
        """Dev and test, read once."""
        classifier, headlines = present.load_classifier(self.root, CPU), present.same_headlines(self.root)
        splits = {"dev": headlines.dev, "test": headlines.test}
        return {name: HeldOut.read(classifier, name, s.texts, s.labels, self.layer) for name, s in splits.items()}

    def drawn(self, n_headlines: int, positions: PositionKind) -> Tensor:
        """Activations [n, d_in] of headlines drawn at random, the same for the same number."""
        n = self.store.manifest.n_headlines
        order = torch.randperm(n, generator=torch.Generator().manual_seed(0))[:n_headlines]
        if positions == "words":
            return self.acts[torch.isin(self.headline, order)] if n_headlines < n else self.acts
        sums = torch.zeros(n, self.acts.shape[1]).index_add_(0, self.headline, self.acts.float())
        return (sums / torch.bincount(self.headline, minlength=n)[:, None].clamp_min(1))[order]

    def measured(self, row: Row) -> Row:
        """Train a row's pair of SAEs, and judge it."""
        acts = self.drawn(row["headlines"], row["positions"])
        trained = self._trained(acts, row)
        saes = [result.sae for result in trained]
        live = [live_features(sae, acts.float()) for sae in saes]
        rows = [sae.W_dec[alive] for sae, alive in zip(saes, live, strict=True)]
        cosines = torch.cat([nearest_rows(a, b)[1] for a, b in permutations(rows, 2)])
        held = {name: judge.acts(row["positions"]) for name, judge in self.judges.items()}
        fvu = {
            name: sum(code_quality(sae, name, part.split(4096), len(part)).fvu for sae in saes) / len(saes)
            for name, part in {"train": acts, **held}.items()
        }
        of_words = row["positions"] == "words"
        spliced = self.judges["dev"].splice_report(saes[0], "words") if of_words else None
        return {
            **row,
            "n_vectors": len(acts),
            **{f"fvu_{name}": value for name, value in fvu.items()},
            "dead": 1 - float(torch.stack(live).float().mean()),
            "stable": float((cosines >= MATCH).float().mean()),
            "unchanged_dev": spliced and spliced.unchanged,
            "kl_dev": spliced and spliced.mean_kl,
            "seconds": sum(result.seconds for result in trained) / len(trained),
        }

    def _trained(self, acts: Tensor, row: Row) -> list[TrainedSae]:
        mean = acts.float().mean(0)
        scale = (acts.float() - mean).square().mean().sqrt()
        configs = [
            TrainConfig(kind="topk", latent_dims=(row["d_sae"],), k=row["k"], num_epochs=row["passes"], seed=seed)
            for seed in SEEDS
        ]
        manifest = self.store.manifest.model_copy(update={"positions": row["positions"]})
        jobs = [Job(str(c.seed), sae_config(manifest, c, row["d_sae"]), c) for c in configs]
        return train_saes(HeldTokens(acts), mean, scale, jobs, CPU)


def stored() -> list[Row]:
    """The rows that were measured."""
    return [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.is_file() else []


def print_table(rows: list[Row]) -> None:
    """Print the rows; a star marks the recommended size."""
    print(f"{'':7}{'headlines':>10}{'vectors':>9}{'d_sae':>7} {'k':>4}{'passes':>7}   FVU train    dev   test"
          f"{'dead':>7}{'stable':>8}{'unchanged':>11}{'KL':>7}")  # fmt: skip
    for row in sorted(rows, key=lambda r: [r[key] for key in _KEYS]):
        star = "*" if row["n_vectors"] >= 2304 and recommended_size(row["n_vectors"]) == row["d_sae"] else " "
        test = f"{row['fvu_test']:7.4f}" if row.get("fvu_test") else f"{'-':>7}"
        spliced = f"{row['unchanged_dev']:11.2%}{1000 * row['kl_dev']:7.2f}" if row.get("unchanged_dev") else ""
        print(f"{row['positions']:7}{row['headlines']:10,}{row['n_vectors']:9,}{row['d_sae']:7}{star}{row['k']:4}"
              f"{row['passes']:7}   {row['fvu_train']:9.4f}{row['fvu_dev']:7.4f}{test}{row['dead']:7.1%}"
              f"{row['stable']:8.1%}{spliced}")  # fmt: skip


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
