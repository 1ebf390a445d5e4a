"""The peers' sweep: trains what is missing, and appends one JSON line per training to quality_peers.jsonl.

    python -m benchmarks.bench_quality --peers-data                                     the tokens, once
    python -m benchmarks.quality_sweep --peers-python build/peers/bin/python            all that is missing
    python -m benchmarks.quality_sweep --peers-python … --dry                           the next rows' commands

Everything is chosen on dev, three epochs over the same tokens as ours:

1. at 4k and k = 64 each library's best kind with 256 tokens a step (as ours) and with 1,024: learning rate 3e-3, then
   doubled and halved until the best rate has a worse one on either side;
2. each library's best setting at k = 16, 32 and 128;
3. the best of all at 32k and k = 64; then the other libraries' best.

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

HERE = Path(__file__).parent
RESULTS = HERE / "quality_peers.jsonl"
DATA = HERE.parent / "build" / "quality"
KINDS = {"dictionary_learning": "batchtopk", "sae_lens": "batchtopk", "sparsify": "topk"}
BATCHES = (256, 1024)
FIRST_RATE = 3e-3
Row = dict[str, Any]
_SETTINGS = ("library", "kind", "d_sae", "k", "lr", "batch", "seed")


def rows(path: Path = RESULTS) -> list[Row]:
    """What has been measured."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def name(row: Row) -> str:
    """A row's name: its settings."""
    return "-".join(str(row[key]) for key in _SETTINGS)


def best(done: list[Row], **wanted: Any) -> Row | None:
    """Of the rows that fit the one that is best on dev."""
    fitting = [row for row in done if all(row[key] == value for key, value in wanted.items())]
    return min(fitting, key=lambda row: float(row["fvu_dev"]), default=None)


def ready(done: list[Row]) -> list[Row]:
    """The rows that can be trained now; the later ones depend on what these show. Empty: all is done."""
    have = {name(row) for row in done}

    def new(*rows: Row) -> list[Row]:
        return [row for row in rows if name(row) not in have]

    pairs = [(batch, *pair) for batch in BATCHES for pair in KINDS.items()]
    first = new(*(_row(library, kind, batch, next_rate(done, library, batch)) for batch, library, kind in pairs))
    if first:
        return first
    tops = [row for library in KINDS if (row := best(done, library=library, d_sae=4096, k=64))]
    tops.sort(key=lambda row: float(row["fvu_dev"]))
    stages = [[{**top, "k": k} for k in (16, 32, 128) for top in tops], *([{**top, "d_sae": 32768}] for top in tops)]
    return next((left for stage in stages if (left := new(*({s: row[s] for s in _SETTINGS} for row in stage)))), [])


def next_rate(done: list[Row], library: str, batch: int) -> float:
    """The next learning rate to try at 4k, k = 64; one that was tried when the best has a neighbour on both sides."""
    where = {"library": library, "batch": batch, "d_sae": 4096, "k": 64}
    tried = {row["lr"] for row in done if all(row[key] == value for key, value in where.items())}
    top = best(done, **where)
    if top is None:
        return FIRST_RATE
    return next((rate for rate in (top["lr"] * 2, top["lr"] / 2) if rate not in tried), float(top["lr"]))


def _row(library: str, kind: str, batch: int, lr: float) -> Row:
    return dict(zip(_SETTINGS, (library, kind, 4096, 64, lr, batch, 0), strict=True))


def command(python: str, row: Row) -> list[str]:
    """The command that makes one row."""
    flags = [f"--{key.replace('_', '-')}={row[key]}" for key in _SETTINGS[2:]]
    out = DATA / "peers" / f"{name(row)}.pt"
    return [python, str(HERE / "quality_peers.py"), row["library"], row["kind"], str(DATA / "x.pt"), str(out), *flags]


def train(line: list[str], threads: int) -> str:
    """Run one row's command; its last line."""
    environment = {**os.environ, "TQDM_DISABLE": "1", "OMP_NUM_THREADS": str(threads)}
    run = subprocess.run(line, capture_output=True, text=True, check=False, env=environment)
    if run.returncode:
        raise SystemExit(run.stderr[-2000:])
    return run.stdout.splitlines()[-1]


def main() -> None:
    """Train until no row is missing, `--jobs` at a time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers-python", default=str(HERE.parent / "build" / "peers" / "bin" / "python"))
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="trainings at a time")
    parser.add_argument("--dry", action="store_true", help="print the next commands only")
    args = parser.parse_args()
    (DATA / "peers").mkdir(parents=True, exist_ok=True)
    threads = max(1, (os.cpu_count() or 1) // args.jobs)
    while left := ready(rows()):
        lines = [command(args.peers_python, row) for row in left]
        print(*(" ".join(line) for line in lines), sep="\n", flush=True)
        if args.dry:
            return
        with ThreadPoolExecutor(args.jobs) as pool:
            for found in pool.map(lambda line: train(line, threads), lines):
                with RESULTS.open("a") as file:
                    file.write(found + "\n")


if __name__ == "__main__":
    main()
