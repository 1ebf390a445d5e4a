"""Causal findings about a run: `feature_effects.json` and `interventions.json`."""

from typing import Any, Literal

from pydantic import Field, FiniteFloat, NonNegativeInt

from sae_pipeline.schema.common import MadeFrom, Record, Share
from sae_pipeline.schema.reports import SpliceBaseline
from sae_pipeline.schema.run import MetricColumn, MetricInfo

# --- feature_effects.json ------------------------------------------------------------------------------

FEATURE_EFFECTS, INTERVENTIONS = "feature_effects.json", "interventions.json"
EstimateName = Literal["gradient", "integrated"]
Chosen = Literal["activation", "attribution", "random"]
CurveKind = Literal["deletion", "insertion"]
UnflippedReason = Literal["base", "spread"]


class FeatureEffectsFile(MadeFrom):
    """`feature_effects.json`: the mean effect of every feature on every class, over headlines of a run."""

    d_sae: int
    n_headlines: NonNegativeInt
    metrics: list[MetricInfo] = Field(description="names, labels and formulas of the columns, as in metadata.json")
    columns: list[MetricColumn]


# --- interventions.json --------------------------------------------------------------------------------


class Agreement(Record):
    """The agreement of an estimated effect on the predicted class with true ablation, over some features."""

    estimate: EstimateName = Field(
        description="gradient × activation, or integrated gradients along the joint path of all features"
    )
    chosen: Chosen = Field(description="how features were chosen")
    n_headlines: NonNegativeInt
    n_pairs: NonNegativeInt
    pearson: FiniteFloat = Field(description="all pairs together")
    spearman: FiniteFloat = Field(description="all pairs together")
    pearson_within: FiniteFloat = Field(description="median over headlines of the correlation within one")
    spearman_within: FiniteFloat = Field(description="median over headlines of the correlation within one")
    estimates: list[FiniteFloat] = Field(description="a sample of the pairs, for a scatter plot")
    truths: list[FiniteFloat] = Field(description="true effects (before − after ablation) of the same pairs")


class Faithfulness(Record):
    """Predictions from the SAE's reconstruction, beside the classifier's own."""

    n_headlines: NonNegativeInt
    accuracy_clean: Share
    accuracy_spliced: Share
    unchanged: Share
    cross_entropy_clean: FiniteFloat = Field(description="nats per headline")
    cross_entropy_spliced: FiniteFloat
    mean_absolute_delta_p: FiniteFloat = Field(description="mean |change of the predicted class's probability|")
    mean_kl: FiniteFloat = Field(description="mean KL(clean ‖ spliced), nats")
    flips: list[list[NonNegativeInt]] = Field(description="[prediction][prediction when spliced], headlines")
    baselines: list[SpliceBaseline]


class RemovalCurve(Record):
    """How predictions change as n features are removed from each headline, or as all but n are."""

    kind: CurveKind = Field(description="deletion: the first n are removed; insertion: all others are")
    order: Chosen
    n_headlines: NonNegativeInt
    n_features: list[NonNegativeInt] = Field(description="n at each point, per headline")
    accuracy: list[Share]
    unchanged: list[Share] = Field(description="share of headlines that keep their prediction")
    logit: list[FiniteFloat] = Field(description="mean centred logit of the original prediction")


class SetAblation(Record):
    """Predictions with a chosen set of features ablated in every headline."""

    features: list[NonNegativeInt]
    accuracy_before: Share
    accuracy_after: Share
    macro_f1_before: Share
    macro_f1_after: Share
    flips: list[list[NonNegativeInt]] = Field(description="[prediction][prediction after], headlines")


