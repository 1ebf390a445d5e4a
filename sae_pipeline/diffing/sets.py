"""What ablating the features that changed does to a classifier, beside as many others that contribute as much."""

import numpy as np
from tqdm.auto import tqdm

from sae_pipeline.arrays import Flags, Floats, Ints
from sae_pipeline.causal.edited import Factors, edited_logits
from sae_pipeline.causal.probe import Probe, Reading
from sae_pipeline.schema.diff import SetChange, SetEffect, SetRole

_NEAREST = 20  # features of about the same contribution, of which a random one is drawn
_TINY = 1e-9


def set_effect(
    change: SetChange,
    role: SetRole,
    probe: Probe,
    reading: Reading,
    rows: Ints,
    labels: Ints,
    features: Ints,
    live: Flags,
    n: int,
    seed: int,
) -> SetEffect:
    """Ablate `features` together in some headlines, and `n` random sets of other live features.

    `rows` [n_rows] are headlines of the reading, and `labels` [n_rows] theirs. A random set has a feature for each of
    `features` whose contribution, Σ f·‖W_dec‖ over all headlines, is about the same.
    """
    firings = reading.firings
    lengths = probe.sae.W_dec.norm(dim=1).cpu().double().numpy()
    total = np.bincount(firings.feature, firings.value, len(lengths)) * lengths
    source = np.random.default_rng(seed)
    free = np.flatnonzero(live & (total > 0) & ~np.isin(np.arange(len(total)), features))
    before = reading.logits[rows].argmax(1)

    def after(members: Ints) -> Ints:
        edits: Factors = dict.fromkeys(members.tolist(), 0.0)
        predicted: Ints = edited_logits(probe, reading, [edits], rows)[0].argmax(1)
        return predicted

    ablated = after(features)
    sets = [_alike(total, features, free, source) for _ in range(n)]
    others = [after(members) for members in tqdm(sets, desc=f"{change} in {role}", unit="set", leave=False)]
    return SetEffect(
        change=change,
        role=role,
        n_features=len(features),
        n_headlines=len(rows),
        accuracy_before=float((before == labels).mean()),
        accuracy_after=float((ablated == labels).mean()),
        changed=float((ablated != before).mean()),
        random_accuracies=[float((one == labels).mean()) for one in others],
        random_changed=[float((one != before).mean()) for one in others],
        random_contribution=float(
            np.mean([total[members].sum() for members in sets]) / max(total[features].sum(), _TINY)
        ),
    )


def _alike(total: Floats, features: Ints, free: Ints, source: np.random.Generator) -> Ints:
    """A random one of the `free` features for each of `features`, of about the same total contribution."""
    chosen: list[int] = []
    for feature in features.tolist():
        left = free[~np.isin(free, chosen)]
        nearest = left[np.argsort(np.abs(total[left] - total[feature]), kind="stable")[:_NEAREST]]
        if len(nearest):
            chosen.append(int(source.choice(nearest)))
    return np.array(chosen, np.int64)
