"""What the live endpoints take and answer: a text and edits in, probabilities and effects of features out."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, NonNegativeInt

from sae_pipeline.schema.common import Record, Share
from sae_pipeline.schema.edits import MAX_EDITS, MAX_VALUE, Operation
from sae_pipeline.schema.run import Firing
from viz_analysis.api.feature_types import FoundName

MAX_CHARACTERS = 1000  # of a text
MAX_FEATURES = 100  # listed or ablated by one request

Text = Annotated[str, Field(min_length=1, max_length=MAX_CHARACTERS, description="the headline")]
RunId = Annotated[str | None, Field(max_length=64, description="default: the served run")]
FeatureId = Annotated[int, Field(ge=0, le=10**9)]
Value = Annotated[FiniteFloat, Field(ge=-MAX_VALUE, le=MAX_VALUE)]


# --- questions -----------------------------------------------------------------------------------------


class Body(BaseModel):
    """A JSON body; unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")


class ProbeBody(Body):
    """A text to read."""

    text: Text
    run: RunId = None
    top: int = Field(
        10, ge=1, le=MAX_FEATURES, description="how many features to list, by effect on the predicted class"
    )
    steps: int = Field(0, ge=0, le=32, description="steps of integrated gradients; 0 stands for gradient × activation")
    ablate: int = Field(0, ge=0, le=32, description="how many of the listed features are also ablated")


class LiveEdit(Body):
    """A new value for one feature's activation f: ablate 0, scale value·f, clamp value, add f + value."""

    feature: FeatureId
    operation: Operation = "ablate"
    value: Value = 0.0
    positions: list[Annotated[int, Field(ge=0, le=10**6)]] | None = Field(
        None, max_length=512, description="token positions; null stands for all that the SAE was trained on"
    )


class InterveneBody(Body):
    """A text and edits of its features."""

    text: Text
    run: RunId = None
    edits: list[LiveEdit] = Field(min_length=1, max_length=MAX_EDITS)
    separately: bool = Field(False, description="whether each edit is made by itself rather than all together")


class FlipBody(Body):
    """A text whose prediction is to change."""

    text: Text
    run: RunId = None
    target: int | None = Field(None, ge=0, le=1000, description="class to reach; null stands for any other")
    level: Value = Field(0.0, description="activation to which features are set where they fire; 0 ablates them")
    max_size: int = Field(20, ge=1, le=64, description="most features that may be changed")


class AuditBody(Body):
    """Features to ablate in a part of the run's headlines."""

    run: RunId = None
    features: list[FeatureId] = Field(min_length=1, max_length=MAX_FEATURES)
    offset: int = Field(0, ge=0, le=10**9)
    limit: int = Field(64, ge=1, le=128)


# --- answers -------------------------------------------------------------------------------------------


class LiveAnswer(Record):
    """Whether texts can be probed live, and the limits of a request."""

    live: bool
    message: str | None = Field(description="how to turn it on; null where it is on")
    run_id: str | None = Field(description="the run whose classifier and SAE are in memory; null before first use")
    device: str | None
    max_characters: int = Field(description="of a text")
    max_edits: int = Field(description="in one request")
    max_value: float = Field(description="of an edit, positive or negative")
    places: NonNegativeInt = Field(description="requests that may wait for the model; one more is answered with 429")


class LivePrediction(Record):
    """A prediction of the classifier."""

    prediction: NonNegativeInt
    probabilities: list[Share]
    logits: list[FiniteFloat] = Field(description="[n_classes], centred: their mean is subtracted")


class LiveAblation(Record):
    """The measured effect of a feature: the value before its ablation minus the value after it."""

    logits: list[FiniteFloat] = Field(description="[n_classes], of centred logits")
    probabilities: list[FiniteFloat] = Field(description="[n_classes]")
    prediction: NonNegativeInt = Field(description="after the ablation")


class LiveFeature(Firing):
    """A feature that fires in the text and its effect on each class."""

    feature: NonNegativeInt
    effects: list[FiniteFloat] = Field(description="[n_classes], estimated effect on centred logits, over all tokens")
    position_effects: list[FiniteFloat] = Field(description="effect on the predicted class at each of `positions`")
    ablation: LiveAblation | None


class ProbeAnswer(LivePrediction):
    """A text that was read. base + Σ effects of the listed features + rest = logits, exactly."""

    run_id: str
    labels: list[str]
    text: str
    tokens: list[str]
    starts: list[NonNegativeInt] = Field(description="first code point of each token in the text")
    ends: list[NonNegativeInt] = Field(description="code point after each token")
    words: list[int] = Field(description="0-based word that each token belongs to; -1 for special tokens")
    n_active: NonNegativeInt = Field(description="features that fire")
    estimate: Literal["gradient", "integrated"]
    base: list[FiniteFloat] | None = Field(description="[n_classes], centred, all features ablated; null for 0 steps")
    rest: list[FiniteFloat] | None = Field(
        description="[n_classes], effects of all features that are not listed; null for 0 steps"
    )
    features: list[LiveFeature] = Field(description="largest effect on the predicted class first")
    found_names: dict[NonNegativeInt, FoundName] = Field(
        description="found names of the listed features, by feature; those without one are left out"
    )
    spliced: LivePrediction | None = Field(
        description="prediction from the SAE's reconstruction of the activations; null for 0 steps"
    )
    token_effects: list[FiniteFloat] = Field(
        description="effect of all features at each token on the centred logit of the predicted class"
    )
    milliseconds: FiniteFloat = Field(description="spent in the model")


class EditedFeature(Record):
    """An edited feature before and after."""

    feature: NonNegativeInt
    positions: list[NonNegativeInt] = Field(description="tokens where it fires before or after")
    before: list[FiniteFloat]
    after: list[FiniteFloat]


class InterveneAnswer(Record):
    """Probabilities before and after the edits."""

    run_id: str
    labels: list[str]
    before: LivePrediction
    after: list[LivePrediction] = Field(description="one for all edits together, or one for each edit")
    edited: list[EditedFeature] = Field(description="by feature; empty where each edit was made by itself")
    milliseconds: FiniteFloat


class FlipStep(Record):
    """One feature of a flip and the prediction once it is changed too."""

    feature: NonNegativeInt
    word: str = Field(description="the word on which it fires most")
    after: LivePrediction


class FlipAnswer(Record):
    """A set of features whose change changes the prediction; empty where none was found."""

    run_id: str
    labels: list[str]
    found: bool
    message: str
    before: LivePrediction
    steps: list[FlipStep]
    milliseconds: FiniteFloat


class AuditAnswer(Record):
    """Predictions of a part of the run before and after the ablation of a set of features."""

    run_id: str
    features: list[NonNegativeInt]
    offset: NonNegativeInt
    n_headlines: NonNegativeInt = Field(description="headlines in the whole run")
    labels: list[NonNegativeInt] = Field(description="true classes of this part")
    before: list[NonNegativeInt]
    after: list[NonNegativeInt]
    n_fired: NonNegativeInt = Field(description="headlines of this part on which any of the features fires")
    milliseconds: FiniteFloat