class FeatureEffect(Record):
    """The effects of one feature in one headline. An effect on a class is its value before − after ablation."""

    feature: NonNegativeInt
    effects: list[FiniteFloat] = Field(description="[n_classes] integrated gradients of centred logits, over tokens")
    gradient_effects: list[FiniteFloat] = Field(description="[n_classes] gradient × activation")
    ablation_logits: list[FiniteFloat] = Field(description="[n_classes] true effect on centred logits")
    ablation_probabilities: list[FiniteFloat] = Field(description="[n_classes] true effect on probabilities")
    positions: list[NonNegativeInt] = Field(description="tokens on which it fires")
    position_effects: list[FiniteFloat] = Field(description="effect on the predicted class at each of them")


class FlipPath(Record):
    """The smallest set of features found whose ablation (or clamping, by the config) changes the prediction."""

    features: list[NonNegativeInt] = Field(description="in the order of ablation")
    prediction: NonNegativeInt = Field(description="afterwards")
    path: list[list[Share]] = Field(description="probabilities before, after the first, after the first two, …")


class ClampPath(FlipPath):
    """The smallest set of features found that leads to another class when each is set to its typical activation there.

    An activation that is typical of a class is the mean over the tokens on which the feature fires, averaged over the
    headlines predicted as the class; 0 where it fires in less than a tenth of these, or in fewer than 5.
    """

    levels: list[FiniteFloat] = Field(description="activation that each feature is set to; 0 ablates it")
    positions: list[list[NonNegativeInt]] = Field(
        description="tokens at which each feature is set: those on which it fires, or one of them where it is silent; "
        "empty where the SAE reads one vector per headline"
    )


class Unflipped(Record):
    """Why no set of features was found whose ablation changes the prediction."""

    reason: UnflippedReason = Field(
        description="base: it stays when all features are ablated, and when all that support it are; spread: one of "
        "the two changes it, but more features must be ablated than a flip may ablate"
    )
    margin: FiniteFloat = Field(
        description="logits by which the goal is missed with all features ablated; below 0 it is reached"
    )
    n_needed: NonNegativeInt | None = Field(
        description="features that it takes in the order of gradient × activation; null for base"
    )
    clamped: ClampPath | None = Field(
        description="to the second class, or to the true one for repairs; null: none was found, or none was searched "
        "because too few headlines are predicted as that class"
    )


class Interaction(Record):
    """What two features do together beyond what each does alone: effect(a and b) − effect(a) − effect(b)."""

    features: list[NonNegativeInt] = Field(min_length=2, max_length=2)
    effects: list[FiniteFloat] = Field(description="[n_classes] on centred logits, by true ablations")


class WordEffects(Record):
    """The effects of a headline's words on the centred logit of the predicted class; lists are [n_words]."""

    integrated_gradients: list[FiniteFloat] = Field(
        description="from a headline in which the baseline token stands for every word; base + Σ = logit, but for a gap"
    )
    occlusion: list[FiniteFloat] = Field(description="logit − logit with the baseline token in place of the word")
    features: list[FiniteFloat] = Field(description="integrated effects of all features at the word's tokens, added up")
    base: FiniteFloat = Field(description="the logit with the baseline token in place of every word")
    agreement: FiniteFloat | None = Field(
        description="Spearman's correlation of integrated gradients and occlusion over the words; null: not defined, "
        "because there are fewer than three words or they do not differ"
    )
    feature_agreement: FiniteFloat | None = Field(
        description="Spearman's correlation of integrated gradients of words and of features; null: not defined"
    )


class WordSummary(Record):
    """How well the attributions of words agree, over the headlines that have some."""

    baseline: str = Field(description="the token that stands for a missing word")
    steps: NonNegativeInt = Field(description="nodes of the integrated gradients' path")
    n_headlines: NonNegativeInt
    completeness_gap: FiniteFloat = Field(description="median of |logit − base − Σ integrated gradients|")
    agreement: FiniteFloat | None = Field(description="mean over headlines; null: not defined in any")
    feature_agreement: FiniteFloat | None = Field(description="mean over headlines; null: not defined in any")
    seconds: FiniteFloat


