"""What small changes of a text do to predictions and features: `contrast.json`."""

from typing import Any, Literal

from pydantic import Field, FiniteFloat, NonNegativeInt

from sae_pipeline.schema.common import MadeFrom, Record, Share

CONTRAST = "contrast.json"
Expectation = Literal["same", "toward", "away"]
"""same: the prediction stays (an invariance test); toward, away: the probability of a class rises, falls."""

PairSource = Literal["headlines", "templates", "table"]


class ShareOfPairs(Record):
    """A share of a kind's pairs with its 95 % interval (Wilson)."""

    n: NonNegativeInt = Field(description="pairs that count")
    share: Share
    low: Share
    high: Share


class FeatureShift(Record):
    """A feature in the two versions of one pair."""

    feature: NonNegativeInt
    word: str = Field(description="where it fires most, in the version in which it fires more")
    before: FiniteFloat = Field(description="maximum over the text; 0: silent")
    after: FiniteFloat
    effects: list[FiniteFloat] = Field(description="[n_classes] estimate of what its change does to the centred logits")


class ContrastPair(Record):
    """A text before and after a change."""

    headline: NonNegativeInt | None = Field(description="0-based index in the run; null: from a template or a table")
    before: str
    after: str
    before_spans: list[tuple[NonNegativeInt, NonNegativeInt]] = Field(
        description="what the change removes; half open, in code points"
    )
    after_spans: list[tuple[NonNegativeInt, NonNegativeInt]] = Field(description="what the change puts in")
    target: NonNegativeInt | None = Field(description="the class of the expectation; null: the prediction stays")
    predictions: tuple[NonNegativeInt, NonNegativeInt] = Field(description="before and after")
    probabilities: tuple[list[Share], list[Share]] = Field(description="before and after, [n_classes] each")
    as_expected: bool
    features: list[FeatureShift] = Field(description="those whose change has the largest effects")


class MovedFeature(Record):
    """A feature that a kind of change moves, over all pairs of the kind."""

    feature: NonNegativeInt
    word: str = Field(description="the word on which it most often fires most, where it fires more")
    n_moved: NonNegativeInt = Field(description="pairs in which its activation differs")
    n_switched: NonNegativeInt = Field(description="pairs in which it fires in one version only")
    shift: FiniteFloat = Field(description="mean over all pairs of the largest |effect| on a class")
    effects: list[FiniteFloat] = Field(
        description="[n_classes] mean over the pairs that move it, of (F where it fires more − F where it fires less) "
        "times the mean gradient of the centred logit, with F its activations summed over the text"
    )
    low: list[FiniteFloat] | None = Field(description="95 % (normal); null: it moves in fewer than 5 pairs")
    high: list[FiniteFloat] | None
    n_explained: NonNegativeInt = Field(
        description="tested pairs whose predictions become equal when it alone is ablated where it fires more"
    )


class ExplainedPairs(Record):
    """How many of the tested pairs some features explain: their two predictions are equal without these features."""

    n_features: NonNegativeInt = Field(description="the features with the largest `shift`, as many as these")
    n_pairs: NonNegativeInt = Field(
        description="pairs whose predictions are equal when all are ablated where they fire more"
    )


class KindOfChange(Record):
    """The pairs of one kind of change, from one source."""

    kind: str
    label: str
    description: str
    source: PairSource
    expectation: Expectation
    n_pairs: NonNegativeInt
    changed: ShareOfPairs = Field(description="pairs whose predicted class changes")
    as_expected: ShareOfPairs = Field(
        description="same: the predicted class stays; toward, away: the class is predicted afterwards or not, or its "
        "probability rises or falls"
    )
    transitions: list[list[NonNegativeInt]] = Field(description="[prediction before][prediction after], pairs")
    mean_shift: list[FiniteFloat] = Field(description="[n_classes] mean change of the probability, after − before")
    n_tested: NonNegativeInt = Field(description="pairs with a changed prediction on which ablations were tried")
    explained: list[ExplainedPairs]
    features: list[MovedFeature] = Field(description="largest `shift` first")
    pairs: list[ContrastPair] = Field(description="some of the pairs: those against expectation first")


class ContrastFile(MadeFrom):
    """`contrast.json`: kinds of change, what is expected of them, and what they do."""

    device: str
    seconds: FiniteFloat
    config: dict[str, Any]
    labels: list[str] = Field(description="the classes, in the order of the probabilities")
    n_headlines: NonNegativeInt = Field(description="headlines of the run that were changed")
    left_out: list[str] = Field(description="a sentence for each kind, or group of kinds, without pairs")
    kinds: list[KindOfChange] = Field(min_length=1)
