"""The names that the analysis finds for features, and how well each predicts where its feature fires: `names.json`."""

from typing import Annotated, Literal

from pydantic import Field, FiniteFloat, NonNegativeInt

from sae_pipeline.schema.common import MadeWith, Record, Share

NAMES = "names.json"
MAX_NAME = 200  # characters
MAX_PREDICATES = 3  # of a rule

PredicateKind = Literal["word", "phrase", "stem", "shape", "position", "class", "lexicon"]
Text = Annotated[str, Field(min_length=1, max_length=MAX_NAME)]


class Predicate(Record):
    """Something that a headline has or has not."""

    kind: PredicateKind
    value: Text = Field(description="case-folded words, a stem, or the name of a shape, position, class or category")


class FeatureName(Record):
    """The rule that best predicts where a feature fires, its name, and its score on headlines that chose nothing."""

    feature: NonNegativeInt
    name: Text | None = Field(description="null where no rule reaches the least score and F1")
    rule: list[Predicate] = Field(
        max_length=MAX_PREDICATES, description="the name holds in a headline that has one of these; empty: no rule"
    )
    above: FiniteFloat = Field(
        ge=0, description="the feature fires strongly in a headline where its maximum is above this"
    )
    score: Share | None = Field(
        description="AUROC of the rule against firing strongly, on the testing headlines: 0.5 is chance; null: untested"
    )
    low: Share | None = Field(description="lower end of the score's 95 % interval")
    high: Share | None
    f1: Share | None = Field(description="F1 of the rule on the testing headlines")
    n: NonNegativeInt = Field(description="testing headlines in which the feature fires strongly")
    n_rule: NonNegativeInt = Field(description="testing headlines in which the rule holds")
    shuffled: Share | None = Field(description="the score of another feature's rule for this feature")


ControlKind = Literal["names", "shuffled", "neurons", "pca", "random model", "frozen decoder", "frozen encoder"]


class NameScores(Record):
    """The held-out scores of the names of some features, or of a control."""

    kind: ControlKind
    n_features: NonNegativeInt = Field(description="features that fire")
    n_scored: NonNegativeInt = Field(description="of them, those that were tested")
    share_named: Share = Field(description="share of features that fire whose name reaches the least score")
    quartiles: list[Share] | None = Field(
        min_length=5, max_length=5, description="least, lower quartile, median, upper quartile, largest score"
    )
    histogram: list[NonNegativeInt] = Field(
        min_length=20, max_length=20, description="scored features per 0.05 of score, from 0 to 1"
    )


class NamesFile(MadeWith):
    """`names.json`: a record for each feature that fires."""

    d_sae: int
    formula: str = Field(description="how a rule is chosen and scored")
    least_score: Share = Field(description="a name has at least this score, and the low end of its interval is above ½")
    least_f1: Share = Field(description="a name has at least this F1")
    n_choosing: NonNegativeInt = Field(description="headlines that choose rules")
    n_testing: NonNegativeInt = Field(description="headlines that score them")
    scores: list[NameScores] = Field(description="of the names first, then of the controls")
    features: list[FeatureName] = Field(description="ascending")
