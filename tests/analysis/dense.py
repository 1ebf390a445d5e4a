"""Dense activations [n_headlines, n_positions, d_sae] that the tests of this folder compute by brute force."""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sae_pipeline.sae.firings import Firings

N_HEADLINES, N_POSITIONS, D_SAE = 6, 4, 5
VALUES = st.sampled_from([0.0, 0.0, 0.0, 0.5, 1.0, 1.0, 2.5, 150.0, 1e-5])
IDS = [f"{n * 0x1B873593 % 2**48:012x}" for n in range(1, N_HEADLINES + 1)]
DENSE = arrays(np.float32, (N_HEADLINES, N_POSITIONS, D_SAE), elements=VALUES)


def firings_of(dense: np.ndarray, first: int = 0, seed: int = 0) -> Firings:
    """Active entries of [n_headlines, n_positions, d_sae], handed over in random order."""
    headline, position, feature = dense.nonzero()
    order = np.random.default_rng(seed).permutation(len(headline))
    value = dense[headline, position, feature]
    return Firings.collect(headline[order] + first, position[order], feature[order], value[order])
