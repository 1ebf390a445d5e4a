"""The records of causal findings as plain dicts: `feature_effects.json` and `interventions.json`; see `dicts.py`."""

from collections.abc import Sequence
from typing import Any, TypedDict

from sae_pipeline.schema.causes import Chosen, CurveKind, EstimateName, UnflippedReason
from sae_pipeline.schema.dicts import Counts, MadeFromDict, Numbers
from sae_pipeline.schema.reports import SpliceBaseline
from sae_pipeline.schema.run import MetricInfo


class FeatureEffectsDict(MadeFromDict):
    """A `FeatureEffectsFile` without its columns."""

    d_sae: int
    n_headlines: int
    metrics: list[MetricInfo]


class FeatureEffectDict(TypedDict):
    """A `FeatureEffect`."""

    feature: int
    effects: Numbers
    gradient_effects: Numbers
    ablation_logits: Numbers
    ablation_probabilities: Numbers
    positions: Counts
    position_effects: Numbers


class FlipPathDict(TypedDict):
    """A `FlipPath`."""

    features: Counts
    prediction: int
    path: Sequence[Numbers]


class ClampPathDict(FlipPathDict):
    """A `ClampPath`."""

    levels: Numbers
    positions: list[list[int]]


class UnflippedDict(TypedDict):
    """An `Unflipped`."""

    reason: UnflippedReason
    margin: float
    n_needed: int | None
    clamped: ClampPathDict | None


class UnflippedSummaryDict(TypedDict):
    """An `UnflippedSummary`."""

    n_base: int
    n_spread: int
    n_clamped: int


class InteractionDict(TypedDict):
    """An `Interaction`."""

    features: list[int]
    effects: Numbers


class InteractionSummaryDict(TypedDict):
    """An `InteractionSummary`."""

    n_headlines: int
    share: float
    floor: float
    median_miss: float
    n_above: int
    n_measured: int
    measured_miss: float | None
    left_miss: float | None


class WordEffectsDict(TypedDict):
    """A `WordEffects`."""

    integrated_gradients: Numbers
    occlusion: Numbers
    features: Numbers
    base: float
    agreement: float | None
    feature_agreement: float | None


class WordSummaryDict(TypedDict):
    """A `WordSummary`."""

    baseline: str
    steps: int
    n_headlines: int
    completeness_gap: float
    agreement: float | None
    feature_agreement: float | None
    seconds: float


class HeadlineEffectsDict(TypedDict):
    """A `HeadlineEffects`."""

    headline: int
    headline_id: str
    logits: Numbers
    base: Numbers
    rest: Numbers
    features: list[FeatureEffectDict]
    spliced_prediction: int
    spliced_delta_p: float
    spliced_kl: float
    flip: FlipPathDict | None
    unflipped: UnflippedDict | None
    repair: FlipPathDict | None
    unrepaired: UnflippedDict | None
    joint_effects: Numbers
    interactions: list[InteractionDict] | None
    word_effects: WordEffectsDict | None


class AgreementDict(TypedDict):
    """An `Agreement`."""

    estimate: EstimateName
    chosen: Chosen
    n_headlines: int
    n_pairs: int
    pearson: float
    spearman: float
    pearson_within: float
    spearman_within: float
    estimates: Numbers
    truths: Numbers


class FaithfulnessDict(TypedDict):
    """A `Faithfulness`."""

    n_headlines: int
    accuracy_clean: float
    accuracy_spliced: float
    unchanged: float
    mean_kl: float
    cross_entropy_clean: float
    cross_entropy_spliced: float
    baselines: list[SpliceBaseline]
    mean_absolute_delta_p: float
    flips: list[list[int]]


class RemovalCurveDict(TypedDict):
    """A `RemovalCurve`."""

    kind: CurveKind
    order: Chosen
    n_headlines: int
    n_features: list[int]
    accuracy: Numbers
    unchanged: Numbers
    logit: Numbers


class SetAblationDict(TypedDict):
    """A `SetAblation`."""

    features: list[int]
    accuracy_before: float
    accuracy_after: float
    macro_f1_before: float
    macro_f1_after: float
    flips: list[list[int]]


class CausesDict(TypedDict):
    """An `InterventionsSummary` without the run that it belongs to."""

    device: str
    seconds: float
    config: dict[str, Any]
    completeness_gap: float
    agreement: list[AgreementDict]
    faithfulness: FaithfulnessDict
    curves: list[RemovalCurveDict]
    flips_searched: int
    flips_found: int
    unflipped: UnflippedSummaryDict
    repairs_searched: int
    repairs_found: int
    unrepaired: UnflippedSummaryDict
    interactions: InteractionSummaryDict | None
    set_ablation: SetAblationDict | None
    word_effects: WordSummaryDict | None
    words_left_out: str | None


class InterventionsDict(MadeFromDict, CausesDict):
    """An `InterventionsSummary`."""
