"""What the live half of the API takes and answers: a text and edits in, probabilities and causes out."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, NonNegativeInt

from sae_pipeline.schema.common import Record, Share
from sae_pipeline.schema.run import Firing

MAX_CHARACTERS = 1000
MAX_EDITS = 256
MAX_VALUE = 1e4
MAX_FEATURES = 100

Text = Annotated[str, Field(min_length=1, max_length=MAX_CHARACTERS, description="the headline")]
RunId = Annotated[str | None, Field(max_length=64, description="default: the served run")]
FeatureId = Annotated[int, Field(ge=0, le=10**9)]
Value = Annotated[FiniteFloat, Field(ge=-MAX_VALUE, le=MAX_VALUE)]


# --- questions -----------------------------------------------------------------------------------------


class Body(BaseModel):
    """A JSON body; unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")


class ProbeBody(Body):
    """Read one text."""

    text: Text
    run: RunId = None
    top: int = Field(10, ge=1, le=MAX_FEATURES, description="features listed, by effect on the predicted class")
    steps: int = Field(0, ge=0, le=32, description="nodes of integrated gradients; 0: gradient × activation")
    ablate: int = Field(0, ge=0, le=32, description="how many of the listed features are really ablated too")


class LiveEdit(Body):
    """One feature's activation made new: ablate f → 0, scale f → value·f, clamp f → value, add f → f + value."""

    feature: FeatureId
    operation: Literal["ablate", "scale", "clamp", "add"] = "ablate"
    value: Value = 0.0
    positions: list[Annotated[int, Field(ge=0, le=10**6)]] | None = Field(
        None, max_length=512, description="token positions; null: all that the SAE covers"
    )


class InterveneBody(Body):
    """One text with its features edited."""

    text: Text
    run: RunId = None
    edits: list[LiveEdit] = Field(min_length=1, max_length=MAX_EDITS)
    separately: bool = Field(False, description="each edit by itself, all in one pass, instead of all together")


class FlipBody(Body):
    """Find the smallest set of features whose change turns the prediction."""

    text: Text
    run: RunId = None
    target: int | None = Field(None, ge=0, le=1000, description="class to reach; null: any other than predicted")
    level: Value = Field(0.0, description="activation that the features are set to where they fire; 0 ablates them")
    max_size: int = Field(20, ge=1, le=64, description="features a flip may change")


class AuditBody(Body):
    """Ablate a set of features in a part of the run's headlines."""

    run: RunId = None
    features: list[FeatureId] = Field(min_length=1, max_length=MAX_FEATURES)
    offset: int = Field(0, ge=0, le=10**9)
    limit: int = Field(64, ge=1, le=128)


# --- answers -------------------------------------------------------------------------------------------


class LiveAnswer(Record):
    """Whether texts can be probed live, and within which bounds."""

    live: bool
    message: str | None = Field(description="how to turn it on, where it is off")
    run_id: str | None = Field(description="the run whose classifier and SAE are in memory; null before first use")
    device: str | None
    max_characters: int
    max_edits: int
    max_value: float
    places: NonNegativeInt = Field(description="requests that may wait; one more is answered 429")


class LivePrediction(Record):
    """What the classifier says."""

    prediction: NonNegativeInt
    probabilities: list[Share]
    logits: list[FiniteFloat] = Field(description="[n_classes] less their mean")


class LiveAblation(Record):
    """What a class really owes to a feature: before − after its ablation."""

    logits: list[FiniteFloat] = Field(description="[n_classes] on centred logits")
    probabilities: list[FiniteFloat] = Field(description="[n_classes]")
    prediction: NonNegativeInt = Field(description="after the ablation")


class LiveFeature(Firing):
    """A feature that fires in the text and what each class owes to it."""

    feature: NonNegativeInt
    effects: list[FiniteFloat] = Field(description="[n_classes] estimated effect on centred logits, over tokens")
    position_effects: list[FiniteFloat] = Field(description="effect on the predicted class at each of `positions`")
    ablation: LiveAblation | None


class ProbeAnswer(LivePrediction):
    """A text read. base + Σ effects of the features listed + rest = logits, exactly."""

    run_id: str
    labels: list[str]
    text: str
    tokens: list[str]
    starts: list[NonNegativeInt] = Field(description="code points into the text, half open")
    ends: list[NonNegativeInt]
    words: list[int] = Field(description="0-based word each token belongs to; -1 for special tokens")
    n_active: NonNegativeInt = Field(description="features that fire")
    estimate: Literal["gradient", "integrated"]
    base: list[FiniteFloat] | None = Field(description="[n_classes] centred, all features ablated; null for 0 steps")
    rest: list[FiniteFloat] | None = Field(
        description="[n_classes] what base and the listed effects leave: all other features; null for 0 steps"
    )
    features: list[LiveFeature] = Field(description="largest effect on the predicted class first")
    spliced: LivePrediction | None = Field(
        description="with the SAE's reconstruction in place of the activations; null for 0 steps"
    )
    token_effects: list[FiniteFloat] = Field(
        description="effect of all features at each token on the predicted class's centred logit"
    )
    milliseconds: FiniteFloat = Field(description="time in the model")


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
    after: list[LivePrediction] = Field(description="one, or one for each edit where they were asked separately")
    edited: list[EditedFeature] = Field(description="by feature; empty where edits were asked separately")
    milliseconds: FiniteFloat


class FlipStep(Record):
    """One feature of a flip, in the order of changing them."""

    feature: NonNegativeInt
    word: str = Field(description="the word on which it fires most")
    after: LivePrediction


class FlipAnswer(Record):
    """A set of features whose change turns the prediction; empty where none was found."""

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
    n_headlines: NonNegativeInt = Field(description="in the whole run")
    labels: list[NonNegativeInt] = Field(description="true classes of this part")
    before: list[NonNegativeInt]
    after: list[NonNegativeInt]
    n_fired: NonNegativeInt = Field(description="headlines of this part on which any of the features fires")
    milliseconds: FiniteFloat
