"""In how many trainings with other seeds each feature of a run is found again."""

from collections.abc import Sequence

import numpy as np

from sae_pipeline.arrays import Flags, Ints
from sae_pipeline.intervals import share_interval
from sae_pipeline.schema.family import FamilyMember, MemberMatches, SeedStability
from sae_pipeline.schema.run import MetricInfo

FOUND_IN_SEEDS = "found_in_seeds"  # the metric's name
Pairs = Sequence[tuple[FamilyMember, MemberMatches]]


def in_other_seeds(members: Sequence[FamilyMember], matches: Sequence[MemberMatches], size: str) -> Pairs:
    """The members of the run's own size, which differ from its SAE by their seed alone, with their matches."""
    return [(one, match) for one, match in zip(members, matches, strict=True) if one.size == size]


def found_in_seeds_metric(seeds: Sequence[int]) -> MetricInfo:
    """The metric that counts the other seeds in which a feature is found."""
    named = ", ".join(map(str, seeds))
    trainings = f"the {len(seeds)} trainings with other seeds ({named})" if len(seeds) > 1 else f"the seed {named}"
    return MetricInfo(
        name=FOUND_IN_SEEDS,
        label="Found in other seeds",
        description=f"In how many of {trainings} a decoder row has a cosine of at least 0.7 with that of the feature.",
    )


def times_found(seeds: Pairs, d_sae: int) -> Ints:
    """In how many other seeds each feature has a match, int64 [d_sae]."""
    found = np.zeros(d_sae, np.int64)
    for _, match in seeds:
        found += np.array([verdict == "match" for verdict in match.verdict])
    return found


def seed_stability(seeds: Pairs, live: Flags) -> SeedStability | None:
    """Sum up in how many other seeds the features that fire are found; `live`, bool [d_sae], says which fire.

    None if there is no other seed, and if no feature fires.
    """
    n_live = int(live.sum())
    if not seeds or not n_live:
        return None
    found = times_found(seeds, len(live))
    counts = np.bincount(found[live], minlength=len(seeds) + 1)
    low, high = share_interval(int(counts[-1]), n_live)
    chances = [one.chance for one, _ in seeds if one.chance is not None]
    by_seed = [np.mean([verdict == "match" for verdict in np.array(match.verdict)[live]]) for _, match in seeds]
    return SeedStability(
        seeds=[one.seed for one, _ in seeds],
        found=counts.tolist(),
        share=counts[-1] / n_live,
        low=low,
        high=high,
        by_seed=by_seed,
        chance=float(np.mean(chances)) if chances else None,
    )
