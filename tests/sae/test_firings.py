"""The lists of active entries against loops over dense activations."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sae_pipeline.sae.firings import Firings
from tests.analysis.dense import DENSE, firings_of

Group = tuple[int, int, list[int], list[float], float, int]


def groups_of(firings: Firings) -> list[Group]:
    """Each group as headline, feature, positions, values, largest value and the position where it first occurs."""
    groups = []
    for g, (start, length) in enumerate(zip(firings.group_start, firings.group_length, strict=True)):
        entries = slice(start, start + length)
        assert set(firings.headline[entries]) == {firings.group_headline[g]}
        assert set(firings.feature[entries]) == {firings.group_feature[g]}
        positions, values = firings.position[entries].tolist(), firings.value[entries].tolist()
        peak = int(firings.position[firings.group_argmax[g]])
        owner = int(firings.group_headline[g]), int(firings.group_feature[g])
        groups.append((*owner, positions, values, float(firings.group_max[g]), peak))
    return groups


def expected_groups(dense: np.ndarray) -> list[Group]:
    """The groups of activations [n_headlines, n_positions, d_sae], by headline, then feature."""
    groups = []
    for headline, feature in np.ndindex(dense.shape[0], dense.shape[2]):
        column = dense[headline, :, feature]
        if column.any():
            positions = np.flatnonzero(column)
            peak = int(column.argmax())
            values = column[positions].tolist()
            groups.append((headline, feature, positions.tolist(), values, float(column[peak]), peak))
    return groups


@given(DENSE)
def test_groups_are_features_in_headlines(dense: np.ndarray) -> None:
    """Entries in any order are grouped and sorted, each group with its first maximum."""
    assert groups_of(firings_of(dense)) == expected_groups(dense)


@given(DENSE, st.integers(0, 2**31))
def test_take_keeps_groups(dense: np.ndarray, seed: int) -> None:
    """Some of the groups, chosen by index, are unchanged."""
    groups = expected_groups(dense)
    chosen = np.flatnonzero(np.random.default_rng(seed).random(len(groups)) < 0.5)
    taken = firings_of(dense).take(chosen)
    assert groups_of(taken) == [groups[g] for g in chosen]


@given(st.lists(DENSE, max_size=3))
def test_chain_keeps_groups(parts: list[np.ndarray]) -> None:
    """The groups of several parts follow one another, also without any part."""
    chained = Firings.chain(firings_of(dense) for dense in parts)
    assert groups_of(chained) == [group for dense in parts for group in expected_groups(dense)]


def test_indices_too_large_for_one_key() -> None:
    """Where headline, feature and position do not fit into one key of 63 bits, entries are sorted all the same."""
    headline = np.array([1 << 40, 0, 0, 1 << 40])
    feature = np.array([3, 1 << 20, 7, 2])
    position = np.array([0, 1 << 10, 5, 9])
    firings = Firings.collect(headline, position, feature, np.array([1.0, 2.0, 3.0, 4.0], np.float32))
    assert firings.feature.tolist() == [7, 1 << 20, 2, 3]
    assert firings.value.tolist() == [3.0, 2.0, 4.0, 1.0]
