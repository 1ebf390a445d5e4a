"""One SAE on two models beside a crosscoder: which of the two finds the features that fine-tuning put in?

    python -m benchmarks.diff_ways

Both read MiniLM and two fine-tunings of it on the real headlines that differ by their seed alone. Features are ranked
by growth from MiniLM to a fine-tuning: for the SAE by the logarithm of summed activations, for the crosscoder by that
of the lengths of directions. Printed are how many of the leading ones lead with the other seed too, and what ablating
them does to accuracy and predictions, beside as many others with about the same contribution. The study of
`make bench-quality` and its second seed (`make bench-repair`) must be there. The last line is one JSON object.
"""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.models import MODELS
from sae_pipeline.arrays import Floats, Ints
from sae_pipeline.artefacts.checkpoints import unfinished
from sae_pipeline.config import DiffConfig, TrainConfig
from sae_pipeline.diffing.crosscoder import Crosscoder, JointReading, Place
from sae_pipeline.diffing.models import compared_models
from sae_pipeline.diffing.sets import set_effect
from sae_pipeline.runs.folders import find_run, read_run
from sae_pipeline.study import present

SIZES = (25, 50, 100, 200)
CPU = torch.device("cpu")
_SMALL = 5.0  # added to summed activations, so that features that hardly fire do not lead


def main() -> None:
    """Train both, rank, ablate, print, and end with JSON."""
    root = MODELS["minilm"].root
    run = read_run(find_run(root / "analysis_data", None))
    classifier, sae = present.run_parts(root, run.metadata, CPU)
    models = compared_models(classifier, DiffConfig(), root, CPU)
    place = Place(sae.config.hookpoint, "words", classifier.tokenizer.pad_token_id, 4096)
    training = classifier.tokenize(present.headlines_of(classifier.record, root).train.texts)
    texts = classifier.tokenize([prompt.text for prompt in run.prompts])
    labels = np.array([prompt.label for prompt in run.prompts], np.int64)
    acts = [place.training_acts(model.network, training) for model in models]
    states = [place.hidden_states(model.network, texts) for model in models]
    config = TrainConfig(kind="batchtopk", latent_dims=(4096,), k=64)
    both = _crosscoder(list(acts), place, config)
    one = _crosscoder([_alike(acts)], place, config.model_copy(update={"num_epochs": 3}))
    found: dict[str, Any] = {}
    for name, crosscoder, by in (
        ("crosscoder", both, "ratio"),
        ("one SAE", one, "ratio"),
        ("crosscoder, by difference", both, "difference"),
        ("one SAE, by difference", one, "difference"),
    ):
        joint = name.startswith("crosscoder")
        readings = _readings(crosscoder, states, joint)
        growth = _growth(crosscoder, readings, joint, by)
        ranked = [np.argsort(-values, kind="stable") for values in growth]
        for size in SIZES:
            leading = [order[:size] for order in ranked]
            shared = len(set(leading[0].tolist()) & set(leading[1].tolist()))
            ablated = _ablated(crosscoder, readings[1], models[1].network, place, labels, leading[0], joint)
            found[f"{name} {size}"] = {"with both seeds": shared, **ablated}
            print(f"{name:25} {size:4} leading: {shared:4} lead with both seeds;", ablated, flush=True)
    print(json.dumps({"benchmark": "diff_ways", **found}))


def _crosscoder(acts: list[Tensor], place: Place, config: TrainConfig) -> Crosscoder:
    with tempfile.TemporaryDirectory() as folder, unfinished(Path(folder), "ways") as checkpoint:
        return Crosscoder.train(acts, place, config, CPU, checkpoint)


def _alike(acts: list[Tensor]) -> Tensor:
    """The activations of all models, one after the other, each with mean 0 and scale 1."""
    return torch.cat([(one.float() - one.float().mean(0)) / _scale(one) for one in acts]).half()


def _scale(acts: Tensor) -> Tensor:
    centred = acts.float() - acts.float().mean(0)
    return centred.square().mean().sqrt()


def _readings(crosscoder: Crosscoder, states: list[Any], joint: bool) -> list[JointReading]:
    """What the features do in each model: one reading of all, or one of each model by itself."""
    if joint:
        return [JointReading.of(crosscoder, states)] * len(states)
    readings = []
    for one in states:
        acts = one.acts("words")
        own = Crosscoder(crosscoder.sae, [acts.mean(0)], [_scale(acts)])
        readings.append(JointReading.of(own, [one]))
    return readings


def _growth(crosscoder: Crosscoder, readings: list[JointReading], joint: bool, by: str) -> list[Floats]:
    """Growth from the first model to each of the others, [d_sae]; −inf where a feature fires in few headlines.

    By "ratio" it is the logarithm of sizes, by "difference" that of contributions over all headlines.
    """
    counts = [np.bincount(one.firings.group_feature, minlength=crosscoder.d_sae) for one in readings]
    sums = np.stack([np.bincount(one.firings.feature, one.firings.value, crosscoder.d_sae) for one in readings])
    if by == "difference":
        size = sums * crosscoder.strengths if joint else sums
        grown = [size[m] - size[0] for m in (1, 2)]
    else:
        size = crosscoder.strengths if joint else sums + _SMALL
        grown = [np.log(size[m] / size[0]) for m in (1, 2)]
    return [np.where(counts[m] >= 10, grown[m - 1], -np.inf) for m in (1, 2)]


def _ablated(
    crosscoder: Crosscoder, reading: JointReading, network: Any, place: Place, labels: Ints, features: Ints, joint: bool
) -> dict[str, float]:
    """What ablating features does in the first fine-tuning, beside random ones."""
    number, own = int(joint), crosscoder
    if not joint:
        acts = reading.states[0].acts("words")
        own = Crosscoder(crosscoder.sae, [acts.mean(0)], [_scale(acts)])
    probe = own.probe(number, network, place.pad_id, place.tokens_per_batch)
    logits = reading.states[number].rerun(probe.tail, place.tokens_per_batch)
    live = np.ones(crosscoder.d_sae, bool)
    rows = np.arange(len(labels))
    effect = set_effect("grown", "after", probe, reading.reading(number, logits), rows, labels, features, live, 5, 0)
    return {
        "accuracy": effect.accuracy_before,
        "ablated": effect.accuracy_after,
        "changed": effect.changed,
        "random ablated": float(np.mean(effect.random_accuracies)),
        "random changed": float(np.mean(effect.random_changed)),
    }


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    main()
