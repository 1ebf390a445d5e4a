"""Predictions with the activations of some features multiplied wherever they fire."""

from collections.abc import Mapping, Sequence

import numpy as np

from sae_pipeline.arrays import Floats, Ints
from sae_pipeline.causal.probe import Probe, Reading, Variants
from sae_pipeline.classifier.logits import softmax

Factors = Mapping[int, float]
"""By feature, what its activations are multiplied by; 0 ablates it."""


def edited_logits(probe: Probe, reading: Reading, edits: Sequence[Factors], only: Ints | None = None) -> Floats:
    """The logits of the headlines of a reading under each of some edits, [n_edits, n_headlines, n_classes].

    Only headlines in which an edited feature fires run again. With `only` [n], ascending, they are those of these
    headlines, [n_edits, n, n_classes].
    """
    firings, logits = reading.firings, np.stack([reading.logits] * len(edits))
    wanted = np.ones(len(reading.logits), bool)
    if only is not None:
        wanted[:] = False
        wanted[only] = True
    wanted_entry = wanted[firings.headline]
    rows: list[Ints] = []
    entries: list[Ints] = []
    levels: list[Floats] = []
    sizes: list[Ints] = []
    for factors in edits:
        by_feature = np.ones(probe.sae.config.d_sae)
        by_feature[list(factors)] = list(factors.values())
        entry = np.flatnonzero((by_feature[firings.feature] != 1.0) & wanted_entry)
        row, size = np.unique(firings.headline[entry], return_counts=True)
        rows.append(row)
        sizes.append(size)
        entries.append(entry)
        levels.append(firings.value[entry] * by_feature[firings.feature[entry]])
    owner = np.repeat(np.arange(len(edits)), [len(row) for row in rows])
    headline = np.concatenate(rows)
    if len(headline):
        starts = np.concatenate([[0], np.cumsum(np.concatenate(sizes))])
        variants = Variants(headline, starts, np.concatenate(entries), np.concatenate(levels))
        logits[owner, headline] = probe.logits(reading, variants)
    return logits if only is None else logits[:, only]


def wrong_share(logits: Floats, labels: Ints) -> Floats:
    """The probability of all classes but the true one, from logits [..., n_headlines, n_classes].

    `labels` are int64 [n_headlines], the result is [..., n_headlines].
    """
    right: Floats = np.take_along_axis(softmax(logits), labels[..., :, None], axis=-1)[..., 0]
    return 1.0 - right
