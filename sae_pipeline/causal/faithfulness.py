"""How faithful the features are: predictions from them alone, and as they are removed one after another."""

from collections.abc import Sequence

import numpy as np
import torch

from sae_pipeline.arrays import Floats, Ints
from sae_pipeline.causal.probe import Probe, Reading, Variants
from sae_pipeline.evaluation.splicing import removals


@torch.no_grad()
def spliced(probe: Probe, reading: Reading, seed: int = 0) -> dict[str, Floats]:
    """Logits [n_headlines, n_classes] with the activations of the counted tokens replaced.

    The keys name the replacement: "sae" is the reconstruction, "zero", "mean" and "resample" are those of `removals`.
    """
    acts = probe.acts(reading)
    replacements = [("sae", probe.rebuilt(reading)), *removals(acts, probe.sae.mean, seed).items()]
    return {name: probe.replaced_logits(reading, replacement) for name, replacement in replacements}


def curve(
    probe: Probe, reading: Reading, headlines: Sequence[int], ranked: Sequence[Ints], sizes: Sequence[int], keep: bool
) -> Floats:
    """Logits [n_sizes, n_headlines, n_classes] with the first n of each headline's `ranked` groups ablated.

    With `keep` all groups but these are ablated.
    """
    groups = [g[n:] if keep else g[:n] for n in sizes for g in ranked]
    variants = Variants.of_groups(reading.firings, np.tile(np.asarray(headlines), len(sizes)), groups)
    return probe.logits(reading, variants).reshape(len(sizes), len(headlines), -1)
