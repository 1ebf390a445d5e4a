"""Measures the quality of our SAEs, compared with the best ones of other libraries (the peers).

    make bench-quality                       trains the rows that are missing, then prints the table
    make bench-quality MODEL=base            the same for a model of FinBERT's size; `make base-model` comes first
    QUICK=1 make bench-quality               prints what is stored
    python -m benchmarks.quality --model base --peers-data      writes the tokens that benchmarks/peers/sweep.py needs
    python -m benchmarks.quality --model base --judge-peers     reads the chosen rows of the peers on test

The last line is one JSON object. All rows are of one classifier (benchmarks/models.py), fine-tuned on the real
headlines beside the checkout. SAEs read the words at one layer, in 3 passes.

- A row of ours is one ordinary training (`sae_pipeline train --kind … --k … --latent-dims … --seed …`), finished or
  not. It is stored in results/MODEL/ours.jsonl.
- A row of a peer is one training by benchmarks/peers/sweep.py. The row with the best FVU on dev is chosen and read on
  test once. It is stored in results/MODEL/peers_test.jsonl.

`unchanged_all` is a figure of SAEs that were trained with [CLS] and [SEP].
"""

import argparse
import json
import os
import platform
from collections import defaultdict
from collections.abc import Iterator
from itertools import groupby, product
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from scipy import stats

from benchmarks.models import MODELS, StudiedModel, ensure_study
from benchmarks.peers.sweep import KINDS, Row, best, name, rows
from sae_pipeline import pipeline
from sae_pipeline.activations.batches import chunks
from sae_pipeline.config import ExtractConfig, FinishConfig, TrainConfig
from sae_pipeline.evaluation.code_quality import code_quality
from sae_pipeline.evaluation.family import stability
from sae_pipeline.evaluation.held_out import HeldOut
from sae_pipeline.evaluation.rivals import live_features
from sae_pipeline.sae.autoencoder import SaeConfig, SparseAutoencoder, size_name
from sae_pipeline.sae.training import REVISION
from sae_pipeline.schema import kinds
from sae_pipeline.study import making, present
from sae_pipeline.study.layout import read_sae_record

QUICK = os.environ.get("QUICK", "0") not in ("", "0")
BEST, BEST_WIDE = "batchtopk", "matryoshka"  # at 4k; at 32k, where the tokens are too few for all features
SIZES, SEEDS = (4096, 8192, 16384, 32768), (0, 1, 2)
PASSES = 3  # over the activations, ours and the peers'
CPU = torch.device("cpu")
_KEYS = ("kind", "d_sae", "k", "seed", "positions", "finished")
_TOGETHER = 8  # SAEs trained in one reading of the activations


def row_of(
    kind: str, k: int, d_sae: int = 4096, seed: int = 0, positions: str = "words", finished: bool = False
) -> Row:
    """The settings of a row of ours."""
    return dict(zip(_KEYS, (kind, d_sae, k, seed, positions, finished), strict=True))


def wanted(model: StudiedModel) -> Iterator[Row]:
    """The rows of ours that the table of a model needs."""
    return wanted_of_minilm() if model.name == "minilm" else wanted_of_base()


def wanted_of_minilm() -> Iterator[Row]:
    """The best kinds over k and seeds, other positions, and the end-to-end finish."""
    for seed in SEEDS:
        yield from (row_of(BEST, k, seed=seed) for k in (64, 32, 16, 128))
        yield from (row_of(kind, 64, 32768, seed) for kind in (BEST_WIDE, BEST))
    yield from (row_of(BEST_WIDE, 64, d_sae) for d_sae in (4096, 8192, 16384))
    yield from (row_of(BEST, 64, d_sae) for d_sae in (8192, 16384))
    yield from (row_of(BEST, k, positions="all") for k in (64, 32, 16, 128))
    yield row_of("topk", 64)
    yield from (row_of("relu", k) for k in (64, 32))
    for k, seed in ((60, 0), (60, 1), (60, 2), (16, 0)):  # what the end-to-end finish changes
        for positions, finished in product(("words", "all"), (False, True)):
            yield row_of(BEST, k, 4096, seed, positions, finished)


