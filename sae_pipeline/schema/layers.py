"""What each layer of a classifier holds of its decision, and how good its SAE is: `finbert_sae/layers.json`."""

from typing import Literal

from pydantic import Field, FiniteFloat, NonNegativeInt, PositiveInt

from sae_pipeline.schema.common import PositionKind, Record, Share
from sae_pipeline.schema.kinds import Kind

LAYERS = "layers.json"


class Measured(Record):
    """A figure with its 95 % interval; without one where there are fewer than 30 headlines."""

    value: FiniteFloat
    low: FiniteFloat | None = None
    high: FiniteFloat | None = None

    @property
    def ends(self) -> tuple[float, float]:
        """The lower and the upper end of the interval; the value itself where there is none."""
        return self.value if self.low is None else self.low, self.value if self.high is None else self.high


class LayerSae(Record):
    """The SAE of a layer, on test headlines that it was not trained on."""

    sae_hash: str
    size: str
    kind: Kind
    d_sae: PositiveInt
    positions: PositionKind
    l0: Measured = Field(description="mean number of active features; interval of a ratio over headlines")
    fvu: Measured = Field(description="Σ‖x−x̂‖² / Σ‖x−m‖², m the mean of x; interval of a ratio over headlines")
    unchanged: Measured = Field(description="share of predictions that stay the same when x̂ replaces x (Wilson)")


class LayerFigures(Record):
    """What one layer holds. Ablated: the layer's output at these tokens is set to its mean over train headlines."""

    layer: PositiveInt
    probe_words: Measured = Field(description="accuracy of a dense probe on the mean over words (Wilson)")
    probe_cls: Measured = Field(description="accuracy of a dense probe on the first token, `[CLS]` (Wilson)")
    changed_words: Measured = Field(description="share of predictions that change when all words are ablated (Wilson)")
    changed_cls: Measured = Field(description="share of predictions that change when `[CLS]` is ablated (Wilson)")
    sae: LayerSae | None = Field(description="null: the layer has no SAE of the size that is compared")


class LayersFile(Record):
    """The layers of a classifier side by side, on its test headlines."""

    schema_version: Literal[2]
    classifier_hash: str
    model: str
    n_layers: PositiveInt = Field(description="layers that the model has")
    labelled: bool = Field(description="false: the probes learn the classifier's own predictions")
    split: str
    n_headlines: NonNegativeInt
    n_train: NonNegativeInt = Field(description="train headlines that the probes and the means are made from")
    accuracy: Share = Field(description="of the unchanged classifier")
    majority: Share = Field(description="accuracy of always predicting the most frequent class of train")
    seconds: FiniteFloat
    device: str
    layers: list[LayerFigures] = Field(description="ascending")
    answer: list[str] = Field(description="sentences that say which layer an SAE should read")
