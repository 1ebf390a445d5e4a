"""An SAE beside its baselines and its other seeds: `finbert_sae/evidence/<sae_hash>.json`."""

from typing import Literal

from pydantic import Field, FiniteFloat, NonNegativeInt

from sae_pipeline.schema.common import Record, Share
from sae_pipeline.schema.names import NameScores
from sae_pipeline.schema.reports import CodeQuality, SpliceReport

RivalName = Literal[
    "sae", "frozen decoder", "frozen encoder", "random model", "pca", "neurons", "activations", "bag of words"
]
Measure = Literal["auroc", "fvu"]
Verdict = Literal["better", "not better", "worse"]
Interval = tuple[FiniteFloat, FiniteFloat]
"""The lower and the upper end of a 95 % interval."""


class ProbeScore(Record):
    """The score of a probe on test: a headline's label is predicted from the k most predictive units alone.

    Intervals are of the bootstrap over the test headlines. A field is null where an earlier version did not measure it.
    """

    k: NonNegativeInt | None = Field(description="units per class, chosen on train; null: all units")
    auroc: Share = Field(description="mean over classes of one-against-rest AUROC on test")
    auroc_interval: Interval | None = None
    macro_f1: Share | None = Field(None, description="mean over classes of F1; the class with the highest score wins")
    macro_f1_interval: Interval | None = None
    accuracy: Share | None = None
    accuracy_interval: Interval | None = None
    ridge: FiniteFloat | None = Field(None, description="weight of ‖w‖²/2 against the mean log-loss, chosen on dev")


class Stability(Record):
    """The share of features that trainings with different seeds have in common."""

    seeds: list[int] = Field(description="the SAE's own first")
    mean_cosine: FiniteFloat = Field(
        description="mean over live features and pairs of seeds of the nearest row's cosine"
    )
    matched_share: Share = Field(description="share of live features whose nearest row has a cosine of at least 0.7")
    chance_cosine: FiniteFloat = Field(description="the same mean for random directions")
    found: list[NonNegativeInt] = Field(
        [],
        description="live features of the SAE with a cosine of at least 0.7 in 0, 1, … of the other seeds; empty: an "
        "earlier version did not count them",
    )
    chance_share: Share | None = Field(
        None,
        description="the same share for random directions that have the covariance of the decoder's rows; null: an "
        "earlier version did not measure it",
    )


class Control(Record):
    """The scores of an SAE or of a baseline; those that have codes are compared at the same sparsity."""

    name: RivalName
    n_units: NonNegativeInt | None = Field(None, description="features, directions, dimensions or words")
    code: CodeQuality | None = Field(description="null: it is no code of the activations")
    fvu_interval: Interval | None = Field(None, description="of the bootstrap over the test headlines")
    spliced: SpliceReport | None = Field(
        description="null: its activations are of another network, or it reconstructs none"
    )
    probing: list[ProbeScore] = Field(description="of every k, then of all units")
    names: NameScores | None = Field(
        None,
        description="names found for its units on test, as the analysis finds them, with the true label in place of "
        "the predicted class; null: an earlier version compared them, or its units are no features",
    )


class SeedScores(Record):
    """The same figures of the SAE trained with one seed."""

    seed: int
    sae_hash: str
    l0: FiniteFloat
    fvu: FiniteFloat
    unchanged: Share
    accuracy_spliced: Share
    probing: list[ProbeScore]


class Claim(Record):
    """Whether the SAE is better than a baseline, judged on the same test headlines."""

    against: RivalName
    measure: Measure
    k: NonNegativeInt | None = Field(description="features per class of the SAE's probe; null: all, or no probe")
    rival_k: NonNegativeInt | None = Field(description="units per class of the rival's probe; null: all, or no probe")
    sae: FiniteFloat
    rival: FiniteFloat
    gain: FiniteFloat = Field(description="difference of the two; positive where the SAE is better")
    interval: Interval = Field(description="of the gain: paired bootstrap over the test headlines")
    verdict: Verdict = Field(
        description="better: the interval lies above 0; worse: below 0; a claim holds only where it is better"
    )
    better_seeds: NonNegativeInt | None = Field(None, description="seeds whose SAE is better; null for FVU")
    sentence: str


class ControlsFile(Record):
    """An SAE beside its baselines, and its stability over seeds."""

    schema_version: Literal[2]
    sae_hash: str
    size: str
    seconds: FiniteFloat
    controls: list[Control] = Field(description="the SAE itself first")
    stability: Stability
    seeds: list[SeedScores] = Field([], description="one per seed, the SAE's own first")
    claims: list[Claim] = Field([], description="of the SAE against each baseline")
    n_test: NonNegativeInt | None = Field(None, description="test headlines behind the probes")
    n_resamples: NonNegativeInt | None = Field(None, description="of the bootstrap")
