"""In how many other seeds features are found: counts over live features, with known answers."""

import numpy as np
import pytest

from sae_pipeline.runs.seed_stability import found_in_seeds_metric, in_other_seeds, seed_stability, times_found
from sae_pipeline.schema.family import FamilyMember, MemberMatches, Verdict


def member(
    size: str, seed: int, verdicts: list[Verdict], chance: float | None = 0.0
) -> tuple[FamilyMember, MemberMatches]:
    n = len(verdicts)
    match = MemberMatches(feature=[0] * n, cosine=[0.5] * n, coactivation=[0.1] * n, verdict=verdicts)
    return FamilyMember(size=size, sae_hash=f"{size}-{seed}", seed=seed, kind="relu", chance=chance), match


def test_known_answers() -> None:
    """Other sizes do not count, features that never fire do not count, a split is not found."""
    family = [
        member("1k", 1, ["match", "match", "split", "match"], chance=0.1),
        member("2k", 0, ["match"] * 4),
        member("1k", 2, ["match", "absent", "absent", "match"], chance=0.3),
    ]
    pairs = in_other_seeds(*map(list, zip(*family, strict=True)), "1k")
    assert times_found(pairs, 4).tolist() == [2, 1, 0, 2]
    found = seed_stability(pairs, np.array([True, True, True, False]))
    assert found is not None
    assert (found.seeds, found.found) == ([1, 2], [1, 1, 1])
    assert found.share == pytest.approx(1 / 3) and found.low < 1 / 3 < found.high
    assert found.by_seed == pytest.approx([2 / 3, 1 / 3]) and found.chance == pytest.approx(0.2)
    assert "the 2 trainings with other seeds (1, 2)" in found_in_seeds_metric(found.seeds).description


def test_nothing_to_count() -> None:
    """No other seed, no feature that fires, and a file of an earlier version without chance."""
    assert seed_stability([], np.ones(3, bool)) is None
    one = [member("1k", 1, ["match"] * 3, chance=None)]
    pairs = in_other_seeds(*map(list, zip(*one, strict=True)), "1k")
    assert seed_stability(pairs, np.zeros(3, bool)) is None
    found = seed_stability(pairs, np.ones(3, bool))
    assert found is not None and found.chance is None and found.share == 1
