"""The strongest features of a headline against brute force over a dense array."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sae_pipeline.analysis.headline_records import strongest_features
from tests.analysis.dense import DENSE, N_HEADLINES, firings_of


@given(DENSE, st.integers(1, 7))
@settings(max_examples=100, deadline=None)
def test_strongest_features_of_a_headline(dense: np.ndarray, k: int) -> None:
    """Top k by maximum over positions, ties to the lower feature; position of the first maximum."""
    firings = firings_of(dense)
    groups = strongest_features(firings, k)
    found = [
        (int(firings.group_headline[g]), int(firings.group_feature[g]), int(firings.position[firings.group_argmax[g]]))
        for g in groups
    ]
    expected = []
    for h in range(N_HEADLINES):
        peak = dense[h].max(0)
        for f in sorted(np.flatnonzero(peak), key=lambda f: (-peak[f], f))[:k]:
            expected.append((h, int(f), int(dense[h, :, f].argmax())))
    assert found == expected
