"""Every file of a run, typed once; the API and the viewer's TypeScript types are generated from here.

A run is a folder `analysis_data/<YYYYmmdd-HHMMSS>_run-XXX/`:

| file | type here |
| --- | --- |
| `metadata.json` | `RunMetadata` |
| `prompts.jsonl` | one `Prompt` a line |
| `feature_stats.json` | `FeatureStatsFile` |
| `feature_tokens.json` | `FeatureTokensFile` |
| `headline_features.json` | `HeadlineFeaturesFile` |
| `neighbours.json` (optional) | `NeighboursFile` |
| `decoder.safetensors` (optional) | float16 `W_dec` [d_sae, d_in], for matching runs |
| `feature_effects.json` (optional) | `FeatureEffectsFile` |
| `interventions.json` (optional) | `InterventionsFile` |

Conventions. *position*: 0-based index of a token in the model's input, `[CLS]` = 0. *headline*: 0-based line
of `prompts.jsonl`. *starts, ends*: code points into the headline's text as written (half open). *activation*:
f, in units of x_norm (see `sae.py`). Numbers are finite and carry 6 significant digits.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, NonNegativeInt

SCHEMA_VERSION = 1
RUN_FILES = (
    "metadata.json",
    "prompts.jsonl",
    "feature_stats.json",
    "feature_tokens.json",
    "headline_features.json",
)

Share = Annotated[FiniteFloat, Field(ge=0, le=1)]
PositionKind = Literal["words", "all"]
Kind = Literal["relu", "topk", "batchtopk", "jumprelu", "gated", "matryoshka"]


class Record(BaseModel):
    """A frozen record that refuses unknown fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)


# --- reports -------------------------------------------------------------------------------------------


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


# --- metadata.json -------------------------------------------------------------------------------------


class Hookpoint(Record):
    """Where activations are read: `hidden_states[layer]`, the output of `module`."""

    layer: int
    module: str


class ClassifierInfo(Record):
    """The classifier a run was made with."""

    model: str = Field(description="hub id or folder it was fine-tuned from")
    n_layers: int
    d_model: int
    report: ClassifierReport


class SaeInfo(Record):
    """The SAE a run was made with."""

    size: str = Field(description='the user\'s name for it: "4k", "8k", "16k", "32k"')
    d_in: int
    d_sae: int
    kind: str
    recipe: str
    l1_coefficient: FiniteFloat = Field(description="the user's L1_COEFFICIENT")
    sparsity_weight: FiniteFloat = Field(description="λ as trained, the weight of Σf against Σ(x−x̂)²")
    positions: PositionKind
    report: SaeReport


class MetricInfo(Record):
    """A feature metric: a number for each feature, sortable in the viewer."""

    name: str = Field(description="key in feature_stats.json")
    label: str
    description: str


class Totals(Record):
    """Sizes of a run."""

    n_headlines: int
    n_tokens: int = Field(description="tokens, special ones included")
    n_counted_tokens: int = Field(description="tokens that statistics count (no specials)")
    n_features: int
    n_live_features: int = Field(description="features that fire at least once in this run")
    n_features_with_examples: int


class RunMetadata(Record):
    """`metadata.json`: what was run, on what, with which settings."""

    schema_version: Literal[1]
    run_id: str = Field(description='"run-034"')
    created_at: str = Field(description="ISO 8601, UTC")
    preset: str
    labels: list[str]
    classifier_hash: str
    sae_hash: str
    data_hash: str
    hookpoint: Hookpoint
    classifier: ClassifierInfo
    sae: SaeInfo
    sae_family: dict[str, SaeReport] = Field(
        description="reports of every SAE size trained on the same activations, by size name"
    )
    configs: dict[str, dict[str, Any]] = Field(description="every stage's settings")
    versions: dict[str, str]
    device: str
    backend: str = Field(description="which kernels encoded the features")
    dtype: str
    processes: int = Field(1, description="processes that shared the headlines")
    metrics: list[MetricInfo]
    totals: Totals


# --- prompts.jsonl -------------------------------------------------------------------------------------


