"""The counterparts of a run's features in SAEs of other sizes and seeds: `family.json`."""

from typing import Literal

from pydantic import Field, FiniteFloat, NonNegativeInt

from sae_pipeline.schema.common import MadeFrom, Record, Share

FAMILY = "family.json"
Verdict = Literal["match", "split", "absent"]


class FamilyMember(Record):
    """Another SAE on the same activations: another size, or the same with another seed."""

    size: str
    sae_hash: str
    seed: int
    kind: str
    chance: Share | None = Field(
        None,
        description="share of random directions, with the covariance of the run's decoder rows, that have a match in "
        "it; null: an earlier version did not measure it",
    )


class MemberMatches(Record):
    """The counterparts of the run's features in one other SAE; lists are [d_sae]."""

    feature: list[NonNegativeInt] = Field(description="feature of the other SAE with the nearest decoder row")
    cosine: list[FiniteFloat] = Field(description="cosine of the two decoder rows")
    coactivation: list[Share] = Field(description="tokens on which both fire / on which either fires")
    verdict: list[Verdict] = Field(
        description="match: cosine ≥ 0.7; split: cosine ≥ 0.4 and one fires on at least half of the other's tokens; "
        "else absent"
    )


class SeedStability(Record):
    """The features that fire in a run, by the number of trainings with other seeds in which they have a match."""

    seeds: list[int] = Field(description="of the other trainings")
    found: list[NonNegativeInt] = Field(description="features found in 0, 1, … of them; one number more than seeds")
    share: Share = Field(description="share of features that are found in all of them: the stable ones")
    low: Share = Field(description="lower end of its 95 % interval (Wilson, over features)")
    high: Share
    by_seed: list[Share] = Field(description="share of features that are found in each of them")
    chance: Share | None = Field(
        description="mean share of random directions, with the covariance of the decoder's rows, that have a match; "
        "null: an earlier version did not measure it"
    )


class FamilyFile(MadeFrom):
    """`family.json`: the counterparts of a run's features in SAEs of other sizes and seeds."""

    d_sae: int
    n_tokens: NonNegativeInt = Field(description="counted tokens on which co-activation was counted")
    members: list[FamilyMember]
    matches: list[MemberMatches] = Field(description="one per member, in their order")
    stability: SeedStability | None = Field(None, description="null: there is no training with another seed")
