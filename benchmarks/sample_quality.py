"""Measures the built-in headlines: a classifier trained on them alone is tested on real headlines.

    python benchmarks/sample_quality.py [--final]

The generator is improved on the dev part of the real training file (10 % by hash). `--final` also reads the real
validation file, once, for the report. The last line is one JSON object.
"""

import argparse
import json
import platform
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from sae_pipeline.classifier.classifier import classifier_report, load_classifier, predict
from sae_pipeline.classifier.finetuning import finetune
from sae_pipeline.config import PRESETS, HeadlinesConfig
from sae_pipeline.errors import UserError
from sae_pipeline.headlines.dataset import Split, load_headlines
from sae_pipeline.headlines.labels import FINANCIAL
from sae_pipeline.machine.device import pick_device
from sae_pipeline.schema.reports import ClassifierReport

DATA = Path(__file__).parents[2] / "shared" / "data" / "twitter-financial-news-sentiment"


def main() -> None:
    """Fine-tune on the sample, report on the real splits, and end with JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=Path, default=DATA / "sent_train.csv", help="real file; its dev part is read")
    parser.add_argument("--valid", type=Path, default=DATA / "sent_valid.csv", help="real file, read with --final")
    parser.add_argument("--final", action="store_true", help="also report on the validation file")
    parser.add_argument("--errors", action="store_true", help="print the dev headlines it gets wrong")
    args = parser.parse_args()

    demo = PRESETS["demo"]
    sample = load_headlines(demo.headlines)
    real = load_headlines(HeadlinesConfig(source=str(args.train), test_source=str(args.valid)))
    print("\n".join(sample.report.lines()))
    splits = {"real dev": real.dev} | ({"real valid": real.test} if args.final else {})

    with tempfile.TemporaryDirectory() as store:
        started = time.perf_counter()
        device = pick_device()
        classifier = load_classifier(
            finetune(sample, demo.headlines, demo.finetune, Path(store), Path(store) / "checkpoints", device), device
        )
        seconds = time.perf_counter() - started
        tokenizer, network = classifier.tokenizer, classifier.model.eval()
        reports = {}
        for name, split in splits.items():
            tokens = classifier.tokenize(split.texts)
            predictions = predict(network, tokens, tokenizer.pad_token_id, precision="auto").argmax(-1)
            reports[name] = classifier_report(name, split.labels, predictions)
            print_report(reports[name])
            if args.errors and name == "real dev":
                print_errors(split, predictions)
    print(
        json.dumps(
            {
                "benchmark": "sample_quality",
                "sample_headlines": len(sample.train) + len(sample.dev) + len(sample.test),
                "sample_hash": sample.data_hash,
                "sample_test_macro_f1": round(classifier.record.test.macro_f1, 4),
                "finetune_seconds": round(seconds, 1),
                **{
                    f"{name.replace(' ', '_')}_{field}": round(getattr(report, field), 4)
                    for name, report in reports.items()
                    for field in ("accuracy", "macro_f1", "majority_accuracy", "majority_macro_f1")
                },
                "device": str(device),
                "machine": platform.machine(),
                "torch": torch.__version__,
            }
        )
    )


def print_report(report: ClassifierReport) -> None:
    """Print a classifier's report beside the majority baseline."""
    print(
        f"{report.split}: {report.n_headlines:,} headlines, accuracy {report.accuracy:.3f}, "
        f"macro-F1 {report.macro_f1:.3f} (always {FINANCIAL[-1]}: {report.majority_accuracy:.3f}, "
        f"{report.majority_macro_f1:.3f})"
    )
    for score, row in zip(report.per_class, report.confusion, strict=True):
        print(f"  {score.label:<8} precision {score.precision:.3f}, recall {score.recall:.3f}; read as {row}")


def print_errors(split: Split, predictions: np.ndarray) -> None:
    """Print the headlines that were predicted wrongly, by kind of error."""
    for true in range(len(FINANCIAL)):
        for wrong in range(len(FINANCIAL)):
            rows = [i for i, label in enumerate(split.labels) if (label, predictions[i]) == (true, wrong)]
            if true != wrong:
                print(f"--- {FINANCIAL[true]} read as {FINANCIAL[wrong]}: {len(rows)}")
                print("\n".join("  " + " ".join(split.texts[i].split()) for i in rows))


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        raise SystemExit(f"error: {error}") from None
