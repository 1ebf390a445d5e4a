"""Predictions with the covered activations replaced, and with features removed one after another."""

from collections.abc import Sequence

import numpy as np
import torch

from sae_pipeline.arrays import Floats, Ints
from sae_pipeline.causal.probe import Probe, Reading, Variants


@torch.no_grad()
def spliced(probe: Probe, reading: Reading, seed: int = 0) -> dict[str, Floats]:
    """Logits [n_headlines, n_classes] with the covered activations replaced.

    By the reconstruction ("sae"), nothing ("zero"), the mean of the SAE's training tokens ("mean"), and covered
    tokens drawn from anywhere in the reading ("resample").
    """
    x = reading.hidden[probe.covered(reading)]
    draw = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed)).to(x.device)
    rebuilt = torch.cat([probe.sae(chunk) for chunk in x.split(512)])
    replacements = {"sae": rebuilt, "zero": x * 0, "mean": probe.sae.mean.expand_as(x), "resample": x[draw]}
    return {name: probe.replaced_logits(reading, replacement) for name, replacement in replacements.items()}


def curve(
    probe: Probe, reading: Reading, headlines: Sequence[int], ranked: Sequence[Ints], sizes: Sequence[int], keep: bool
) -> Floats:
    """Logits [n_sizes, n_headlines, n_classes] with the first n `ranked` groups ablated, or only they kept."""
    n_headlines = len(headlines)
    groups = [g[n:] if keep else g[:n] for n in sizes for g in ranked]
    variants = Variants.of_groups(reading.firings, np.tile(np.asarray(headlines), len(sizes)), groups)
    return probe.logits(reading, variants).reshape(len(sizes), n_headlines, -1)
