"""The map: like features lie together, the same seed makes the same map, and few features are no error."""

import numpy as np
import pytest
import torch

from sae_pipeline.analysis import layout
from sae_pipeline.analysis.region_names import named_regions

GROUPS, EACH, D_IN = 4, 30, 16


def grouped_rows() -> torch.Tensor:
    """Decoder rows around four directions, the groups one after the other."""
    chance = torch.Generator().manual_seed(0)
    middles = torch.randn(GROUPS, D_IN, generator=chance) * 3
    return middles.repeat_interleave(EACH, 0) + 0.3 * torch.randn(GROUPS * EACH, D_IN, generator=chance)


def test_features_with_like_rows_lie_together() -> None:
    places = layout.place(grouped_rows(), None, 0)
    assert places.shape == (GROUPS * EACH, 2) and places.min() >= 0 and places.max() <= 1
    group = np.repeat(np.arange(GROUPS), EACH)
    middles = np.stack([places[group == g].mean(0) for g in range(GROUPS)])
    nearest = np.linalg.norm(places[:, None] - middles, axis=2).argmin(1)
    assert (nearest == group).all()
    found = layout.regions(places)
    assert found.n == GROUPS
    for g in range(GROUPS):
        assert len(np.unique(found.of_feature[(group == g) & (found.of_feature >= 0)])) == 1


def test_features_that_fire_together_lie_together() -> None:
    """Rows without any structure, of which even and odd ones fire on the same headlines."""
    chance = np.random.default_rng(0)
    rows = torch.randn(120, 64, generator=torch.Generator().manual_seed(0))
    one = np.repeat(np.arange(120), 10)
    other = (one + 2 * chance.integers(1, 30, len(one))) % 120
    places = layout.place(rows, layout.Pairs(one, other, np.full(len(one), 0.8)), 0)
    even, odd = places[::2].mean(0), places[1::2].mean(0)
    nearer = np.linalg.norm(places - even, axis=1) < np.linalg.norm(places - odd, axis=1)
    assert (nearer == (np.arange(120) % 2 == 0)).mean() > 0.95


def test_the_same_seed_makes_the_same_map() -> None:
    rows = grouped_rows()
    assert np.array_equal(layout.place(rows, None, 3), layout.place(rows, None, 3))


@pytest.mark.parametrize("n", [1, 2, 3, 7, 8, 9])
def test_few_features_have_places_and_no_regions(n: int) -> None:
    places = layout.place(torch.randn(n, D_IN, generator=torch.Generator().manual_seed(1)), None, 0)
    assert places.shape == (n, 2) and np.isfinite(places).all()
    assert len(np.unique(places, axis=0)) == n
    assert layout.regions(places).n == 0


def test_rows_that_are_all_equal_or_zero_have_places() -> None:
    for rows in (torch.ones(40, D_IN), torch.zeros(40, D_IN)):
        assert np.isfinite(layout.place(rows, None, 0)).all()


def test_regions_are_named_by_words_that_only_they_have() -> None:
    places = np.random.default_rng(0).uniform(size=(60, 2))
    found = layout.Regions(np.repeat([0, 1], 30), 2)
    words = [["cut", "the", "!"]] * 30 + [["merger", "the", "!"]] * 30
    regions = named_regions(places, found, words, np.arange(60), None, None, [])
    assert [region.name for region in regions] == ["cut", "merger"]
    assert [region.n_features for region in regions] == [30, 30]


def test_regions_are_named_as_the_headlines_write_their_words() -> None:
    places = np.random.default_rng(0).uniform(size=(60, 2))
    found = layout.Regions(np.repeat([0, 1], 30), 2)
    words = [["cfo", "the"]] * 30 + [["cash and $lmgt", "the"]] * 30
    written = ["CFO", "CFO", "Cfo", "Cash", "Cash", "cash", "$LMGT", "The"]
    regions = named_regions(places, found, words, np.arange(60), None, None, written)
    assert [region.name for region in regions] == ["CFO", "cash and $LMGT"]
