"""Sweeps the settings of other libraries: trains the missing rows, and appends one JSON line each to the results.

    python -m benchmarks.quality --model base --peers-data       the tokens, once
    python -m benchmarks.peers.sweep --model base                all that is missing
    python -m benchmarks.peers.sweep --model base --dry          each library's next command

The rows go to results/MODEL/peers.jsonl. All is chosen on dev, after three epochs over the tokens that ours see. For
the best kind of each library:

1. at 4k and k = 64 with 256 tokens a step, as ours: learning rate 1.5e-3, then doubled and halved until the best rate
   has a worse one on either side; then, for MiniLM, the best rate doubled with 1,024 tokens a step, which was worse for
   all three, so that it is not tried again for `base`;
2. the best of these at k = 16, 32 and 128, and at the model's larger sizes with k = 64.

Kinds left out after a first look at a rate of 1e-3 (dev FVU): dictionary_learning's TopK .139 and SAELens's TopK .135,
whose BatchTopK gave .136 and .128; sparsify's SignSGD .159, whose Adam gave .154.
"""

import argparse
import json
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.models import BUILD, MODELS, StudiedModel

KINDS = {"dictionary_learning": "batchtopk", "sae_lens": "batchtopk", "sparsify": "topk"}
BATCH = 256
FIRST_RATE = 1.5e-3
Row = dict[str, Any]
_SETTINGS = ("library", "kind", "d_sae", "k", "lr", "batch", "seed")


def rows(path: Path) -> list[Row]:
    """The rows that a file holds."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def name(row: Row) -> str:
    """The name of a row, made of its settings."""
    return "-".join(str(row[key]) for key in _SETTINGS)


def best(done: list[Row], **wanted: Any) -> Row | None:
    """The row with the best FVU on dev among those that fit `wanted`."""
    fitting = [row for row in done if all(row[key] == value for key, value in wanted.items())]
    return min(fitting, key=lambda row: float(row["fvu_dev"]), default=None)


def next_row(done: list[Row], library: str, model: StudiedModel) -> Row | None:
    """The next training of a library, which depends on earlier results. None when all is done."""
    rate = next_rate(done, library)
    row = dict(zip(_SETTINGS, (library, KINDS[library], 4096, 64, rate, BATCH, 0), strict=True))
    top = best(done, library=library, d_sae=4096, k=64) or row
    top = {setting: top[setting] for setting in _SETTINGS}
    others = [{**top, "k": k} for k in (16, 32, 128)]
    have = {name(row) for row in done}
    larger = [{**row, "lr": rate * batch / BATCH / 2, "batch": batch} for batch in model.peer_batches]
    plan = [row, *larger, *others, *({**top, "d_sae": d_sae} for d_sae in model.peer_sizes)]
    return next((row for row in plan if name(row) not in have), None)


def next_rate(done: list[Row], library: str) -> float:
    """The next learning rate to try at 4k, k = 64. If the best has neighbours on both sides, it is returned again."""
    where = {"library": library, "batch": BATCH, "d_sae": 4096, "k": 64}
    tried = {row["lr"] for row in done if all(row[key] == value for key, value in where.items())}
    top = best(done, **where)
    if top is None:
        return FIRST_RATE
    return next((rate for rate in (top["lr"] * 2, top["lr"] / 2) if rate not in tried), float(top["lr"]))


def command(python: str, model: StudiedModel, row: Row) -> list[str]:
    """The command line that makes one row."""
    flags = [f"--{key.replace('_', '-')}={row[key]}" for key in _SETTINGS[2:]]
    program, data = Path(__file__).parent / "quality.py", model.folder / "x.pt"
    out = model.folder / "peers" / f"{name(row)}.pt"
    return [python, str(program), row["library"], row["kind"], str(data), str(out), *flags]


def sweep(model: StudiedModel, library: str, python: str, threads: int) -> None:
    """Train the missing rows of a library, one after another."""
    environment = {**os.environ, "TQDM_DISABLE": "1", "OMP_NUM_THREADS": str(threads)}
    results = model.results("peers")
    while row := next_row(rows(results), library, model):
        line = command(python, model, row)
        print(" ".join(line), flush=True)
        run = subprocess.run(line, capture_output=True, text=True, check=False, env=environment)
        if run.returncode:
            raise SystemExit(run.stderr[-2000:])
        with results.open("a") as file:
            file.write(run.stdout.splitlines()[-1] + "\n")


def main() -> None:
    """Train until no row is missing, with `--jobs` libraries at a time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=MODELS, default="minilm")
    parser.add_argument("--peers-python", default=str(BUILD / "peers" / "bin" / "python"))
    parser.add_argument("--jobs", type=int, default=1, help="libraries at a time")
    parser.add_argument("--dry", action="store_true", help="print the next commands only")
    args = parser.parse_args()
    model = MODELS[args.model]
    if args.dry:
        left = (next_row(rows(model.results("peers")), library, model) for library in KINDS)
        print(*(" ".join(command(args.peers_python, model, row)) for row in left if row), sep="\n")
        return
    if not Path(args.peers_python).is_file() or not (model.folder / "x.pt").is_file():
        raise SystemExit("The peers or their data are missing; run `make peers` and the first command above.")
    (model.folder / "peers").mkdir(parents=True, exist_ok=True)
    threads = max(1, len(os.sched_getaffinity(0)) // args.jobs)
    with ThreadPoolExecutor(args.jobs) as pool:
        list(pool.map(lambda library: sweep(model, library, args.peers_python, threads), KINDS))


if __name__ == "__main__":
    main()