class HeadlineEffects(Record):
    """The causes of one prediction. base + Σ effects + rest = logits, exactly."""

    headline: NonNegativeInt
    headline_id: str
    logits: list[FiniteFloat] = Field(description="[n_classes] centred")
    base: list[FiniteFloat] = Field(description="[n_classes] centred, with all features ablated")
    rest: list[FiniteFloat] = Field(
        description="[n_classes] logits − base − the listed effects: those of all other features"
    )
    features: list[FeatureEffect] = Field(description="largest effect on the predicted class first")
    spliced_prediction: NonNegativeInt = Field(description="prediction from the SAE's reconstruction")
    spliced_delta_p: FiniteFloat = Field(description="change of the predicted class's probability when spliced")
    spliced_kl: FiniteFloat = Field(description="KL(clean ‖ spliced), nats")
    flip: FlipPath | None = Field(description="away from the prediction; null: not searched or not found")
    unflipped: Unflipped | None = Field(None, description="why no flip was found; null: not searched or found")
    repair: FlipPath | None = Field(
        description="from a wrong prediction to the true label; null: not searched or not found"
    )
    unrepaired: Unflipped | None = Field(None, description="why no repair was found; null: not searched or found")
    joint_effects: list[FiniteFloat] | None = Field(
        None, description="[n_classes] true effect on centred logits of ablating all listed features together"
    )
    interactions: list[Interaction] | None = Field(
        None, description="the largest ones on the predicted class, of all pairs of listed features; null: not measured"
    )
    word_effects: WordEffects | None = Field(None, description="null: the words of this headline were not attributed")


class UnflippedSummary(Record):
    """Why predictions were not flipped, or not repaired, and how many of them clamping changes."""

    n_base: NonNegativeInt
    n_spread: NonNegativeInt
    n_clamped: NonNegativeInt = Field(description="of both: those that clamped features lead to the other class")


class InteractionSummary(Record):
    """How far single ablations of the listed features are from their joint ablation, on the predicted class."""

    n_headlines: NonNegativeInt = Field(description="that list two features or more")
    share: Share = Field(description="of the joint effect; misses above this share count, and pairs are measured there")
    floor: FiniteFloat = Field(description="logits; smaller misses do not count, whatever their share")
    median_miss: FiniteFloat = Field(description="median of |joint effect − sum of single effects|, in logits")
    n_above: NonNegativeInt
    n_measured: NonNegativeInt = Field(description="headlines among these whose pairs were ablated")
    measured_miss: FiniteFloat | None = Field(description="median miss of these, in logits; null: none was measured")
    left_miss: FiniteFloat | None = Field(
        description="the same with all pairs’ interactions added to the single effects: |miss − Σ interactions|"
    )


class InterventionsSummary(MadeFrom):
    """The causes of a run's predictions as a whole."""

    device: str
    seconds: FiniteFloat
    config: dict[str, Any]
    completeness_gap: FiniteFloat = Field(
        description="median over headlines of the largest |logits − base − Σ effects| of a class"
    )
    agreement: list[Agreement]
    faithfulness: Faithfulness
    curves: list[RemovalCurve]
    flips_searched: NonNegativeInt
    flips_found: NonNegativeInt
    unflipped: UnflippedSummary | None = Field(None, description="null: an older file, which does not say it")
    repairs_searched: NonNegativeInt
    repairs_found: NonNegativeInt
    unrepaired: UnflippedSummary | None = Field(None, description="null: an older file, which does not say it")
    interactions: InteractionSummary | None = Field(
        None, description="null: an older file, or no headline lists two features"
    )
    set_ablation: SetAblation | None
    word_effects: WordSummary | None = Field(None, description="null: no words were attributed")
    words_left_out: str | None = Field(None, description="why words were not attributed; null: nothing prevented it")


class InterventionsFile(InterventionsSummary):
    """`interventions.json`: the summary, and one record per headline."""

    headlines: list[HeadlineEffects]
