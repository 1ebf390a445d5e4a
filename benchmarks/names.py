"""Measures the names of features: how well they predict, beside controls, and what they cost.

`make bench-names`, or `QUICK=1 make bench-names` (under 50 s; without the random model and the map). The last line is
one JSON object; its figures are those of the smallest SAE.

It uses the classifier and the SAEs under --root. If there are none, it builds the tests' small study and uses that. For
each SAE, the test headlines are analysed as `analyze` does it; the cost of names is measured by doing that part again
alone. The random model is an SAE that is trained in the same way on the same network with random weights.
"""

import argparse
import json
import os
import random
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks import meaning
from benchmarks.runs.present_study import here_or_small
from sae_pipeline.analysis.analyze import analyze_headlines
from sae_pipeline.analysis.blocks import read_blocks
from sae_pipeline.analysis.metrics import FEATURE_METRICS, metrics_of
from sae_pipeline.analysis.naming import names_records, sampled_headlines
from sae_pipeline.config import AnalyzeConfig
from sae_pipeline.evaluation.rivals import random_model
from sae_pipeline.naming.sample import HeadlineSample
from sae_pipeline.runs.drafts import new_run
from sae_pipeline.schema.names import FeatureName, NameScores, NamesFile
from sae_pipeline.study import present
from sae_pipeline.study.layout import Layout, aliased_saes

QUICK = meaning.QUICK
CPU = torch.device("cpu")


def main() -> None:
    """Measure every SAE, print the tables, and end with JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, help="folder with finbert_sae/")
    parser.add_argument(
        "--show", type=int, default=0, help="print so many features at random, to be judged by a reader"
    )
    arguments = parser.parse_args()
    root = arguments.root or here_or_small(any(Path("finbert_sae").glob("layer_*_*.pt")), "SAE")
    classifier = present.load_classifier(root, CPU)
    sizes = list(aliased_saes(Layout(root), classifier.hash))
    found = {size: figures(root, size, arguments.show) for size in (sizes[:1] if QUICK else sizes)}
    first = found[sizes[0]]
    result = {**first, "auroc_random_model": None, "map_fps": None}
    if not QUICK:
        scores = random_scores(root, sizes[0])
        show({"random model": scores})
        result |= {"auroc_random_model": median(scores), "named_random_model": scores.share_named}
    result |= {"search_p95_ms": meaning.search_figures()["search_p95_ms"]}
    if not QUICK:
        result |= {"map_fps": meaning.map_figures()["map_fps"]}
    print(json.dumps({**result, "sizes": found, "quick": QUICK, "threads": torch.get_num_threads()}))


def figures(root: Path, size: str, n_shown: int) -> dict[str, Any]:
    """The scores of an SAE's names and of their controls, and what names cost."""
    classifier = present.load_classifier(root, CPU)
    layer = next(iter(aliased_saes(Layout(root), classifier.hash).values())).config.hookpoint.layer
    sae, _, sae_hash = present.load_sae(root, layer, size, CPU)
    split = present.same_headlines(root).test
    labels = classifier.record.labels
    made_with = {"classifier_hash": classifier.hash, "sae_hash": sae_hash}
    metrics = metrics_of(FEATURE_METRICS, labels)
    with tempfile.TemporaryDirectory(dir=root) as folder, new_run(Path(folder), made_with) as draft:  # type: ignore[arg-type]
        started = time.process_time()
        analyze_headlines(classifier, sae, split, AnalyzeConfig(), metrics, draft, Path(folder) / "near.safetensors")
        whole = time.process_time() - started
        names = NamesFile.model_validate_json((draft.folder / "names.json").read_bytes())
        n_bytes = (draft.folder / "names.json").stat().st_size
    sample, taking = HeadlineSample(), 0.0
    for block in read_blocks(classifier, sae, split, range(len(split)), AnalyzeConfig().tokens_per_batch):
        started = time.process_time()
        sample.add(sampled_headlines(block))
        taking += time.process_time() - started
    before, started = peak_mib(), time.process_time()
    names_records(sample, draft_counts(names, sae.config.d_sae), labels)
    finding = time.process_time() - started
    scores = {one.kind: one for one in names.scores}
    print(f"{size}: {names.n_choosing:,} headlines choose, {names.n_testing:,} test")
    show(scores)
    print(f"cost: {taking + finding:.1f} s of CPU, {(taking + finding) / whole:.1%} of the analysis' {whole:.1f} s")
    show_features(names.features, n_shown)
    return {
        "auroc_median": median(scores["names"]),
        "share_named": scores["names"].share_named,
        "auroc_shuffled": median(scores["shuffled"]),
        "named_shuffled": scores["shuffled"].share_named,
        "auroc_neurons": median(scores["neurons"]),
        "named_neurons": scores["neurons"].share_named,
        "cpu_seconds": round(taking + finding, 2),
        "share_of_analysis": round((taking + finding) / whole, 4),
        "peak_mib_above_reading": round(peak_mib() - before),
        "names_mib": round(n_bytes / 2**20, 2),
        "n_headlines": len(split),
        "d_sae": sae.config.d_sae,
    }


def draft_counts(names: NamesFile, d_sae: int) -> Any:
    """A count for each feature, int64 [d_sae]: 1 if it fires, else 0."""
    fires = torch.zeros(d_sae, dtype=torch.int64)
    fires[[one.feature for one in names.features]] = 1
    return fires.numpy()


def random_scores(root: Path, size: str) -> NameScores:
    """The scores of names of an SAE that is trained on the network with random weights."""
    classifier, headlines = present.load_classifier(root, CPU), present.same_headlines(root)
    layer = next(iter(aliased_saes(Layout(root), classifier.hash).values())).config.hookpoint.layer
    sae, record, _ = present.load_sae(root, layer, size, CPU)
    control = random_model(classifier, headlines, sae, record.training, (1,)).control
    assert control.names is not None
    return control.names


def median(scores: NameScores) -> float | None:
    """The median score of the tested features."""
    return scores.quartiles[2] if scores.quartiles else None


def show(scores: dict[str, NameScores]) -> None:
    """Print the distribution of scores by kind."""
    print(f"{'':14}{'fire':>8}{'tested':>8}{'named':>8}   least, quartiles and largest AUROC of the best rules")
    for kind, one in scores.items():
        row = "  ".join(f"{q:.3f}" for q in one.quartiles or ())
        print(f"{kind:14}{one.n_features:8,}{one.n_scored:8,}{one.share_named:8.1%}   {row}")
        print(f"{'':14}per 0.05 of AUROC from 0.4 on: {' '.join(map(str, one.histogram[8:]))}")


def show_features(features: list[FeatureName], n: int) -> None:
    """Print some features at random with their rules and scores."""
    for one in random.Random(0).sample(features, min(n, len(features))):
        rule = "; ".join(f"{p.kind}: {p.value}" for p in one.rule)
        print(f"{one.feature:6} {one.name or '–':40} {one.score} F1 {one.f1} n {one.n} [{rule}]")


def peak_mib() -> float:
    """The largest resident size of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    main()
