"""What fine-tuning changed: two classifiers that read the same headlines, by the features of one crosscoder."""

from typing import Any, Final, Literal, get_args

from pydantic import Field, FiniteFloat, NonNegativeFloat, NonNegativeInt, PositiveInt

from sae_pipeline.schema.common import MadeFrom, PositionKind, Record, Share

DIFF = "diff.json"
ModelRole = Literal["before", "after", "control"]
"""after: the run's classifier; control: one that differs from it by its seed alone."""
ChangeKind = Literal["grown", "faded", "turned"]
CHANGES: Final[tuple[ChangeKind, ...]] = get_args(ChangeKind)
SetChange = Literal["grown", "faded"]
SetRole = Literal["after", "control"]


class DiffModel(Record):
    """One of the models that the crosscoder reads."""

    role: ModelRole
    model: str = Field(description="the model's name, or the hash of a classifier of the study")
    classifier_hash: str | None = Field(description="null: it is no classifier of the study")
    accuracy: Share | None = Field(description="on the run's headlines; null: no head for these classes, or no labels")
    fvu: NonNegativeFloat = Field(description="variance of this model's activations that the crosscoder leaves")


class DiffExample(Record):
    """A headline in which a feature fires, and how far each model's activations go in the feature's direction."""

    headline: NonNegativeInt = Field(description="its number in the run")
    positions: list[NonNegativeInt] = Field(
        description="tokens that the crosscoder reads; empty: one vector a headline"
    )
    before: list[NonNegativeFloat]
    after: list[NonNegativeFloat]


class DiffFeature(Record):
    """A feature of the crosscoder that changed."""

    feature: NonNegativeInt = Field(description="its number in the crosscoder, which is none of the run's SAE")
    change: ChangeKind
    growth: FiniteFloat = Field(description="log2 of its strength after over before, less the median of live features")
    cosine: FiniteFloat = Field(description="between its directions before and after")
    control_growth: FiniteFloat | None = Field(description="growth from before to the control; null: no control")
    seed_growth: FiniteFloat | None = Field(description="growth from the control to after; null: no control")
    n_headlines: NonNegativeInt = Field(description="test headlines in which it fires")
    words: list[str] = Field(description="on which it fires more often than on others, the most typical first")
    effects: list[FiniteFloat] = Field(
        description="[n_classes] mean over these headlines of gradient × activation on the centred logits, after"
    )
    effects_before: list[FiniteFloat] | None = Field(description="the same before; null: no head for these classes")
    alike: NonNegativeInt = Field(description="the feature of the run's SAE whose direction is nearest to that after")
    alike_cosine: FiniteFloat
    examples: list[DiffExample]


class DiffCounts(Record):
    """How many features changed between two of the models, by the same thresholds."""

    grown: NonNegativeInt
    faded: NonNegativeInt
    turned: NonNegativeInt

    @property
    def total(self) -> int:
        """All that changed."""
        return self.grown + self.faded + self.turned


class Replication(Record):
    """Features that grew from before to after, and those of them that also grew from before to the control."""

    n_after: NonNegativeInt
    n_control: NonNegativeInt
    n_both: NonNegativeInt
    expected: NonNegativeFloat = Field(
        description="of `n_both`, if the strengths in the three models differed by chance"
    )


class SetEffect(Record):
    """What ablating the features that changed most together does to a classifier, beside random sets."""

    change: SetChange
    role: SetRole
    n_features: PositiveInt
    n_headlines: PositiveInt = Field(description="in which they are ablated")
    accuracy_before: Share
    accuracy_after: Share
    changed: Share = Field(description="of the predictions")
    random_accuracies: list[Share] = Field(
        description="with as many other features of about the same contribution ablated"
    )
    random_changed: list[Share]
    random_contribution: NonNegativeFloat = Field(
        description="Σ f·‖W_dec‖ of a random set over that of the changed features, on average"
    )


class DiffFile(MadeFrom):
    """`diff.json`: which features changed, how much of it seeds do as well, and what the changed ones do."""

    device: str
    seconds: FiniteFloat
    config: dict[str, Any]
    labels: list[str]
    layer: PositiveInt
    positions: PositionKind
    models: list[DiffModel] = Field(description="before, after, and the control if there is one")
    d_sae: PositiveInt
    k: PositiveInt
    n_vectors: PositiveInt = Field(description="that the crosscoder was trained on")
    n_headlines: PositiveInt = Field(description="of the run that were read")
    l0: NonNegativeFloat = Field(description="active features per vector in these headlines")
    n_live: NonNegativeInt = Field(
        description="features that fire in at least ten of these headlines; others are left out"
    )
    counts: DiffCounts
    counts_control: DiffCounts | None = Field(description="between control and after; null: there is no control")
    replication: Replication | None
    growth_edges: list[FiniteFloat] = Field(
        description="[n_bins + 1] of the histograms; the outer bins take what is beyond"
    )
    growth: list[NonNegativeInt] = Field(description="[n_bins] live features by growth from before to after")
    growth_control: list[NonNegativeInt] | None = Field(description="the same from control to after")
    sets: list[SetEffect]
    features: list[DiffFeature] = Field(description="those that changed most, by kind, the most changed first")
