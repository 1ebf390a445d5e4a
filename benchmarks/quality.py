"""Measures the quality of our SAEs beside the best of other libraries.

    make bench-quality                       trains the rows that are missing, then prints the table
    QUICK=1 make bench-quality               prints what is stored
    python -m benchmarks.quality --root STUDY --peers-data      writes the tokens that benchmarks/peers/sweep.py needs
    python -m benchmarks.quality --root STUDY --judge-peers     reads the chosen rows of the peers on test

The last line is one JSON object. All rows are of one classifier: MiniLM fine-tuned on the real headlines beside the
checkout. SAEs read layer 4 at the words, in 3 passes.

- A row of ours is one ordinary training (`sae_pipeline train --kind … --k … --latent-dims … --seed …`), finished or
  not. It is stored in results/quality_ours.jsonl.
- A row of a peer is one command of benchmarks/peers/sweep.py. It is chosen on dev by FVU and read on test once. It is
  stored in results/quality_peers_test.jsonl.

`unchanged_all` is a figure of SAEs that were trained with [CLS] and [SEP].
"""

import argparse
import json
import os
import platform
from collections import defaultdict
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch

from benchmarks.peers.sweep import DATA, KINDS, RESULTS, Row, best, name, rows
from sae_pipeline import pipeline, quality
from sae_pipeline.activations.batches import chunks
from sae_pipeline.config import ExtractConfig, FinishConfig, TrainConfig, study_config
from sae_pipeline.evaluation.code_quality import code_quality
from sae_pipeline.evaluation.family import stability
from sae_pipeline.evaluation.held_out import HeldOut
from sae_pipeline.sae.autoencoder import SaeConfig, SparseAutoencoder, size_name
from sae_pipeline.schema import kinds
from sae_pipeline.study import making, present
from sae_pipeline.study.layout import read_sae_record

QUICK = os.environ.get("QUICK", "0") not in ("", "0")
HERE = Path(__file__).parent
OURS, PEERS = HERE / "results" / "quality_ours.jsonl", HERE / "results" / "quality_peers_test.jsonl"
REAL_DATA = HERE.parent.parent / "shared" / "data" / "twitter-financial-news-sentiment"
BEST, BEST_WIDE = "batchtopk", "matryoshka"  # at 4k; at 32k, where the tokens are too few for all features
LAYER, CPU = 4, torch.device("cpu")
_KEYS = ("kind", "d_sae", "k", "seed", "positions", "finished")


def wanted() -> Iterator[Row]:
    """The rows of ours that the table needs."""

    def row(
        kind: str, k: int, d_sae: int = 4096, seed: int = 0, positions: str = "words", finished: bool = False
    ) -> Row:
        return dict(zip(_KEYS, (kind, d_sae, k, seed, positions, finished), strict=True))

    for seed in (0, 1, 2):
        yield from (row(BEST, k, seed=seed) for k in (64, 32, 16, 128))
        yield from (row(kind, 64, 32768, seed) for kind in (BEST_WIDE, BEST))
    yield from (row(BEST_WIDE, 64, d_sae) for d_sae in (4096, 8192, 16384))
    yield from (row(BEST, 64, d_sae) for d_sae in (8192, 16384))
    yield from (row(BEST, k, positions="all") for k in (64, 32, 16, 128))
    yield row("topk", 64)
    yield from (row("relu", k) for k in (64, 32))
    for k, seed in ((60, 0), (60, 1), (60, 2), (16, 0)):  # what the end-to-end finish changes
        for positions, finished in product(("words", "all"), (False, True)):
            yield row(BEST, k, 4096, seed, positions, finished)


# --- our rows ------------------------------------------------------------------------------------------


