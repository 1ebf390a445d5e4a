"""Measures how a whole analysis, with its index, grows with the number of headlines.

`python -m benchmarks.analysis_growth --root STUDY --tiny 10000,100000 --study 10000` prints a table. The last line is
one JSON object. Each size runs in a process of its own.

The study's own classifier and widest SAE show all of the work. A tiny random classifier (d_in 32) with a random SAE of
32,768 features, of which some 60 are active per token, shows everything but the classifier. The headlines are the
built-in ones, each with a few words that number it, so that none is repeated and the vocabulary does not grow.
"""

import argparse
import itertools
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks.score import models
from sae_pipeline.analysis.analyze import analyze_headlines
from sae_pipeline.analysis.metrics import FEATURE_METRICS, metrics_of
from sae_pipeline.config import AnalyzeConfig
from sae_pipeline.headlines.dataset import Split
from sae_pipeline.headlines.sample import sample_headlines
from sae_pipeline.headlines.text import headline_id
from sae_pipeline.runs.drafts import new_run
from sae_pipeline.runs.fit import RunShape
from sae_pipeline.runs.index import INDEX, index_is_current, index_new_run
from sae_pipeline.schema.run import SaeInfo
from tests.support.run_factory import metadata

DIGITS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
WIDE, SILENT_BELOW = 32768, 3.3  # features of the tiny model's SAE, and the threshold that leaves some 60 active


def main() -> None:
    """Measure all sizes, print the table, and end with JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=Path())
    parser.add_argument("--tiny", default="10000,100000", help="sizes with the tiny classifier [%(default)s]")
    parser.add_argument("--study", default="", help="sizes with the study's own classifier [none]")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        what, n = arguments.measure.split(":")
        print(json.dumps(measure(arguments.root, what == "tiny", int(n))))
        return
    print("model      headlines   CPU s  CPU s per 1,000   of it to finish the run   MiB above start   MB on disk")
    rows = []
    for what, sizes in (("tiny", arguments.tiny), ("study", arguments.study)):
        for size in filter(None, sizes.split(",")):
            command = [sys.executable, "-m", "benchmarks.analysis_growth", "--root", str(arguments.root)]
            done = subprocess.run([*command, "--measure", f"{what}:{size}"], stdout=subprocess.PIPE, check=True)
            row = {"model": what, "n": int(size), **json.loads(done.stdout.splitlines()[-1])}
            rows.append(row)
            print(
                f"{what:8} {row['n']:11,} {row['cpu']:7.1f} {1000 * row['cpu'] / row['n']:16.3f} {row['finish']:25.1f} "
                f"{row['peak_mib'] - row['before_mib']:17.0f} {row['bytes'] / 1e6:12.0f}",
                flush=True,
            )
    print(json.dumps(rows))


def texts(n: int) -> Iterator[str]:
    """n different headlines from a vocabulary of one size."""
    numbers = itertools.product(DIGITS, repeat=7)
    sample = itertools.cycle([text for text, _ in sample_headlines()])
    return (f"{text} {' '.join(number)}" for _, text, number in zip(range(n), sample, numbers, strict=False))


def peak_mib() -> float:
    """The largest resident size of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(root: Path, is_tiny: bool, n: int) -> dict[str, Any]:
    """Analyse n headlines and write the run with its index; CPU seconds, peak memory, bytes."""
    classifier, sae, sae_hash = models(root, is_tiny, WIDE, SILENT_BELOW)
    labels, labelling = classifier.record.labels, itertools.cycle(range(len(classifier.record.labels)))
    given = list(texts(n))
    split = Split(given, [next(labelling) for _ in given], [headline_id(text) for text in given], {})
    about = metadata({"n_headlines": n, "n_features": sae.config.d_sae}, 100, labels)
    about["sae"] |= sae.config.model_dump(include={"d_in", "d_sae", "kind", "positions"})
    about["classifier"]["d_model"] = sae.config.d_in
    with tempfile.TemporaryDirectory(dir=root) as folder:
        _analyse(classifier, sae, split.first(64), about, Path(folder) / "warm", sae_hash)
        before, started = peak_mib(), time.process_time()
        run, finish = _analyse(classifier, sae, split, about, Path(folder) / "runs", sae_hash)
        cpu = time.process_time() - started
        assert index_is_current(run)
        size = {path.name: path.stat().st_size for path in run.iterdir()}
        return {
            "cpu": cpu,
            "finish": finish,
            "before_mib": before,
            "peak_mib": peak_mib(),
            "bytes": sum(size.values()),
            "index_bytes": size[INDEX],
        }


def _analyse(
    classifier: Any, sae: Any, split: Split, about: dict[str, Any], folder: Path, sae_hash: str
) -> tuple[Path, float]:
    """The run, and the CPU seconds that it took after its last headline."""
    metrics = metrics_of(FEATURE_METRICS, about["labels"])
    with new_run(folder, {"classifier_hash": classifier.hash, "sae_hash": sae_hash}) as draft:
        draft.index_headlines(RunShape(about["labels"], [], True, SaeInfo.model_validate(about["sae"])))
        neighbours = folder.parent / "neighbours.safetensors"
        totals = analyze_headlines(classifier, sae, split, AnalyzeConfig(), metrics, draft, neighbours)
        started = time.process_time()
        described = [metric.info(sae.config.positions) for metric in metrics]
        run = draft.finish({**about, "metrics": described, "totals": totals})  # type: ignore[typeddict-item]
    index_new_run(run, draft.index)
    return run, time.process_time() - started


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
