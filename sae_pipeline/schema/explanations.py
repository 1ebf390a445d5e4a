"""What a language model says that features fire on, tested beside the found names: `explanations.json`."""

from typing import Annotated

from pydantic import Field, NonNegativeInt

from sae_pipeline.schema.common import MadeFrom, Record, Share

EXPLANATIONS = "explanations.json"
MAX_EXPLANATION = 300  # characters


class DetectionScore(Record):
    """How well headlines are told apart that a description should, and should not, fit."""

    n: NonNegativeInt = Field(description="headlines")
    auroc: Share = Field(description="½ + (share of fitting headlines that are found − share of others) / 2")
    low: Share = Field(description="lower end of the 95 % interval")
    high: Share


class Explanation(Record):
    """What a language model says that a feature fires on."""

    feature: NonNegativeInt
    text: Annotated[str, Field(min_length=1, max_length=MAX_EXPLANATION)]
    model: str = Field(max_length=200)
    prompt_hash: str = Field(description="of all that the model was shown and asked, headlines and settings included")
    detection: DetectionScore | None = Field(
        description="the model, given the text, picks the headlines of the testing half in which the feature fires; "
        "null: its answer was no list of numbers, or there are too few headlines"
    )
    fuzzing: DetectionScore | None = Field(
        description="the model, given the text, picks the headlines whose marked words are those on which it fires"
    )
    rule_detection: DetectionScore | None = Field(
        description="the found rule on the headlines of `detection`, beside it; null: the feature has no rule"
    )


class ExplanationsFile(MadeFrom):
    """`explanations.json`."""

    explanations: list[Explanation] = Field(description="ascending by feature")