def train_row(row: Row, root: Path) -> Row:
    """Train one row of ours, or find it in the store of the study; its figures on test."""
    fixed = kinds.KINDS[row["kind"]].fixes_k
    config = TrainConfig(
        latent_dims=(row["d_sae"],), kind=row["kind"], seed=row["seed"],
        **({"k": row["k"]} if fixed else {"target_l0": row["k"]}),
    )  # fmt: skip
    extraction = ExtractConfig(layer=LAYER, positions=row["positions"])
    folder = making.ensure_saes(extraction, [config], root, CPU)[0]
    if row["finished"]:
        folder = making.ensure_finished(FinishConfig(), folder, root, CPU)
    report = read_sae_record(folder).report
    spliced = {"words": report.spliced, "all": report.spliced_all}
    return {
        **row,
        "learning_rate": config.learning_rate,
        "batch": config.tokens_per_step,
        "epochs": config.num_epochs,
        "l0": report.held_out.l0,
        "fvu": report.held_out.fvu,
        "fvu_train": report.train.fvu,
        "dead": report.dead_share,
        **{f"unchanged_{kind}": s and s.unchanged for kind, s in spliced.items()},
        **{f"kl_{kind}": s and s.mean_kl for kind, s in spliced.items()},
        "n_headlines": report.spliced.n_headlines,
        "stability": stability_to_first(row, folder),
        "seconds": report.seconds,
        "sae_hash": folder.name,
        "classifier_hash": classifier_hash(root),
        "versions": {"torch": torch.__version__, "python": platform.python_version()},
    }


def stability_to_first(row: Row, folder: Path) -> float | None:
    """Mean cosine of live features and the nearest ones in the training with seed 0, both ways; None for seed 0."""
    wanted = {**{key: row[key] for key in _KEYS}, "seed": 0, "classifier_hash": classifier_hash(folder.parents[2])}
    same = [other for other in rows(OURS) if wanted.items() <= other.items()]
    first = next((other["sae_hash"] for other in same), None)
    if row["seed"] == 0 or first is None:
        return None
    saes = [SparseAutoencoder.load(path / "sae.pt", CPU) for path in (folder.parent / first, folder)]
    store = pipeline.extract(ExtractConfig(layer=LAYER), folder.parents[2], CPU)
    acts = torch.cat([part.float() for part in chunks(store)])
    return stability([0, row["seed"]], [s.W_dec for s in saes], [quality.live(s, acts) for s in saes]).mean_cosine


def study(root: Path) -> None:
    """Fine-tune the classifier on the real headlines if it is missing. This takes minutes."""
    if not (root / "finbert_sae" / "classifier.json").is_file():
        if not REAL_DATA.is_dir():
            raise SystemExit(f"The real headlines are not at {REAL_DATA}; set QUICK=1 to print what is stored.")
        source = {"source": str(REAL_DATA / "sent_train.csv"), "test_source": str(REAL_DATA / "sent_valid.csv")}
        pipeline.finetune(study_config("demo", headlines=source), root, CPU)


def classifier_hash(root: Path) -> str:
    """The hash of the study's classifier. Figures of different classifiers cannot be compared."""
    return str(json.loads((root / "finbert_sae" / "classifier.json").read_bytes())["classifier_hash"])


def check_classifier(root: Path, *stored: list[Row]) -> None:
    """Exit if stored rows are of another classifier than that of the study."""
    others = {row["classifier_hash"] for some in stored for row in some} - {classifier_hash(root)}
    if others:
        raise SystemExit(
            f"The stored rows are of classifier {', '.join(sorted(others))}, the study at {root} has "
            f"{classifier_hash(root)}. Name the right study with --root, or move {OURS.name}, {PEERS.name} and "
            f"{RESULTS.name} away to measure all rows again."
        )


# --- the peers' rows -----------------------------------------------------------------------------------


