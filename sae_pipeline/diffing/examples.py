"""The headlines that show a feature in two models side by side."""

import numpy as np
import torch

from sae_pipeline.arrays import Floats, Ints
from sae_pipeline.diffing.crosscoder import Crosscoder, JointReading
from sae_pipeline.schema.common import PER_HEADLINE
from sae_pipeline.schema.diff import DiffExample


def examples(
    crosscoder: Crosscoder, joint: JointReading, numbers: Ints, feature: int, n: int, before: int, after: int
) -> list[DiffExample]:
    """The n headlines in which a feature is strongest, with how far each model goes in its direction.

    `numbers` are those of the reading's headlines in the run. The distance is that of the activation at a token along
    the feature's direction in that model, with all other features taken out: ⟨x_norm − x̂, u⟩ + f·‖W_dec‖, at least 0.
    """
    firings = joint.firings
    own = np.flatnonzero(firings.group_feature == feature)
    strongest = own[np.argsort(-firings.group_max[own], kind="stable")[:n]]
    found = []
    for group in strongest.tolist():
        row = int(firings.group_headline[group])
        sites = np.arange(*np.searchsorted(joint.headline, [row, row + 1]))
        start = firings.group_start[group]
        entries = slice(start, start + firings.group_length[group])
        f = np.zeros(len(sites))
        f[np.searchsorted(joint.position[sites], firings.position[entries])] = firings.value[entries]
        one_each = crosscoder.sae.config.positions in PER_HEADLINE
        found.append(
            DiffExample(
                headline=int(numbers[row]),
                positions=[] if one_each else joint.position[sites].tolist(),
                before=_along(crosscoder, joint, before, feature, sites, f),
                after=_along(crosscoder, joint, after, feature, sites, f),
            )
        )
    return found


def _along(
    crosscoder: Crosscoder, joint: JointReading, model: int, feature: int, sites: Ints, f: Floats
) -> list[float]:
    """How far the activations of one model go in the feature's direction at some sites, [n_sites]."""
    direction = crosscoder.directions(model)[feature]
    strength = float(direction.norm())
    unit = direction / max(strength, 1e-9)
    rest = joint.residuals[model][torch.from_numpy(sites).to(direction.device)] @ unit
    return [float(f"{value:.4g}") for value in np.maximum(rest.cpu().double().numpy() + f * strength, 0.0)]
