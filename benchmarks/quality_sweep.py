"""The peers' sweep: trains what is missing, row by row, and appends one JSON line for each to quality_peers.jsonl.

    python -m benchmarks.bench_quality --peers-data                                     the tokens, once
    python -m benchmarks.quality_sweep --peers-python build/peers/bin/python            all that is missing
    python -m benchmarks.quality_sweep --peers-python … --dry                           the next row's command

Everything is chosen on dev. The sweep, at 4k, the same tokens, three epochs, 1,024 tokens a step:

1. at k = 64 every library's kinds with learning rates 1e-3 and 3e-3, and its best kind with 6e-3 or 4e-4, whichever
   lies beyond the better of the two;
2. the best kind of each library, at its best rate, at k = 16, 32 and 128;
3. the best of all at 32k, k = 64; then the other libraries' best;
4. two more seeds of the best of all at each k at 4k; then of the others.

Rows are in the order in which an early stop hurts least.
"""

import argparse
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE / "quality_peers.jsonl"
DATA = HERE.parent / "build" / "quality"
FIRST = (("sae_lens", "batchtopk"), ("dictionary_learning", "batchtopk"), ("sparsify", "topk"))
REST = (("dictionary_learning", "topk"), ("sae_lens", "topk"), ("sparsify", "topk-signum"))
LIBRARIES = ("sae_lens", "dictionary_learning", "sparsify")
RATES = (4e-4, 1e-3, 3e-3, 6e-3)
Row = dict[str, Any]
_SETTINGS = ("library", "kind", "d_sae", "k", "lr", "seed")


def rows(path: Path = RESULTS) -> list[Row]:
    """What has been measured."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def name(row: Row) -> str:
    """A row's name: its settings."""
    return "-".join(str(row[key]) for key in _SETTINGS)


def best(done: list[Row], **wanted: Any) -> list[Row]:
    """The rows of seed 0 that fit, best on dev first."""
    fitting = [row for row in done if row["seed"] == 0 and all(row[key] == value for key, value in wanted.items())]
    return sorted(fitting, key=lambda row: float(row["fvu_dev"]))


def missing(done: list[Row]) -> Iterator[Row]:
    """The rows still to be trained, most wanted first; what is chosen depends on what is done."""
    have = {name(row) for row in done}

    def row(library: str, kind: str, k: int, lr: float, d_sae: int = 4096, seed: int = 0) -> Iterator[Row]:
        made = dict(zip(_SETTINGS, (library, kind, d_sae, k, lr, seed), strict=True))
        if name(made) not in have:
            yield made

    for rate in (1e-3, 3e-3):
        for library, kind in FIRST:
            yield from row(library, kind, 64, rate)
    for library in ("sae_lens", "dictionary_learning"):
        top = tops(done)[library]
        yield from row(library, top["kind"], 64, RATES[0] if top["lr"] <= RATES[1] else RATES[3])
    ranked = sorted(tops(done).values(), key=lambda found: float(found["fvu_dev"]))
    for place, top in enumerate(ranked):
        for k in (32, 16, 128):
            yield from row(top["library"], top["kind"], k, top["lr"])
        if place == 0:
            yield from row(top["library"], top["kind"], 64, top["lr"], d_sae=32768)
    for top in ranked:
        for seed in (1, 2):
            for k in (64, 32, 16, 128):
                yield from row(top["library"], top["kind"], k, top["lr"], seed=seed)
    for rate in (3e-3, 1e-3):
        for library, kind in REST:
            yield from row(library, kind, 64, rate)
    for top in ranked[1:]:
        yield from row(top["library"], top["kind"], 64, top["lr"], d_sae=32768)


def tops(done: list[Row]) -> dict[str, Row]:
    """The best row of each library at 4k, k = 64."""
    return {library: best(done, library=library, d_sae=4096, k=64)[0] for library in LIBRARIES}


def command(python: str, row: Row) -> list[str]:
    """The command that makes one row."""
    flags = [f"--{key.replace('_', '-')}={row[key]}" for key in _SETTINGS[2:]]
    out = DATA / "peers" / f"{name(row)}.pt"
    return [python, str(HERE / "quality_peers.py"), row["library"], row["kind"], str(DATA / "x.pt"), str(out), *flags]


def main() -> None:
    """Train row after row until none is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers-python", default=str(HERE.parent / "build" / "peers" / "bin" / "python"))
    parser.add_argument("--dry", action="store_true", help="print the next command only")
    args = parser.parse_args()
    (DATA / "peers").mkdir(parents=True, exist_ok=True)
    while row := next(missing(rows()), None):
        line = command(args.peers_python, row)
        print(" ".join(line), flush=True)
        if args.dry:
            return
        run = subprocess.run(line, capture_output=True, text=True, check=False, env={**os.environ, "TQDM_DISABLE": "1"})
        if run.returncode:
            raise SystemExit(run.stderr[-2000:])
        with RESULTS.open("a") as file:
            file.write(run.stdout.splitlines()[-1] + "\n")


if __name__ == "__main__":
    main()
