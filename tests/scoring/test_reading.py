"""Active entries summed up per text, beside a plain loop over a dense matrix."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sae_pipeline.sae.firings import Firings
from sae_pipeline.scoring.reading import TextFeatures

N_FEATURES = 5


@st.composite
def texts(draw: st.DrawFn) -> list[np.ndarray]:
    """Texts as matrices [n_tokens, N_FEATURES] of activations, most of which are 0; some have no token."""
    value = st.sampled_from([0.0, 0.0, 0.25, 0.5, 0.5, 3.0])
    lengths = draw(st.lists(st.integers(0, 4), max_size=5))
    return [
        np.array(draw(st.lists(value, min_size=n * N_FEATURES, max_size=n * N_FEATURES)), np.float32).reshape(
            n, N_FEATURES
        )
        for n in lengths
    ]


def summed_up(acts: list[np.ndarray], members: list[int]) -> TextFeatures:
    """What our code makes of some of the texts, whose entries come in any order."""
    entries = [
        (text, position, feature, acts[text][position, feature])
        for text in members
        for position, feature in zip(*np.nonzero(acts[text]), strict=True)
    ]
    np.random.default_rng(0).shuffle(entries)
    columns = np.array(entries, np.float64).reshape(-1, 4).T
    firings = Firings.collect(*columns[:3].astype(np.int64), columns[3].astype(np.float32))
    return TextFeatures.of(firings, np.array([len(text) for text in acts], np.int64))


def by_loop(acts: list[np.ndarray]) -> list[tuple[int, int, float, float, int]]:
    """Text, feature, max, mean and count by plain loops."""
    return [
        (text, feature, matrix[:, feature].max(), matrix[:, feature].mean(), np.count_nonzero(matrix[:, feature]))
        for text, matrix in enumerate(acts)
        for feature in range(N_FEATURES)
        if matrix[:, feature].any()
    ]


@given(acts=texts(), data=st.data())
def test_texts_are_summed_up_as_by_loops(acts: list[np.ndarray], data: st.DataObject) -> None:
    """In whatever batches texts are read, the result is that of the loops, sorted by text and feature."""
    order = data.draw(st.permutations(range(len(acts))))
    cut = data.draw(st.integers(0, len(acts)))
    found = TextFeatures.joined([summed_up(acts, sorted(order[:cut])), summed_up(acts, sorted(order[cut:]))])
    expected = by_loop(acts)
    assert list(zip(found.text, found.feature, found.count, strict=True)) == [(t, f, n) for t, f, _, _, n in expected]
    np.testing.assert_array_equal(found.max, [row[2] for row in expected])
    np.testing.assert_allclose(found.mean, [row[3] for row in expected], rtol=1e-6)


@given(acts=texts(), features=st.lists(st.integers(0, N_FEATURES - 1), unique=True))
def test_maxima_of_chosen_features(acts: list[np.ndarray], features: list[int]) -> None:
    """Chosen features stand in the order in which they are named, and are 0 where they are silent."""
    dense = summed_up(acts, list(range(len(acts)))).maxima(features, len(acts))
    expected = [[matrix[:, feature].max(initial=0) for feature in features] for matrix in acts]
    np.testing.assert_array_equal(dense, np.array(expected, np.float32).reshape(dense.shape))
