"""Evidence about an SAE beyond its report: its family, its controls, its stability."""

from typing import Literal

from pydantic import Field, FiniteFloat, NonNegativeInt

from sae_pipeline.schema.common import Record, Share
from sae_pipeline.schema.reports import CodeQuality, SpliceReport

# --- family.json ---------------------------------------------------------------------------------------

FAMILY = "family.json"
Verdict = Literal["match", "split", "absent"]


class FamilyMember(Record):
    """Another SAE on the same activations: another size, or the same with another seed."""

    size: str
    sae_hash: str
    seed: int
    kind: str


class MemberMatches(Record):
    """What has become of each feature of the run's SAE in one other SAE; lists are [d_sae]."""

    feature: list[NonNegativeInt] = Field(description="the other's feature with the nearest decoder row")
    cosine: list[FiniteFloat] = Field(description="of the two decoder rows")
    coactivation: list[Share] = Field(description="tokens on which both fire / on which either fires")
    verdict: list[Verdict] = Field(
        description="match: cosine ≥ 0.7; split: cosine ≥ 0.4 and one fires on at least half of the other's tokens; "
        "else absent"
    )


class FamilyFile(Record):
    """`family.json`: the run's SAE among its sizes and seeds."""

    schema_version: Literal[1]
    sae_hash: str
    d_sae: int
    n_tokens: NonNegativeInt = Field(description="counted tokens that co-activation was counted on")
    members: list[FamilyMember]
    matches: list[MemberMatches] = Field(description="one per member, in their order")


# --- an SAE's evidence (finbert_sae/evidence/<sae_hash>.json) ------------------------------------------


class ProbeScore(Record):
    """k-sparse probing: how well the k most telling features alone say a headline's label."""

    k: NonNegativeInt = Field(description="features per class, chosen on train")
    auroc: Share = Field(description="mean over classes of one-against-rest AUROC on test")


class Stability(Record):
    """How far trainings that differ by seed alone find the same features."""

    seeds: list[int]
    mean_cosine: FiniteFloat = Field(
        description="mean over live features and pairs of seeds of the nearest row's cosine"
    )
    matched_share: Share = Field(description="share of live features whose nearest row has a cosine of at least 0.7")
    chance_cosine: FiniteFloat = Field(description="the same mean for random directions")


class Control(Record):
    """What something that is not an SAE of this classifier scores at the same sparsity."""

    name: Literal["sae", "pca", "neurons", "random model"]
    code: CodeQuality
    spliced: SpliceReport | None = Field(description="null: another network's activations cannot be spliced in")
    probing: list[ProbeScore]


class EvidenceFile(Record):
    """What the costly part of the evaluation says about one SAE."""

    schema_version: Literal[1]
    sae_hash: str
    size: str
    seconds: FiniteFloat
    controls: list[Control] = Field(description="the SAE itself first")
    stability: Stability
