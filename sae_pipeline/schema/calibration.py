"""How far probabilities can be trusted, and which headlines to leave unanswered: `calibration.json`."""

from typing import Any, Literal

from pydantic import Field, FiniteFloat, NonNegativeInt, PositiveFloat

from sae_pipeline.schema.common import MadeFrom, Record, Share

CALIBRATION = "calibration.json"
Signal = Literal["confidence", "features", "both"]
"""confidence: the highest probability; features: the shares of a prediction's support that come from doubtful ones."""

AbstentionVerdict = Literal["helps", "unproven", "hurts", "unknown"]
"""Whether features add to confidence. helps, hurts: the interval of the difference is on one side of 0; unknown: no
feature is doubtful, so there is nothing to compare."""


class ReliabilityBin(Record):
    """Some of the headlines, with neighbouring confidence."""

    n_headlines: NonNegativeInt
    confidence: Share = Field(description="mean of the highest probability")
    accuracy: Share
    low: Share = Field(description="lower end of the 95 % interval of the accuracy (Wilson)")
    high: Share


class Reliability(Record):
    """How well probabilities fit what is true, on headlines that chose nothing."""

    confidence: Share = Field(description="mean of the highest probability")
    nll: FiniteFloat = Field(description="mean of −ln p of the true class, in nats")
    brier: FiniteFloat = Field(description="mean over headlines of Σ over classes (p − truth)²")
    ece: Share = Field(description="expected calibration error: mean over bins of |confidence − accuracy|")
    bins: list[ReliabilityBin] = Field(description="of about as many headlines each, by rising confidence")


class ErrorFeature(Record):
    """A feature that fires in more of the errors than of the other headlines."""

    feature: NonNegativeInt
    n_headlines: NonNegativeInt = Field(description="in which it fires, of those that fit")
    n_errors: NonNegativeInt = Field(description="of these, predicted wrongly")
    p: Share = Field(description="Fisher's exact test, one-sided; not adjusted for the number of features")


class Ranking(Record):
    """Answering the headlines in the order of a signal, the surest first."""

    signal: Signal
    area: Share = Field(description="area under the risk-coverage curve: mean error rate over all coverages")
    interval: tuple[FiniteFloat, FiniteFloat] = Field(description="95 %, by a bootstrap over headlines")
    beyond_confidence: tuple[FiniteFloat, FiniteFloat] | None = Field(
        description="95 % of the area minus that of confidence, paired; null for confidence itself"
    )
    error_rates: list[Share] = Field(description="among the surest headlines, at each of `coverages`")


class CalibrationFile(MadeFrom):
    """`calibration.json`: what was fitted on some headlines of a run, and what it is worth on the others."""

    device: str
    seconds: FiniteFloat
    config: dict[str, Any]
    labels: list[str]
    n_fit: NonNegativeInt = Field(description="headlines on which all is fitted")
    n_fit_errors: NonNegativeInt = Field(description="of these, predicted wrongly")
    n_test: NonNegativeInt = Field(description="headlines that chose nothing")
    n_test_errors: NonNegativeInt
    temperature: PositiveFloat = Field(description="by which logits are divided; above 1, probabilities were too sure")
    before: Reliability
    after: Reliability = Field(description="with the temperature")
    n_compared: NonNegativeInt = Field(description="features whose share of the errors was tested")
    error_features: list[ErrorFeature] = Field(description="those with p < 0.05, the smallest p first")
    seeds: list[int] = Field(description="of the other trainings in which `family` looked for features")
    n_unstable: NonNegativeInt | None = Field(
        description="features that fire in the headlines that fit, and that not all of `seeds` have; null: no seeds"
    )
    coverages: list[Share] = Field(description="shares of headlines that are answered, falling")
    rankings: list[Ranking]
    verdict: AbstentionVerdict