def write_peers_data(root: Path) -> None:
    """Write x_norm of train and dev in the form that the trainers of the peers take."""
    store = pipeline.extract(ExtractConfig(layer=LAYER), root, CPU)
    dev = present.same_headlines(root).dev
    read = HeldOut.read(present.load_classifier(root, CPU), "dev", dev.texts, dev.labels, LAYER)
    parts = {"train": torch.cat([part.float() for part in chunks(store)]), "dev": read.acts("words")}
    DATA.mkdir(parents=True, exist_ok=True)
    torch.save({name: (acts - store.mean) / store.scale for name, acts in parts.items()}, DATA / "x.pt")


def chosen(done: list[Row]) -> Iterator[Row]:
    """The row that is best on dev, for each library, size and k."""
    for d_sae, k in sorted({(row["d_sae"], row["k"]) for row in done}):
        found = (best(done, library=library, d_sae=d_sae, k=k) for library in KINDS)
        yield from (row for row in found if row)


def judge_peers(root: Path) -> None:
    """Read the chosen rows on test, from their saved weights, once each."""
    have = {name(row) for row in rows(PEERS)}
    left = [row for row in chosen(rows()) if name(row) not in have and (DATA / "peers" / f"{name(row)}.pt").is_file()]
    if not left:
        return
    check_classifier(root, rows(OURS), rows(PEERS))
    judge = present.held_out(root, LAYER, CPU)
    store = pipeline.extract(ExtractConfig(layer=LAYER), root, CPU)
    manifest = store.manifest
    for row in left:
        weights = torch.load(DATA / "peers" / f"{name(row)}.pt")
        config = SaeConfig(
            d_in=manifest.d_in, d_sae=row["d_sae"], kind="topk" if "k" in weights else "jumprelu",
            k=row["k"] if "k" in weights else None, recipe="default", l1_coefficient=0, sparsity_weight=0,
            positions="words", hookpoint=manifest.hookpoint, classifier_hash=judge.classifier_hash,
            data_hash=manifest.data_hash,
        )  # fmt: skip
        sae = SparseAutoencoder(config, store.mean, store.scale).requires_grad_(False)
        for part in ("W_enc", "b_enc", "W_dec", "b_dec"):
            getattr(sae, part).copy_(weights[part])
        sae.threshold.copy_(weights.get("threshold", torch.zeros(())).clamp_min(0).expand_as(sae.threshold))
        append(PEERS, {**row, **test_figures(sae, judge, store), "classifier_hash": judge.classifier_hash})


def test_figures(sae: SparseAutoencoder, judge: HeldOut, train: Any) -> Row:
    """Held-out L0 and FVU, dead features, unchanged predictions."""
    held = code_quality(sae, "test", judge.acts("words").split(4096), 1)
    dead = code_quality(sae, "train", chunks(train), train.n_tokens).silent_share
    kept = judge.splice_report(sae, "words")
    return {"l0": held.l0, "fvu": held.fvu, "dead": dead, "unchanged_words": kept.unchanged, "kl_words": kept.mean_kl}


def append(path: Path, row: Row) -> None:
    """Append one line."""
    with path.open("a") as file:
        file.write(json.dumps(row) + "\n")


def train_missing(root: Path) -> None:
    """Train the rows of ours that are not stored. Stored rows must be of the study's classifier."""
    have = [{key: row[key] for key in _KEYS} for row in rows(OURS)]
    left = [row for row in wanted() if row not in have]
    if left:
        study(root)
        check_classifier(root, rows(OURS), rows(PEERS))
    for row in left:
        print("training", row, flush=True)
        append(OURS, train_row(row, root))


# --- tables --------------------------------------------------------------------------------------------


