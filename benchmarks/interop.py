"""Holds our exports and imports of SAEs against the other libraries' own packages, on real activations.

`make check-interop` (some 3 minutes; QUICK=1: one). Out: we train an SAE of each kind and export it, and the library
loads it by its own loader. In: the library trains and saves an SAE of each kind it knows, and we read it. Either way
both sides encode and decode the same activations of the small study's classifier in fp32. The libraries run in
`build/peers`, which `make peers` installs; `--peers-python` names another interpreter.

The features of the study's run go out in Neuronpedia's form and are read by SAEDashboard, which writes that form.

The table is printed first, and the last line is one JSON object with the libraries' versions and a row per SAE:

| field | content |
| --- | --- |
| `format`, `direction`, `kind` | the library, "out" or "in", and the kind of SAE |
| `l0` | active features per token |
| `f`, `x_hat` | the largest relative difference of a token: ‖Δ‖ / ‖the library's own‖ |
| `borderline` | entries that are active on one side only, because pre is within rounding of the threshold |
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmarks.peers.interop import ANSWER, D_SAE, K
from sae_pipeline.activations.store import ActivationStore
from sae_pipeline.artefacts.writing import write_json
from sae_pipeline.config import ExportConfig, TrainConfig
from sae_pipeline.errors import UserError
from sae_pipeline.machine.device import pick_device
from sae_pipeline.sae.autoencoder import SaeConfig, SparseAutoencoder
from sae_pipeline.sae.formats import FORMATS, foreign_files, read_foreign
from sae_pipeline.sae.formats.plain import Recorded, own_form
from sae_pipeline.sae.kinds import nested_prefixes
from sae_pipeline.sae.training import Job, sparsity_weight, train_saes
from sae_pipeline.schema.kinds import KINDS
from sae_pipeline.study.export import export
from sae_pipeline.study.making import ensure_activations
from tests.support.small_study import build

HERE = Path(__file__).parent
QUICK = os.environ.get("QUICK") == "1"
MOST = 1e-5  # relative difference that counts as rounding
MOST_BORDERLINE = 1e-4  # share of the active entries
N_TEST = 500 if QUICK else 2_000


def main() -> int:
    """Print the table and the rows; 1 where a difference is more than rounding."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers-python", type=Path, default=HERE.parent / "build" / "peers" / "bin" / "python")
    parser.add_argument("--work", type=Path, default=HERE.parent / "build" / "interop")
    arguments = parser.parse_args()
    if not arguments.peers_python.exists():
        print(f"error: there is no {arguments.peers_python}; `make peers` installs the other libraries.")
        return 2
    work: Path = arguments.work
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    root = Path(os.environ.get("TEST_STUDY", HERE.parent / "build" / "test-study"))
    store = ensure_activations(build(root).extract, root, pick_device("cpu"))
    export(ExportConfig(to="neuronpedia", out=str(work / "neuronpedia")), 0, root)
    x = store.read([(0, min(store.n_tokens, N_TEST + 6_000))]).float()
    save_file({"test": x[:N_TEST].contiguous(), "train": x[N_TEST:].contiguous()}, work / "x.safetensors")
    saes = our_saes(store)
    for kind, sae in saes.items():
        export_all(work / "out", kind, sae)
    peer(arguments.peers_python, "make", work)
    told = peer(arguments.peers_python, "load", work)
    versions = told["versions"]
    rows = [*out_rows(work, saes, x[:N_TEST]), *in_rows(work, store, x[:N_TEST])]
    print(*table(rows, versions), sep="\n")
    faults = [row for row in rows if is_fault(row)]
    print(f"{told['features']} features in Neuronpedia's form, read by SAEDashboard {versions['neuronpedia']}")
    print(json.dumps({**told, "n_tokens": N_TEST, "faults": len(faults), "rows": rows}))
    return 1 if faults else 0


