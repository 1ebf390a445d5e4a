"""What fitting the classifier's last layer anew on the same headlines would reach, beside edits of features."""

from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from sae_pipeline.arrays import Flags, Floats, Ints
from sae_pipeline.causal.probe import Probe, Reading
from sae_pipeline.evaluation.probing import RIDGES
from sae_pipeline.headlines.tokens import length_batches
from sae_pipeline.machine.memory import for_each_batch


def last_inputs(probe: Probe, reading: Reading) -> Floats | None:
    """What the classifier's last linear layer reads of each headline, [n_headlines, d]; None if it is no such layer."""
    layers = [m for m in probe.model.modules() if isinstance(m, nn.Linear) and m.out_features == probe.tail.n_classes]
    if not layers:
        return None
    taken: list[Tensor] = []
    found: list[Floats | None] = [None] * len(reading.tokenized)

    def keep(_: nn.Module, inputs: tuple[Any, ...]) -> None:
        taken.append(inputs[0])

    def run(rows: Ints) -> None:
        taken.clear()
        probe.tail(*reading.padded(rows))
        if len(taken) == 1 and taken[0].dim() == 2 and len(taken[0]) == len(rows):
            for row, vector in zip(rows.tolist(), taken[0].cpu().double().numpy(), strict=True):
                found[row] = vector

    hook = layers[-1].register_forward_pre_hook(keep)
    try:
        with torch.no_grad():
            lengths = reading.lengths.tolist()
            for_each_batch("the last layer", length_batches(lengths, probe.budget, probe.tail.equal_lengths), run)
    finally:
        hook.remove()
    vectors = [vector for vector in found if vector is not None]
    return np.stack(vectors) if len(vectors) == len(found) and found else None


def fitted_anew(inputs: Floats, labels: Ints, stopping: Flags, others: Floats) -> Ints | None:
    """The classes that a logistic regression predicts from `others` [n, d], fitted on `inputs` [n_headlines, d].

    Its ridge is the one with the lowest risk on the `stopping` headlines after a fit on the rest; then it is fitted on
    all. None where a class is missing among those.
    """
    classes = set(labels.tolist())
    if set(labels[~stopping].tolist()) != classes or len(classes) < 2:
        return None

    def fit(ridge: float, rows: Flags) -> Any:
        regression = LogisticRegression(C=1 / (ridge * int(rows.sum())), max_iter=2000)
        return make_pipeline(StandardScaler(), regression).fit(inputs[rows], labels[rows])

    def risk(ridge: float) -> float:
        model = fit(ridge, ~stopping)
        column = {c: n for n, c in enumerate(model.classes_.tolist())}
        right = model.predict_proba(inputs[stopping])
        return float(np.mean([1 - row[column[c]] for row, c in zip(right, labels[stopping].tolist(), strict=True)]))

    predicted: Ints = fit(min(RIDGES, key=risk), np.ones_like(stopping)).predict(others)
    return predicted
