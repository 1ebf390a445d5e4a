"""Edits of features that mend wrong predictions, tested on headlines that did not choose them: `mending.json`."""

from typing import Any, Literal

from pydantic import Field, FiniteFloat, NonNegativeFloat, NonNegativeInt

from sae_pipeline.schema.common import MadeFrom, Record, Share

MENDING = "mending.json"
Verdict = Literal["none", "harms", "unproven", "holds"]
"""none: no edit was found; harms: as many errors are made as mended, or more; unproven: the gain may be chance."""


class FeatureFactor(Record):
    """A feature whose activations are multiplied wherever it fires."""

    feature: NonNegativeInt
    factor: NonNegativeFloat = Field(description="0 ablates the feature, 1 would leave it as it is")


class SearchStep(FeatureFactor):
    """One step of the search: an edit on top of those before it."""

    n_headlines: NonNegativeInt = Field(description="headlines of the search in which the feature fires")
    risk: Share = Field(
        description="mean probability of all classes but the true one, over the headlines of the search"
    )
    stopping_risk: Share = Field(description="the same over the headlines that choose the number of edits")


class Change(Record):
    """Predictions before and after edits, on headlines that chose nothing."""

    n_headlines: NonNegativeInt
    accuracy_before: Share
    accuracy_after: Share
    macro_f1_before: Share
    macro_f1_after: Share
    mended: NonNegativeInt = Field(description="wrong before and right after")
    made: NonNegativeInt = Field(description="right before and wrong after")
    interval: tuple[FiniteFloat, FiniteFloat] | None = Field(
        description="95 % of the change in accuracy; null: fewer than 30 headlines"
    )
    mcnemar_p: Share = Field(description="exact, two-sided")


class ClassChange(Record):
    """One class before and after."""

    label: str
    support: NonNegativeInt
    recall_before: Share
    recall_after: Share
    precision_before: Share
    precision_after: Share


class SliceChange(Record):
    """Some of the headlines before and after."""

    name: str
    n_headlines: NonNegativeInt
    accuracy_before: Share
    accuracy_after: Share
    mended: NonNegativeInt
    made: NonNegativeInt


class RandomSets(Record):
    """Sets of as many other features, with the same factors, that fire in about as many headlines."""

    accuracy_changes: list[FiniteFloat] = Field(description="of each set, after − before")
    n_as_good: NonNegativeInt = Field(description="sets that change the accuracy by at least as much")


class MendingFile(MadeFrom):
    """`mending.json`: what was searched, what was found, and whether it holds on other headlines."""

    device: str
    seconds: FiniteFloat
    config: dict[str, Any]
    labels: list[str]
    n_search: NonNegativeInt = Field(description="headlines on which edits are searched; 0: the edits were given")
    n_search_errors: NonNegativeInt = Field(description="of these, those that are predicted wrongly")
    n_stopping: NonNegativeInt = Field(description="headlines that choose the number of edits")
    steps: list[SearchStep] = Field(description="all steps of the search, also those that were not kept")
    risk: Share | None = Field(description="of the search headlines before any edit; null: the edits were given")
    stopping_risk: Share | None
    edits: list[FeatureFactor]
    change: Change | None = Field(description="on the other headlines; null: there are no edits")
    classes: list[ClassChange]
    transitions: list[list[NonNegativeInt]] = Field(description="[prediction before][prediction after], headlines")
    slices: list[SliceChange]
    random_sets: RandomSets | None
    last_layer: Change | None = Field(
        description="the classifier with its last layer fitted anew on the headlines that chose the edits; null: its "
        "last layer is not one linear layer over a vector per headline"
    )
    verdict: Verdict