class Prompt(Record):
    """One headline as the classifier saw it."""

    headline_id: str = Field(description="short hash of the text: the same in every run")
    text: str
    label: NonNegativeInt = Field(description="true class, index into labels")
    prediction: NonNegativeInt
    probabilities: list[Share]
    tokens: list[str] = Field(description="WordPieces, special tokens included")
    starts: list[NonNegativeInt]
    ends: list[NonNegativeInt]
    words: list[int] = Field(description="0-based word each token belongs to; -1 for special tokens")


# --- feature_stats.json --------------------------------------------------------------------------------


class MetricColumn(Record):
    """One metric over all features, with its uncertainty where it is an estimate.

    An estimate of a run is ranked (`values`, `top`) on one half of the headlines and tested (`tested` and all below) on
    the other, so that no headline both chooses a feature and speaks for it. Features with thin evidence stand at the
    neutral value and have no interval and no test: null.
    """

    name: str
    top: list[NonNegativeInt] = Field(description="features in descending order of the metric, TOP_FEATURES long")
    values: list[FiniteFloat] = Field(description="[d_sae]")
    tested: list[FiniteFloat | None] | None = Field(
        None, description="[d_sae] the same number on headlines that did not choose"
    )
    n: list[NonNegativeInt] | None = Field(None, description="[d_sae] headlines that the estimate rests on")
    low: list[FiniteFloat | None] | None = Field(None, description="[d_sae] lower end of the 95 % interval")
    high: list[FiniteFloat | None] | None = Field(None, description="[d_sae] upper end of the 95 % interval")
    q: list[Share | None] | None = Field(
        None,
        description="[d_sae] false-discovery rate (Benjamini–Hochberg) at which it differs from its neutral value",
    )


class FeatureStatsFile(Record):
    """`feature_stats.json`: statistics of every feature."""

    d_sae: int
    n_headlines: int
    n_counted_tokens: int
    headline_counts: list[NonNegativeInt] = Field(description="[d_sae] headlines on which the feature fires")
    counts: list[NonNegativeInt] | None = Field(None, description="[d_sae] counted tokens on which the feature fires")
    class_sizes: list[NonNegativeInt] | None = Field(None, description="[n_classes] headlines of each true label")
    class_headline_counts: list[list[NonNegativeInt]] | None = Field(
        None, description="[n_classes][d_sae] headlines of the class on which the feature fires"
    )
    class_means: list[list[FiniteFloat]] | None = Field(
        None, description="[n_classes][d_sae] mean over the class's headlines of the feature's maximum, 0 where silent"
    )
    train_headline_share: list[Share] | None = Field(
        None, description="[d_sae] share of the training headlines on which the feature fires"
    )
    metrics: list[MetricColumn]


# --- feature_tokens.json -------------------------------------------------------------------------------


class Firing(Record):
    """Where one feature fires in one headline."""

    activation: FiniteFloat = Field(description="its value at `position`")
    position: NonNegativeInt
    token: str = Field(description="the WordPiece at `position`")
    word: str = Field(description="the whole word that the WordPiece belongs to, as written")
    positions: list[NonNegativeInt] = Field(description="every counted token on which the feature fires")
    values: list[FiniteFloat] = Field(description="activations at `positions`")


class Example(Firing):
    """A token that fires a feature, with its headline."""

    headline: NonNegativeInt


class ExampleGroup(Record):
    """Some of the headlines on which a feature fires, drawn without regard to its strength within [low, high]."""

    kind: Literal["quantile", "random"]
    low: FiniteFloat = Field(description="activation, included")
    high: FiniteFloat = Field(description="activation, included")
    n_headlines: NonNegativeInt = Field(description="headlines of the run in that range, estimated from a sample")
    examples: list[Example] = Field(description="strongest first")


class FiredWord(Record):
    """A word that fires a feature more often than words do on average."""

    word: str = Field(description="case-folded")
    count: NonNegativeInt = Field(description="occurrences on which the feature fires")
    total: NonNegativeInt = Field(description="occurrences in the run")
    lift: FiniteFloat = Field(description="(count / total) / (the same ratio over all words)")


class FeatureExamples(Record):
    """A feature's strongest tokens."""

    feature: NonNegativeInt
    word: str = Field(description="the word of its strongest token")
    histogram: list[NonNegativeInt] = Field(description="counted tokens per bin of `histogram_edges`, zeros left out")
    examples: list[Example] = Field(description="strongest first")
    groups: list[ExampleGroup] = Field(
        default_factory=list, description="empty where `examples` are all headlines on which it fires"
    )
    words: list[FiredWord] = Field(default_factory=list, description="most telling first")


