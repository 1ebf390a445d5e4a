"""The headlines selected for a feature against brute force over a dense array."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from sae_pipeline.analysis.selection import Selection, sampling_scores, strength_scores
from tests.analysis.dense import D_SAE, DENSE, IDS, N_HEADLINES, firings_of


@given(DENSE, st.integers(1, 4), st.integers(1, N_HEADLINES), st.booleans(), st.booleans())
@settings(max_examples=100, deadline=None)
def test_selected_headlines_of_a_feature(dense: np.ndarray, k: int, block: int, tight: bool, fair: bool) -> None:
    """The k best headlines, ties to the earlier, whatever the blocks, the merging and how often it compacts."""
    parts = [Selection(D_SAE, k), Selection(D_SAE, k)]
    everything = firings_of(dense)
    rank = (sampling_scores(everything, 0, IDS) if fair else strength_scores(everything)).tolist()
    scores = dict(zip(zip(everything.group_headline, everything.group_feature, strict=True), rank, strict=True))
    for n, start in enumerate(range(0, N_HEADLINES, block)):
        firings = firings_of(dense[start : start + block], first=start)
        if tight:
            parts[n % 2].limit = 1
        ids = IDS[start : start + block]
        parts[n % 2].add(firings, sampling_scores(firings, start, ids) if fair else strength_scores(firings))
    kept, groups = (parts[1] + parts[0]).finish(np.arange(D_SAE))
    for f in range(D_SAE):
        peak = dense[:, :, f].max(1)
        expected = sorted(np.flatnonzero(peak), key=lambda h, f=f: (-scores[h, f], h))[:k]
        members = groups.get(f, [])
        assert kept.group_headline[members].tolist() == expected
        for g, h in zip(members, expected, strict=True):
            span = slice(kept.group_start[g], kept.group_start[g] + kept.group_length[g])
            assert kept.position[span].tolist() == np.flatnonzero(dense[h, :, f]).tolist()
            np.testing.assert_array_equal(kept.value[span], dense[h, kept.position[span], f])
            assert kept.position[kept.group_argmax[g]] == dense[h, :, f].argmax()


def test_sampling_scores_are_uniform_and_fixed() -> None:
    """Scores depend on headline and feature alone, are uniform, and differ between features."""
    dense = np.ones((200, 1, 50), np.float32)
    ids = [f"{n * 0x5851F42D4C95 % 2**48:012x}" for n in range(200)]
    drawn = sampling_scores(firings_of(dense), 0, ids).reshape(200, 50)
    assert scipy_stats.kstest(drawn.ravel() / 2**32, "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(drawn[:, 0], drawn[:, 1])[0, 1]) < 0.25
    np.testing.assert_array_equal(
        sampling_scores(firings_of(dense[50:], 50), 50, ids[50:]).reshape(150, 50), drawn[50:]
    )