def wanted_of_base() -> Iterator[Row]:
    """The best kind over k and seeds, the other kinds, the best kinds at each size, and what the finish changes."""
    yield from (row_of(BEST, k, seed=seed) for k in (64, 60, 32, 16, 128) for seed in SEEDS)
    yield from (row_of(kind, 64) for kind in kinds.KINDS if kind != BEST)
    yield from (row_of(kind, 64, d_sae) for d_sae in SIZES[1:] for kind in (BEST, BEST_WIDE))
    yield from (row_of(BEST, 60, seed=seed, finished=True) for seed in SEEDS)


# --- our rows ------------------------------------------------------------------------------------------


def train_rows(model: StudiedModel, some: list[Row]) -> Iterator[Row]:
    """Train rows of ours that have the same positions, or find them in the store of the study; figures on test."""
    configs = [config_of(row) for row in some]
    extraction = ExtractConfig(layer=model.layer, positions=some[0]["positions"])
    folders = making.ensure_saes(extraction, configs, model.root, CPU)
    for row, config, folder in zip(some, configs, folders, strict=True):
        if row["finished"]:
            folder = making.ensure_finished(FinishConfig(), folder, model.root, CPU)
        report = read_sae_record(folder).report
        spliced = {"words": report.spliced, "all": report.spliced_all}
        yield {
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
            "accuracy": report.spliced.accuracy_clean,
            "spliced_accuracy_drop": report.spliced.accuracy_clean - report.spliced.accuracy_spliced,
            "accuracy_change_interval": report.spliced.accuracy_change_interval,
            "mcnemar_p": report.spliced.mcnemar_p,
            "unchanged_interval": report.spliced.unchanged_interval,
            "n_headlines": report.spliced.n_headlines,
            "stability": stability_to_first(model, row, folder),
            "seconds": report.seconds,
            "sae_hash": folder.name,
            "revision": REVISION,
            "classifier_hash": model.classifier_hash(),
            "versions": {"torch": torch.__version__, "python": platform.python_version()},
        }


def config_of(row: Row) -> TrainConfig:
    """The training of a row."""
    fixed = kinds.KINDS[row["kind"]].fixes_k
    sparsity = {"k": row["k"]} if fixed else {"target_l0": row["k"]}
    return TrainConfig(latent_dims=(row["d_sae"],), kind=row["kind"], seed=row["seed"], num_epochs=PASSES, **sparsity)


def stability_to_first(model: StudiedModel, row: Row, folder: Path) -> float | None:
    """Mean cosine of live features and the nearest ones in the training with seed 0, both ways; None for seed 0."""
    wanted = {**{key: row[key] for key in _KEYS}, "seed": 0, "classifier_hash": model.classifier_hash()}
    same = [other for other in newest(model) if wanted.items() <= other.items()]
    first = next((other["sae_hash"] for other in same), None)
    if row["seed"] == 0 or first is None:
        return None
    saes = [SparseAutoencoder.load(path / "sae.pt", CPU) for path in (folder.parent / first, folder)]
    store = pipeline.extract(ExtractConfig(layer=model.layer), model.root, CPU)
    acts = torch.cat([part.float() for part in chunks(store)])
    return stability([0, row["seed"]], [s.W_dec for s in saes], [live_features(s, acts) for s in saes]).mean_cosine


def newest(model: StudiedModel) -> list[Row]:
    """The stored rows of ours; of those with the same settings, the one that was trained last."""
    return list({tuple(row[key] for key in _KEYS): row for row in rows(model.results("ours"))}.values())


def check_classifier(model: StudiedModel) -> None:
    """Exit if stored rows are of another classifier than that of the study."""
    stored = [*rows(model.results("ours")), *rows(model.results("peers_test"))]
    others = {row["classifier_hash"] for row in stored} - {model.classifier_hash()}
    if others:
        raise SystemExit(
            f"The stored rows are of classifier {', '.join(sorted(others))}, the study at {model.root} has "
            f"{model.classifier_hash()}. Move the files in {model.results('ours').parent} away to measure all again."
        )


def _together(row: Row) -> tuple[Any, ...]:
    """What rows have in common that are trained in one reading of the activations."""
    return row["positions"], row["finished"], row["d_sae"], config_of(row).tokens_per_step