def summary(ours: list[Row], peers: list[Row]) -> list[Row]:
    """Means over the seeds of our rows, beside the peer with the best FVU on test among the rows chosen on dev."""
    groups: dict[Any, list[Row]] = defaultdict(list)
    for row in ours:
        groups[row["kind"], row["d_sae"], row["k"], row["positions"], row["finished"]].append(row)
    table = []
    for (kind, d_sae, k, positions, finished), found in groups.items():
        rivals = [row for row in peers if (row["d_sae"], row["k"]) == (d_sae, k)]
        top = min(rivals, key=lambda row: float(row["fvu"]), default=None)
        table.append(
            {
                "kind": kind, "size": size_name(d_sae), "k": k, "positions": positions, "finished": finished,
                "seeds": len(found), **averages(found),
                "best_peer": f"{top['library']} {top['kind']}, {top['batch']} a step" if top else None,
                "l0_best_peer": top and top["l0"], "fvu_best_peer": top and top["fvu"],
                "unchanged_best_peer": max((row["unchanged_words"] for row in rivals), default=None),
                "kl_best_peer": min((row["kl_words"] for row in rivals), default=None),
            }
        )  # fmt: skip
    return sorted(table, key=lambda r: (r["positions"], r["finished"], r["kind"] != BEST, r["kind"], r["size"], r["k"]))


def averages(found: list[Row]) -> Row:
    """Means over seeds, and the standard deviation of FVU."""

    def average(key: str) -> float | None:
        values = [row[key] for row in found if row.get(key) is not None]
        return mean(values) if values else None

    keys = ("l0", "fvu", "dead", "unchanged_words", "unchanged_all", "kl_words", "kl_all", "stability", "seconds")
    spread = stdev(row["fvu"] for row in found) if len(found) > 1 else None
    return {key: average(key) for key in keys} | {"fvu_sd": spread}


def print_table(table: list[Row]) -> None:
    """Print the rows of `summary` as a table."""
    print("Held-out figures (test), MiniLM layer 4. words, all: predictions unchanged when spliced.")
    print("KL: of the spliced predictions, in 1/1000 nat. stable: mean cosine of live features and the nearest ones")
    print("in a training with another seed.")
    own = f"{'L0':>7}{'FVU':>8}{'dead':>7}{'words':>8}{'KL':>6}{'all':>8}{'stable':>8}"
    print(f"{'':34}{own}   best peer: {'L0':>6}{'FVU':>8}{'words':>8}{'KL':>6}")
    for r in table:
        label = (
            f"{r['kind']} {r['size']} k={r['k']} {r['positions']}{' finished' if r['finished'] else ''} ×{r['seeds']}"
        )
        own = f"{r['l0']:7.1f}{r['fvu']:8.4f}{r['dead']:7.1%}{r['unchanged_words']:8.2%}"
        own += f"{1000 * r['kl_words']:6.2f}" if r["kl_words"] is not None else f"{'-':>6}"
        everywhere = f"{r['unchanged_all']:8.2%}" if r["unchanged_all"] is not None else f"{'-':>8}"
        everywhere += f"{r['stability']:8.3f}" if r["stability"] is not None else f"{'-':>8}"
        peer = ""
        if r["best_peer"] and r["positions"] == "words":
            peer = f"{r['l0_best_peer']:6.1f}{r['fvu_best_peer']:8.4f}{r['unchanged_best_peer']:8.2%}"
            peer = f"              {peer}{1000 * r['kl_best_peer']:6.2f}  {r['best_peer']}"
        print(f"{label:34}{own}{everywhere}{peer}")


def main() -> None:
    """Train the missing rows, print the table, and end with JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=DATA / "study", help="the study on the real headlines")
    parser.add_argument("--peers-data", action="store_true", help="only write the tokens that the peers are trained on")
    parser.add_argument("--judge-peers", action="store_true", help="only read the chosen rows of the peers on test")
    args = parser.parse_args()
    if args.peers_data:
        study(args.root)
        write_peers_data(args.root)
        return
    if args.judge_peers:
        judge_peers(args.root)
    elif not QUICK:
        train_missing(args.root)
    judged = {name(row) for row in chosen(rows())}
    table = summary(rows(OURS), [row for row in rows(PEERS) if name(row) in judged])
    print_table(table)
    print(json.dumps({"quick": QUICK, "peers_swept": len(rows(RESULTS)), "results": table}))


if __name__ == "__main__":
    main()
