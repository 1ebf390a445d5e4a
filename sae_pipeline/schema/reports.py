"""Scores of a classifier and of an SAE, which are parts of several files."""

from typing import Literal

from pydantic import Field, FiniteFloat, NonNegativeInt

from sae_pipeline.schema.common import PositionKind, Record, Share
from sae_pipeline.static_html import block, percent, table


class ClassScore(Record):
    """Scores of one class."""

    label: str
    precision: Share
    recall: Share
    f1: Share
    support: NonNegativeInt = Field(description="headlines whose true label is this class")


class ClassifierReport(Record):
    """Scores of a classifier on one split, beside those of always predicting the most frequent class."""

    split: str
    n_headlines: NonNegativeInt
    accuracy: Share
    macro_f1: Share = Field(description="unweighted mean of the classes' F1")
    majority_accuracy: Share
    majority_macro_f1: Share
    per_class: list[ClassScore]
    confusion: list[list[NonNegativeInt]] = Field(description="[true label][predicted label], headlines")

    def _repr_html_(self) -> str:
        means = [
            ("all, unweighted", "", "", self.macro_f1, self.n_headlines),
            ("always the most frequent", "", "", self.majority_macro_f1, self.n_headlines),
        ]
        rows = [(one.label, one.precision, one.recall, one.f1, one.support) for one in self.per_class]
        return block(
            f"Classifier on {self.split}: accuracy {percent(self.accuracy)}, "
            f"{percent(self.majority_accuracy)} by always giving the most frequent class",
            table(["class", "precision", "recall", "F1", "headlines"], [*rows, *means]),
        )


class CodeQuality(Record):
    """Sparsity and reconstruction error of an SAE on one split's counted tokens."""

    split: str
    n_tokens: NonNegativeInt
    l0: FiniteFloat = Field(description="mean number of active features per token")
    fvu: FiniteFloat = Field(description="Σ‖x−x̂‖² / Σ‖x−m‖², m the mean of these tokens; 0 perfect, 1 the mean")
    silent_share: Share = Field(description="share of features that fire on no token of this split")
    cosine: FiniteFloat = Field(description="mean cosine of x − mean and x̂ − mean")
    l2_ratio: FiniteFloat = Field(description="mean of ‖x̂ − mean‖ / ‖x − mean‖; below 1: shrinkage")
    rare_share: Share = Field(description="share of features that fire, but on under 1 token in 10,000")
    density_edges: list[FiniteFloat] = Field(description="log10 of the share of tokens, edges")
    density: list[NonNegativeInt] = Field(
        description="features per bin of `density_edges`, by the share of tokens they fire on"
    )


class SpliceBaseline(Record):
    """Scores of the reconstruction on a scale from 0 (its activations ablated) to 1 (the unchanged classifier)."""

    kind: Literal["zero", "mean", "resample"]
    accuracy: Share
    cross_entropy: FiniteFloat
    recovered_accuracy: FiniteFloat = Field(description="(spliced − removed) / (clean − removed), of accuracies")
    recovered_loss: FiniteFloat = Field(description="(removed − spliced) / (removed − clean), of cross-entropies")


class SpliceReport(Record):
    """Predictions when the SAE's reconstruction replaces the classifier's activations."""

    split: str
    positions: PositionKind = Field(description="token positions replaced")
    n_headlines: NonNegativeInt
    accuracy_clean: Share
    accuracy_spliced: Share
    unchanged: Share = Field(description="share of predictions that stay the same")
    unchanged_interval: tuple[Share, Share] | None = Field(description="95 % (Wilson); null: fewer than 30 headlines")
    accuracy_change_interval: tuple[FiniteFloat, FiniteFloat] | None = Field(
        description="95 % of spliced − clean, paired (Agresti & Min 2005); null: fewer than 30 headlines"
    )
    lost: NonNegativeInt = Field(description="headlines right before and wrong when spliced")
    gained: NonNegativeInt = Field(description="headlines wrong before and right when spliced")
    mcnemar_p: Share = Field(description="exact McNemar test of lost against gained")
    mean_kl: FiniteFloat = Field(description="mean KL(clean ‖ spliced), nats")
    cross_entropy_clean: FiniteFloat = Field(description="nats per headline")
    cross_entropy_spliced: FiniteFloat = Field(description="nats per headline")
    baselines: list[SpliceBaseline] = Field(description="zero, mean and resample ablation")


class SaeReport(Record):
    """Quality of an SAE. Dead features are those that never fire in the whole train split."""

    train: CodeQuality
    held_out: CodeQuality
    dead_share: Share = Field(
        description="share of features that never fire in one pass over train, with the final weights"
    )
    spliced: SpliceReport = Field(description="the words replaced")
    spliced_all: SpliceReport | None = Field(
        description="every position replaced; null: the SAE never saw [CLS] and [SEP]"
    )
    seconds: FiniteFloat = Field(description="training time, seconds")
    tokens_per_second: FiniteFloat

    def _repr_html_(self) -> str:
        spliced = self.spliced
        rows = [
            ("active features per token (L0)", self.train.l0, self.held_out.l0),
            ("unexplained variance (FVU)", self.train.fvu, self.held_out.fvu),
            ("features that never fire", percent(self.dead_share), percent(self.held_out.silent_share)),
            ("accuracy with the reconstruction", "", percent(spliced.accuracy_spliced)),
            ("accuracy without it", "", percent(spliced.accuracy_clean)),
            ("unchanged predictions", "", percent(spliced.unchanged)),
            ("mean KL, nats", "", spliced.mean_kl),
        ]
        return block("SAE", table(["", "train", self.held_out.split], rows))