class FeatureTokensFile(Record):
    """`feature_tokens.json`: examples of the features that lead some metric, or of all that fire."""

    histogram_edges: list[FiniteFloat] = Field(description="log-spaced bin edges, one more than bins")
    features: list[FeatureExamples]


# --- headline_features.json ----------------------------------------------------------------------------


class FiredFeature(Firing):
    """A feature that fires in a headline; `position` is where it fires most."""

    feature: NonNegativeInt


class HeadlineFeatures(Record):
    """The strongest features of one headline, by maximum over its counted tokens."""

    headline: NonNegativeInt
    headline_id: str
    features: list[FiredFeature] = Field(description="strongest first")


class HeadlineFeaturesFile(Record):
    """`headline_features.json`."""

    headlines: list[HeadlineFeatures]


# --- neighbours.json -----------------------------------------------------------------------------------

NEIGHBOURS, DECODER = "neighbours.json", "decoder.safetensors"


class NeighboursFile(Record):
    """`neighbours.json`: the k features most like each feature, most alike first; fewer where there are no more."""

    d_sae: int
    k: int
    n_headlines: NonNegativeInt = Field(description="headlines that co-firing was counted on, drawn by hash")
    by_decoder: list[list[NonNegativeInt]] = Field(description="[d_sae][≤ k] by cosine of the decoder rows")
    decoder_cosine: list[list[FiniteFloat]]
    by_cofiring: list[list[NonNegativeInt]] = Field(description="[d_sae][≤ k] by Jaccard index over headlines")
    cofiring: list[list[Share]] = Field(description="headlines on which both fire / on which either fires")


# --- feature_effects.json ------------------------------------------------------------------------------

FEATURE_EFFECTS, INTERVENTIONS = "feature_effects.json", "interventions.json"


class FeatureEffectsFile(Record):
    """`feature_effects.json`: what every feature does to every class, over a run's headlines."""

    schema_version: Literal[1]
    run_id: str
    classifier_hash: str
    sae_hash: str
    d_sae: int
    n_headlines: NonNegativeInt
    metrics: list[MetricInfo] = Field(description="names, labels and formulas of the columns, as in metadata.json")
    columns: list[MetricColumn]


# --- interventions.json --------------------------------------------------------------------------------


class Agreement(Record):
    """How an estimated effect on the predicted class agrees with true ablation, over some features."""

    estimate: Literal["gradient", "integrated"] = Field(
        description="gradient × activation, or integrated gradients along the joint path of all features"
    )
    chosen: Literal["activation", "attribution", "random"] = Field(description="how features were chosen")
    n_headlines: NonNegativeInt
    n_pairs: NonNegativeInt
    pearson: FiniteFloat = Field(description="all pairs together")
    spearman: FiniteFloat = Field(description="all pairs together")
    pearson_within: FiniteFloat = Field(description="median over headlines of the correlation within one")
    spearman_within: FiniteFloat = Field(description="median over headlines of the correlation within one")
    estimates: list[FiniteFloat] = Field(description="a sample of the pairs, for a scatter plot")
    truths: list[FiniteFloat] = Field(description="true effects (before − after ablation) of the same pairs")


class Faithfulness(Record):
    """Predictions with the reconstruction in place of the activations, against the classifier's own."""

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
    """What is left of predictions as features are removed from each headline, or as all but some are."""

    kind: Literal["deletion", "insertion"] = Field(
        description="deletion: the first n removed; insertion: only they kept"
    )
    order: Literal["attribution", "activation", "random"]
    n_headlines: NonNegativeInt
    n_features: list[NonNegativeInt] = Field(description="n at each point, per headline")
    accuracy: list[Share]
    unchanged: list[Share] = Field(description="share of headlines that keep their prediction")
    logit: list[FiniteFloat] = Field(description="mean centred logit of the original prediction")


class SetAblation(Record):
    """The classifier with a chosen set of features ablated everywhere."""

    features: list[NonNegativeInt]
    accuracy_before: Share
    accuracy_after: Share
    macro_f1_before: Share
    macro_f1_after: Share
    flips: list[list[NonNegativeInt]] = Field(description="[prediction][prediction after], headlines")