def our_saes(store: ActivationStore) -> dict[str, SparseAutoencoder]:
    """An SAE of every kind, trained for one pass."""
    jobs = []
    for kind in KINDS:
        config = TrainConfig(latent_dims=(D_SAE,), kind=kind, num_epochs=1, batch_size=256)
        template = SaeConfig(
            d_in=store.d_in,
            d_sae=D_SAE,
            kind=kind,
            k=K if config.fixes_k else None,
            prefixes=nested_prefixes(D_SAE) if KINDS[kind].nested else (),
            recipe="default",
            l1_coefficient=config.l1_coefficient,
            sparsity_weight=sparsity_weight("default", config.l1_coefficient, store.d_in, D_SAE, kind),
            positions="words",
            hookpoint=store.manifest.hookpoint,
            classifier_hash=store.manifest.classifier_hash,
            data_hash=store.manifest.data_hash,
        )
        jobs.append(Job(kind, template, config))
    trained = train_saes(store, store.mean, store.scale, jobs, pick_device("cpu"))
    return {job.name: result.sae.requires_grad_(False) for job, result in zip(jobs, trained, strict=True)}


def export_all(place: Path, kind: str, sae: SparseAutoencoder) -> None:
    """Write an SAE in every format that can hold it."""
    for name in FORMATS:
        try:
            files = foreign_files(sae, name, Recorded())
        except UserError:
            continue
        folder = place / name / kind
        folder.mkdir(parents=True)
        for file, content in files.items():
            if isinstance(content, bytes):
                (folder / file).write_bytes(content)
            else:
                write_json(folder / file, content)


def peer(python: Path, what: str, work: Path) -> dict[str, Any]:
    """Run the other libraries' side. Returns what it says in its last line."""
    command = [str(python), "-W", "ignore", str(HERE / "peers" / "interop.py"), what, str(work)]
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "WANDB_MODE": "disabled", "SPARSIFY_DISABLE_TRITON": "1"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return said


def out_rows(work: Path, saes: dict[str, SparseAutoencoder], x: Tensor) -> list[dict[str, Any]]:
    """Our SAEs beside what the libraries make of their exports."""
    folders = sorted(path.parent for path in (work / "out").glob(f"*/*/{ANSWER}"))
    return [row(folder, "out", saes[folder.name], x) for folder in folders]


def in_rows(work: Path, store: ActivationStore, x: Tensor) -> list[dict[str, Any]]:
    """The libraries' SAEs beside what we make of them."""
    rows, place = [], store.manifest
    for folder in sorted(path.parent for path in (work / "in").glob(f"*/*/{ANSWER}")):
        name, _, foreign = read_foreign(folder)
        assert name == folder.parent.name
        own = own_form(foreign, store.mean, place.hookpoint, "words", place.classifier_hash, place.data_hash)
        rows.append(row(folder, "in", own, x))
    return rows


def row(folder: Path, direction: str, own: SparseAutoencoder, x: Tensor) -> dict[str, Any]:
    """The differences between our f and x̂ and those that a library wrote into a folder."""
    theirs = load_file(folder / ANSWER)
    with torch.inference_mode():
        f = own.encode(x)
        x_hat = own.decode(f)
    flipped = (f > 0) != (theirs["f"] > 0)
    whole = ~flipped.any(1)
    difference = ((f - theirs["f"]) * ~flipped).norm(dim=1) / theirs["f"].norm(dim=1).clamp_min(1e-12)
    of_x_hat = ((x_hat - theirs["x_hat"]).norm(dim=1) / theirs["x_hat"].norm(dim=1))[whole]
    return {
        "format": folder.parent.name,
        "direction": direction,
        "kind": folder.name,
        "l0": round(float((theirs["f"] > 0).sum(1).float().mean()), 1),
        "f": float(difference.max()),
        "x_hat": float(of_x_hat.max()),
        "borderline": int(flipped.sum()),
        "entries": int((theirs["f"] > 0).sum()),
    }


def is_fault(row: dict[str, Any]) -> bool:
    """Whether two sides differ by more than rounding, or a row compares nothing."""
    too_many = row["borderline"] > MOST_BORDERLINE * row["entries"]
    return max(row["f"], row["x_hat"]) > MOST or too_many or not row["entries"]


def table(rows: list[dict[str, Any]], versions: dict[str, str]) -> list[str]:
    """The rows as lines of Markdown."""
    lines = ["| library | direction | kind | L0 | largest Δf | largest Δx̂ | borderline entries |", "| --- " * 7 + "|"]
    for r in rows:
        lines.append(
            f"| {r['format']} {versions[r['format']]} | {r['direction']} | {r['kind']} | {r['l0']:g} | {r['f']:.1e} | "
            f"{r['x_hat']:.1e} | {r['borderline']} of {r['entries']:,} |"
        )
    return lines


if __name__ == "__main__":
    sys.exit(main())
