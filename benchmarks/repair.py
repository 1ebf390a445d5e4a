"""Repair and fine-tuning on the real headlines: edits that mend errors, and the features that fine-tuning changed.

    make bench-repair              # MiniLM; what its study has already is reused, the rest takes some 20 minutes
    make bench-repair MODEL=base   # at FinBERT's size, some two hours
    QUICK=1 make bench-repair      # the stored results, also those of `python -m benchmarks.planted_repair`

The run is of a BatchTopK SAE of 4,096 features with k = 64. `mend` searches on one half of its headlines and tests on
the other, beside 100 random sets and the last layer fitted anew. The mended classifier is exported, and its logits are
compared with those of the edits. `diff` compares the classifier with the model that it was fine-tuned from, and with a
second fine-tuning that differs by its seed alone. The last line is one JSON object.
"""

import argparse
import importlib.util
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.models import MODELS, ensure_study
from sae_pipeline import pipeline
from sae_pipeline.causal.edited import edited_logits
from sae_pipeline.causal.probe import Probe
from sae_pipeline.config import DiffConfig, ExportConfig, MendConfig, StudyConfig, TrainConfig
from sae_pipeline.diffing.verb import diff
from sae_pipeline.mending.verb import mend
from sae_pipeline.runs.folders import find_run, read_run
from sae_pipeline.runs.run_files import read_added
from sae_pipeline.schema.diff import CHANGES, DIFF, DiffFile
from sae_pipeline.schema.mending import MENDING, MendingFile
from sae_pipeline.study import present
from sae_pipeline.study.export import export
from sae_pipeline.study.report_runs import diff_lines, mending_lines

RESULTS = Path(__file__).parent / "results" / "repair"
CPU = torch.device("cpu")
N_COMPARED = 300  # headlines whose logits are compared after the export
_CHANGED = 10


def main() -> None:
    """Measure one model or print the stored results, and end with JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=list(MODELS), default="minilm")
    name = parser.parse_args().model
    if not os.environ.get("QUICK"):
        store(name, *measure(name))
    stored = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))}
    for model, found in stored.items():
        print("\n".join(["", model, *found["lines"]]))
    print(json.dumps({"benchmark": "repair"} | {name: found["row"] for name, found in stored.items()}))


def store(name: str, row: dict[str, Any], lines: list[str]) -> None:
    """Keep a row of figures and the printed lines behind it."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"row": row, "lines": lines}, indent=1, ensure_ascii=False)
    (RESULTS / f"{name}.json").write_text(f"{text}\n", encoding="utf-8")


def measure(name: str) -> tuple[dict[str, Any], list[str]]:
    """Run what is missing in the study of a model; a row of figures, and what the verbs print."""
    model = MODELS[name]
    ensure_study(model)
    root = model.root
    run = _analysed(root, model.layer)
    mending = read_added(run, MENDING, MendingFile) or mend(MendConfig(run=run.name, random_sets=100), root, CPU)
    before = model.fine_tuning.get("model") if name == "base" else None
    config = DiffConfig(run=run.name, before=before, control_seed=1)
    found = read_added(run, DIFF, DiffFile) or diff(config, root, CPU)
    counts, seeds = found.counts, found.counts_control
    row = {
        **mended_row(mending),
        "export_max_logit_difference": export_difference(root, run.name),
        "changed_features": counts.model_dump(),
        "changed_features_seed_control": seeds.model_dump() if seeds else None,
        "sets": [one.model_dump(exclude={"random_accuracies"}) for one in found.sets],
        "most_changed": [
            {"change": one.change, "growth": round(one.growth, 2), "words": one.words[:5]}
            for change in CHANGES
            for one in [feature for feature in found.features if feature.change == change][:_CHANGED]
        ],
    }
    return row, [*mending_lines(mending), "", *diff_lines(found)]


def mended_row(file: MendingFile) -> dict[str, Any]:
    """What edits do on the headlines that test them."""
    change, sets = file.change, file.random_sets
    if change is None or sets is None:
        return {"verdict": file.verdict, "errors_mended_heldout": 0, "errors_made_heldout": 0}
    return {
        "verdict": file.verdict,
        "errors_mended_heldout": change.mended,
        "errors_made_heldout": change.made,
        "accuracy": [change.accuracy_before, change.accuracy_after],
        "mcnemar_p": change.mcnemar_p,
        "random_control": {
            "mean_accuracy_change": float(np.mean(sets.accuracy_changes)),
            "as_good": sets.n_as_good,
            "sets": len(sets.accuracy_changes),
        },
    }


def export_difference(root: Path, name: str | None = None) -> float:
    """Export a run's mended classifier; the largest difference of its logits from those of the edits."""
    run = read_run(find_run(root / "analysis_data", name))
    file = read_added(run.folder, MENDING, MendingFile)
    if file is None or not file.edits:
        return float("nan")
    classifier, sae = present.run_parts(root, run.metadata, CPU)
    texts = [prompt.text for prompt in run.prompts[:N_COMPARED]]
    probe = Probe.of(classifier.model, sae, classifier.tokenizer.pad_token_id)
    reading = probe.read(classifier.tokenize(texts))
    wanted = edited_logits(probe, reading, [{edit.feature: edit.factor for edit in file.edits}])[0]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "classifier"
        export(ExportConfig(to="classifier", run=run.folder.name, out=str(out)), run.metadata.hookpoint.layer, root)
        found = _exported_logits(out, texts)
    return float(np.abs(found - wanted).max())


def _exported_logits(folder: Path, texts: list[str]) -> Any:
    """The logits of an exported classifier, by the module that lies in its folder."""
    spec = importlib.util.spec_from_file_location("mended", folder / "mended.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model, tokenizer = module.load(folder)
    with torch.no_grad():
        logits = [model(**tokenizer(text, return_tensors="pt")).logits[0] for text in texts]
    return torch.stack(logits).double().numpy()


def _analysed(root: Path, layer: int) -> Path:
    """The run of the study's 4k SAE, made if it is missing."""
    study = StudyConfig()
    train = TrainConfig(kind="batchtopk", k=64, latent_dims=(4096,), num_epochs=3)
    update = {"train": train, "extract": study.extract.model_copy(update={"layer": layer})}
    study = study.model_copy(update={**update, "analyze": study.analyze.model_copy(update={"sae_size": "4k"})})
    found = present.equal_run(study, root)
    if found is None:
        pipeline.train(study.extract, study.train, root, CPU)
        found = pipeline.analyze(study, root, CPU)
    return found


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    main()
