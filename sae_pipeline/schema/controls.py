"""An SAE beside its controls and its other seeds: `finbert_sae/evidence/<sae_hash>.json`."""

from typing import Literal

from pydantic import Field, FiniteFloat, NonNegativeInt

from sae_pipeline.schema.common import Record, Share
from sae_pipeline.schema.names import NameScores
from sae_pipeline.schema.reports import CodeQuality, SpliceReport


class ProbeScore(Record):
    """The score of k-sparse probing: a headline's label is predicted from the k most predictive features alone."""

    k: NonNegativeInt = Field(description="features per class, chosen on train")
    auroc: Share = Field(description="mean over classes of one-against-rest AUROC on test")


class Stability(Record):
    """The share of features that trainings with different seeds have in common."""

    seeds: list[int]
    mean_cosine: FiniteFloat = Field(
        description="mean over live features and pairs of seeds of the nearest row's cosine"
    )
    matched_share: Share = Field(description="share of live features whose nearest row has a cosine of at least 0.7")
    chance_cosine: FiniteFloat = Field(description="the same mean for random directions")


class Control(Record):
    """The scores of an SAE or of a control at the same sparsity."""

    name: Literal["sae", "pca", "neurons", "random model"]
    code: CodeQuality
    spliced: SpliceReport | None = Field(description="null: activations of another network cannot be spliced in")
    probing: list[ProbeScore]
    names: NameScores | None = Field(
        None,
        description="names found for its units on test, as the analysis finds them, with the true label in place of "
        "the predicted class; null: an earlier version compared them",
    )


class ControlsFile(Record):
    """An SAE beside its controls, and its stability over seeds."""

    schema_version: Literal[2]
    sae_hash: str
    size: str
    seconds: FiniteFloat
    controls: list[Control] = Field(description="the SAE itself first")
    stability: Stability
