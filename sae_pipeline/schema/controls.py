"""An SAE beside its controls and its other seeds: `finbert_sae/evidence/<sae_hash>.json`."""

from typing import Literal

from pydantic import Field, FiniteFloat, NonNegativeInt

from sae_pipeline.schema.common import Record, Share
from sae_pipeline.schema.reports import CodeQuality, SpliceReport


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


class ControlsFile(Record):
    """What the costly part of the evaluation says about one SAE."""

    schema_version: Literal[1]
    sae_hash: str
    size: str
    seconds: FiniteFloat
    controls: list[Control] = Field(description="the SAE itself first")
    stability: Stability
