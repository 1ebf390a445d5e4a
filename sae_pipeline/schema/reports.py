"""How good a classifier and an SAE are: parts of several files."""

from typing import Literal

from pydantic import Field, FiniteFloat, NonNegativeInt

from sae_pipeline.schema.common import PositionKind, Record, Share


class ClassScore(Record):
    """Scores of one class."""

    label: str
    precision: Share
    recall: Share
    f1: Share
    support: NonNegativeInt = Field(description="headlines whose true label is this class")


class ClassifierReport(Record):
    """How well a classifier does on one split, beside always predicting the commonest class."""

    split: str
    n_headlines: NonNegativeInt
    accuracy: Share
    macro_f1: Share = Field(description="unweighted mean of the classes' F1")
    majority_accuracy: Share
    majority_macro_f1: Share
    per_class: list[ClassScore]
    confusion: list[list[NonNegativeInt]] = Field(description="[true label][predicted label], headlines")


class CodeQuality(Record):
    """How sparse and how faithful an SAE is on one split's counted tokens."""

    split: str
    n_tokens: NonNegativeInt
    l0: FiniteFloat = Field(description="mean number of active features per token")
    fvu: FiniteFloat = Field(description="Σ‖x−x̂‖² / Σ‖x−m‖², m the mean of these tokens; 0 perfect, 1 the mean")
    silent_share: Share = Field(description="share of features that fire on no token of this split")
    cosine: FiniteFloat | None = Field(None, description="mean cosine of x − mean and x̂ − mean")
    l2_ratio: FiniteFloat | None = Field(None, description="mean of ‖x̂ − mean‖ / ‖x − mean‖; below 1: shrinkage")
    rare_share: Share | None = Field(None, description="share of features that fire, but on under 1 token in 10,000")
    density_edges: list[FiniteFloat] = Field(default_factory=list, description="log10 of the share of tokens, edges")
    density: list[NonNegativeInt] = Field(
        default_factory=list, description="features per bin of `density_edges`, by the share of tokens they fire on"
    )


class SpliceBaseline(Record):
    """The reconstruction's scores normalised by what removing all covered activations costs."""

    kind: Literal["zero", "mean", "resample"]
    accuracy: Share
    cross_entropy: FiniteFloat
    recovered_accuracy: FiniteFloat = Field(description="(spliced − removed) / (clean − removed), of accuracies")
    recovered_loss: FiniteFloat = Field(description="(removed − spliced) / (removed − clean), of cross-entropies")


class SpliceReport(Record):
    """What the classifier loses when the SAE's reconstruction replaces its activations."""

    split: str
    positions: PositionKind = Field(description="token positions replaced")
    n_headlines: NonNegativeInt
    accuracy_clean: Share
    accuracy_spliced: Share
    unchanged: Share = Field(description="share of predictions that stay the same")
    unchanged_interval: tuple[Share, Share] | None = Field(
        None, description="95 % (Wilson); null: fewer than 30 headlines"
    )
    accuracy_change_interval: tuple[FiniteFloat, FiniteFloat] | None = Field(
        None, description="95 % of spliced − clean, paired (Agresti & Min 2005); null: fewer than 30 headlines"
    )
    lost: NonNegativeInt | None = Field(None, description="headlines right before and wrong when spliced")
    gained: NonNegativeInt | None = Field(None, description="headlines wrong before and right when spliced")
    mcnemar_p: Share | None = Field(None, description="exact McNemar test of lost against gained")
    mean_kl: FiniteFloat | None = Field(None, description="mean KL(clean ‖ spliced), nats")
    cross_entropy_clean: FiniteFloat | None = Field(None, description="nats per headline")
    cross_entropy_spliced: FiniteFloat | None = None
    baselines: list[SpliceBaseline] = Field(default_factory=list, description="zero, mean and resample ablation")


class SaeReport(Record):
    """An SAE's quality. Dead features are those silent over the whole train split."""

    train: CodeQuality
    held_out: CodeQuality
    dead_share: Share = Field(description="share of features silent over one pass of train, final weights")
    spliced: SpliceReport = Field(description="the words replaced (SAEs of old: the positions it was trained on)")
    spliced_all: SpliceReport | None = Field(
        None, description="every position replaced; null: the SAE never saw [CLS] and [SEP]"
    )
    seconds: FiniteFloat = Field(description="training time, seconds")
    tokens_per_second: FiniteFloat