def train_missing(model: StudiedModel) -> None:
    """Train the rows of ours that are not stored, or were trained by an older program.

    Stored rows must be of the study's classifier.
    """
    ours = model.results("ours")
    have = [{key: row[key] for key in _KEYS} for row in newest(model) if row.get("revision") == REVISION]
    left = [row for row in wanted(model) if row not in have]
    if left:
        ensure_study(model)
        check_classifier(model)
    for _, alike in groupby(left, key=_together):
        group = list(alike)
        for some in (group[i : i + _TOGETHER] for i in range(0, len(group), _TOGETHER)):
            print("training", *some, sep="\n", flush=True)
            for row in train_rows(model, some):
                append(ours, row)


# --- the peers' rows -----------------------------------------------------------------------------------


def write_peers_data(model: StudiedModel) -> None:
    """Write x_norm of train and dev in the form that the trainers of the peers take."""
    store = pipeline.extract(ExtractConfig(layer=model.layer), model.root, CPU)
    dev = present.same_headlines(model.root).dev
    read = HeldOut.read(present.load_classifier(model.root, CPU), "dev", dev.texts, dev.labels, model.layer)
    parts = {"train": torch.cat([part.float() for part in chunks(store)]), "dev": read.acts("words")}
    torch.save({name: (acts - store.mean) / store.scale for name, acts in parts.items()}, model.folder / "x.pt")


def chosen(model: StudiedModel) -> Iterator[Row]:
    """The row that is best on dev, for each library, size and k."""
    done = rows(model.results("peers"))
    for d_sae, k in sorted({(row["d_sae"], row["k"]) for row in done}):
        found = (best(done, library=library, d_sae=d_sae, k=k) for library in KINDS)
        yield from (row for row in found if row)


def judge_peers(model: StudiedModel) -> None:
    """Evaluate the chosen rows on test, from their saved weights, once each."""
    peers, folder = model.results("peers_test"), model.folder / "peers"
    have = {name(row) for row in rows(peers)}
    left = [row for row in chosen(model) if name(row) not in have and (folder / f"{name(row)}.pt").is_file()]
    if not left:
        return
    check_classifier(model)
    judge = present.held_out(model.root, model.layer, CPU)
    store = pipeline.extract(ExtractConfig(layer=model.layer), model.root, CPU)
    manifest = store.manifest
    for row in left:
        weights = torch.load(folder / f"{name(row)}.pt")
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
        append(peers, {**row, **test_figures(sae, judge, store), "classifier_hash": judge.classifier_hash})


def test_figures(sae: SparseAutoencoder, judge: HeldOut, train: Any) -> Row:
    """Held-out L0 and FVU, dead features, unchanged predictions."""
    held = code_quality(sae, "test", judge.acts("words").split(4096), 1)
    dead = code_quality(sae, "train", chunks(train), train.n_tokens).silent_share
    kept = judge.splice_report(sae, "words")
    drop = {"spliced_accuracy_drop": kept.accuracy_clean - kept.accuracy_spliced, "mcnemar_p": kept.mcnemar_p}
    shares = {"unchanged_words": kept.unchanged, "kl_words": kept.mean_kl}
    return {"l0": held.l0, "fvu": held.fvu, "dead": dead, **shares, **drop}


def append(path: Path, row: Row) -> None:
    """Append one line."""
    path.parent.mkdir(exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(row) + "\n")


# --- tables --------------------------------------------------------------------------------------------