class FeatureEffect(Record):
    """What one feature does in one headline. Effects are what a class owes to it: before − after."""

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


class HeadlineEffects(Record):
    """Causes of one prediction. base + Σ effects + rest = logits, exactly."""

    headline: NonNegativeInt
    headline_id: str
    logits: list[FiniteFloat] = Field(description="[n_classes] centred")
    base: list[FiniteFloat] = Field(description="[n_classes] centred, with all features ablated")
    rest: list[FiniteFloat] = Field(
        description="[n_classes] what base and the listed effects leave: all other features"
    )
    features: list[FeatureEffect] = Field(description="largest effect on the predicted class first")
    spliced_prediction: NonNegativeInt = Field(description="prediction from the SAE's reconstruction")
    spliced_delta_p: FiniteFloat = Field(description="change of the predicted class's probability when spliced")
    spliced_kl: FiniteFloat = Field(description="KL(clean ‖ spliced), nats")
    flip: FlipPath | None = Field(description="away from the prediction; null: not searched or not found")
    repair: FlipPath | None = Field(description="from a wrong prediction to the true label; null: likewise")


class InterventionsSummary(Record):
    """Causal evidence for a run's predictions as a whole."""

    schema_version: Literal[1]
    run_id: str
    classifier_hash: str
    sae_hash: str
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
    repairs_searched: NonNegativeInt
    repairs_found: NonNegativeInt
    set_ablation: SetAblation | None


class InterventionsFile(InterventionsSummary):
    """`interventions.json`: the whole, and one record per headline."""

    headlines: list[HeadlineEffects]


# --- family.json ---------------------------------------------------------------------------------------

FAMILY = "family.json"
Verdict = Literal["match", "split", "absent"]


class FamilyMember(Record):
    """Another SAE on the same activations: another size, or the same with another seed."""

    size: str
    sae_hash: str
    seed: int
    kind: str


class MemberMatches(Record):
    """What has become of each feature of the run's SAE in one other SAE; lists are [d_sae]."""

    feature: list[NonNegativeInt] = Field(description="the other's feature with the nearest decoder row")
    cosine: list[FiniteFloat] = Field(description="of the two decoder rows")
    coactivation: list[Share] = Field(description="tokens on which both fire / on which either fires")
    verdict: list[Verdict] = Field(
        description="match: cosine ≥ 0.7; split: cosine ≥ 0.4 and one fires on at least half of the other's tokens; "
        "else absent"
    )


class FamilyFile(Record):
    """`family.json`: the run's SAE among its sizes and seeds."""

    schema_version: Literal[1]
    sae_hash: str
    d_sae: int
    n_tokens: NonNegativeInt = Field(description="counted tokens that co-activation was counted on")
    members: list[FamilyMember]
    matches: list[MemberMatches] = Field(description="one per member, in their order")


# --- an SAE's evidence (finbert_sae/evidence/<sae_hash>.json) ------------------------------------------


class ProbeScore(Record):
    """k-sparse probing: how well the k most telling features alone say a headline's label."""

    k: NonNegativeInt = Field(description="features per class, chosen on train")
    auroc: Share = Field(description="mean over classes of one-against-rest AUROC on test")


class Stability(Record):
    """How far trainings that differ by seed alone find the same features."""

    seeds: list[int]
    mean_cosine: FiniteFloat = Field(
        description="mean over live features and pairs of seeds of the nearest row's cosine"
    )
    matched_share: Share = Field(description="share of live features whose nearest row has a cosine of at least 0.7")
    chance_cosine: FiniteFloat = Field(description="the same mean for random directions")


class Control(Record):
    """What something that is not an SAE of this classifier scores at the same sparsity."""

    name: Literal["sae", "pca", "neurons", "random model"]
    code: CodeQuality
    spliced: SpliceReport | None = Field(description="null: another network's activations cannot be spliced in")
    probing: list[ProbeScore]


class EvidenceFile(Record):
    """What the costly part of the evaluation says about one SAE."""

    schema_version: Literal[1]
    sae_hash: str
    size: str
    seconds: FiniteFloat
    controls: list[Control] = Field(description="the SAE itself first")
    stability: Stability