def summary(model: StudiedModel) -> list[Row]:
    """Means over the seeds of our rows, beside the peer with the best FVU on test among the rows chosen on dev."""
    judged = {name(row) for row in chosen(model)}
    peers = [row for row in rows(model.results("peers_test")) if name(row) in judged]
    groups: dict[Any, list[Row]] = defaultdict(list)
    for row in newest(model):
        groups[row["kind"], row["d_sae"], row["k"], row["positions"], row["finished"]].append(row)
    table = []
    for (kind, d_sae, k, positions, finished), found in groups.items():
        rivals = [row for row in peers if (row["d_sae"], row["k"]) == (d_sae, k)]
        top = min(rivals, key=lambda row: float(row["fvu"]), default=None)
        table.append(
            {
                "model": model.name, "d_in": 768 if model.name == "base" else 384, "layer": model.layer,
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
    """Means over the seeds; for FVU also half the width of Student's 95 % interval, and for p the smallest."""

    def average(key: str) -> float | None:
        values = [row[key] for row in found if row.get(key) is not None]
        return mean(values) if values else None

    keys = ("l0", "fvu", "fvu_train", "dead", "unchanged_words", "unchanged_all", "kl_words", "kl_all", "accuracy")
    more = ("spliced_accuracy_drop", "stability", "seconds")
    n = len(found)
    spread = stdev(row["fvu"] for row in found) * stats.t.ppf(0.975, n - 1) / n**0.5 if n > 1 else None
    p = min((row["mcnemar_p"] for row in found if "mcnemar_p" in row), default=None)
    return {key: average(key) for key in (*keys, *more)} | {"fvu_half_width": spread, "mcnemar_p": p}


def print_table(model: StudiedModel, table: list[Row]) -> None:
    """Print the rows of `summary` as a table."""
    print(
        f"Held-out figures (test), {model.name} layer {model.layer}. Means over seeds (×); ± is half a 95 % interval."
    )
    print("words, all: the share of predictions that stay the same when words, or all positions, are spliced.")
    print("drop: the accuracy lost when words are spliced, in percentage points. p: the smallest McNemar p over seeds.")
    print("KL: between the predictions before and after words are spliced, in 1/1000 nat. cosine: the mean cosine of a")
    print("live feature's decoder row and the nearest row in a training with another seed. best peer: the SAE of")
    print("another library with the lowest FVU.")
    titles = f"{'L0':>6}{'FVU':>8}{'±':>7}{'train':>7}{'dead':>7}{'words':>8}{'drop':>6}{'p':>6}{'KL':>6}{'all':>8}"
    print(f"{'':36}{titles}{'cosine':>8}   best peer: {'L0':>6}{'FVU':>8}{'words':>8}{'KL':>6}")
    for r in table:
        label = (
            f"{r['kind']} {r['size']} k={r['k']} {r['positions']}{' finished' if r['finished'] else ''} ×{r['seeds']}"
        )
        own = f"{r['l0']:6.1f}{r['fvu']:8.4f}{shown(r['fvu_half_width'], '7.4f')}{shown(r['fvu_train'], '7.3f')}"
        own += f"{r['dead']:7.1%}{r['unchanged_words']:8.2%}{shown(r['spliced_accuracy_drop'], '6.2f', 100)}"
        own += f"{shown(r['mcnemar_p'], '6.3f')}{shown(r['kl_words'], '6.2f', 1000)}"
        own += f"{shown(r['unchanged_all'], '8.2%')}{shown(r['stability'], '8.3f')}"
        peer = ""
        if r["best_peer"] and r["positions"] == "words":
            peer = f"{r['l0_best_peer']:6.1f}{r['fvu_best_peer']:8.4f}{r['unchanged_best_peer']:8.2%}"
            peer = f"              {peer}{1000 * r['kl_best_peer']:6.2f}  {r['best_peer']}"
        print(f"{label:36}{own}{peer}")


def shown(value: float | None, form: str, times: float = 1) -> str:
    """A cell of the table, or a dash in its width."""
    return f"{'-':>{form.split('.')[0]}}" if value is None else f"{times * value:{form}}"


def main() -> None:
    """Train the missing rows, print the table, and end with JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=MODELS, default="minilm")
    parser.add_argument("--peers-data", action="store_true", help="only write the tokens that the peers are trained on")
    parser.add_argument("--judge-peers", action="store_true", help="only read the chosen rows of the peers on test")
    args = parser.parse_args()
    model = MODELS[args.model]
    if args.peers_data:
        ensure_study(model)
        write_peers_data(model)
        return
    if args.judge_peers:
        judge_peers(model)
    elif not QUICK:
        train_missing(model)
    table = summary(model)
    print_table(model, table)
    print(json.dumps({"quick": QUICK, "peers_swept": len(rows(model.results("peers"))), "results": table}))


if __name__ == "__main__":
    main()
