"""The five files of every run, and the optional `neighbours.json`."""

from typing import Any, Literal

from pydantic import Field, FiniteFloat, NonNegativeInt

from sae_pipeline.schema.common import Cell, FileName, FileSum, MadeWith, PositionKind, Record, Share
from sae_pipeline.schema.reports import ClassifierReport, SaeReport

MAX_COLUMNS = 100  # of a table beside text and label
MAX_FILES = 64  # that `metadata.json` may list

# --- metadata.json -------------------------------------------------------------------------------------


class Hookpoint(Record):
    """The place where activations are read: `hidden_states[layer]`, the output of `module`."""

    layer: int
    module: str


class ClassifierInfo(Record):
    """The classifier a run was made with."""

    model: str = Field(description="hub id or folder it was fine-tuned from")
    n_layers: int
    d_model: int
    revision: str | None = Field(description="the commit of a model on the hub")
    is_finetuned: bool = Field(description="false: it was taken as it is")
    max_length: int = Field(description="tokens that a headline is cut to, special ones included")
    report: ClassifierReport | None = Field(description="scores on test; null where the headlines have no labels")


class Origin(Record):
    """The files of another library that an imported SAE was read from."""

    format: str = Field(description='"saelens", "dictionary-learning" or "sparsify"')
    name: str = Field(description="of the folder")
    architecture: str = Field(description="the library's own name for the kind")
    files: dict[FileName, FileSum]
    l0: FiniteFloat | None = Field(description="what the files say of L0: measured, or k; null: nothing")
    fvu: FiniteFloat | None = Field(description="what the files say of FVU; null: nothing")


class SaeInfo(Record):
    """The SAE a run was made with."""

    size: str = Field(
        description='the user\'s name for it: "4k", "8k", …; "4k-e2e": finished end to end; "4k-saelens": imported'
    )
    d_in: int
    d_sae: int
    kind: str
    recipe: str
    l1_coefficient: FiniteFloat = Field(description="the user's L1_COEFFICIENT")
    sparsity_weight: FiniteFloat = Field(description="λ as trained, the weight of Σf against Σ(x−x̂)²")
    positions: PositionKind
    report: SaeReport
    origin: Origin | None = Field(None, description="null: it was trained here")


class MetricInfo(Record):
    """A metric: a number for each feature, by which the viewer sorts."""

    name: str = Field(description="key in feature_stats.json")
    label: str
    description: str


class Totals(Record):
    """Sizes of a run."""

    n_headlines: int
    n_cut: int = Field(description="headlines that are longer than the classifier reads")
    n_tokens: int = Field(description="tokens, special ones included")
    n_counted_tokens: int = Field(
        description="vectors that statistics count: tokens without special ones, or one per headline"
    )
    n_features: int
    n_live_features: int = Field(description="features that fire at least once in this run")
    n_features_with_examples: int


class RunMetadata(Record):
    """`metadata.json`: what a run was made from, with which settings and on which machine."""

    schema_version: Literal[2]
    run_id: str = Field(description='"run-034"')
    created_at: str = Field(description="ISO 8601, UTC")
    preset: str
    labels: list[str] = Field(description="the classes, in the order of the probabilities")
    labelled: bool = Field(description="false: each headline's label is the classifier's own prediction")
    columns: list[str] = Field(max_length=MAX_COLUMNS, description="the table's other columns, in its order")
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
    processes: int = Field(description="processes that shared the headlines")
    metrics: list[MetricInfo]
    totals: Totals
    files: dict[FileName, FileSum] = Field(max_length=MAX_FILES, description="the other files that the analysis wrote")


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
    columns: dict[str, Cell] = Field(description="its cells in the table's other columns")


# --- feature_stats.json --------------------------------------------------------------------------------


class MetricColumn(Record):
    """One metric over all features. The fields after `values` are left out for a metric that is no estimate.

    An estimate ranks features (`values`, `top`) on one half of the headlines and tests them on the other half: `tested`
    and the fields after it. So no headline both chooses a feature and supports it. A causal effect rests on all
    headlines and has no `tested`. A list is null where the metric has no such number. A feature with thin support has
    the neutral value, and null in place of an interval and a test.
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


class FeatureStatsFile(MadeWith):
    """`feature_stats.json`: statistics of every feature."""

    d_sae: int
    n_headlines: int
    n_counted_tokens: int
    headline_counts: list[NonNegativeInt] = Field(description="[d_sae] headlines on which the feature fires")
    counts: list[NonNegativeInt] = Field(description="[d_sae] counted tokens on which the feature fires")
    class_sizes: list[NonNegativeInt] = Field(description="[n_classes] headlines of each true label")
    class_headline_counts: list[list[NonNegativeInt]] = Field(
        description="[n_classes][d_sae] headlines of the class on which the feature fires"
    )
    class_means: list[list[FiniteFloat]] = Field(
        description="[n_classes][d_sae] mean over the class's headlines of the feature's maximum, 0 where silent"
    )
    metrics: list[MetricColumn]


# --- feature_tokens.json -------------------------------------------------------------------------------


class Firing(Record):
    """The tokens of one headline on which one feature fires, or its activation on the headline as a whole.

    An SAE that reads one vector per headline fires on no token: its position is 0, and the other fields are empty.
    """

    activation: FiniteFloat = Field(description="its value at `position`")
    position: NonNegativeInt
    token: str = Field(description='the WordPiece at `position`; "": the headline as a whole')
    word: str = Field(description="the whole word that the WordPiece belongs to, as written")
    positions: list[NonNegativeInt] = Field(description="every counted token on which the feature fires")
    values: list[FiniteFloat] = Field(description="activations at `positions`")


class Example(Firing):
    """A token on which a feature fires, with its headline."""

    headline: NonNegativeInt


GroupKind = Literal["quantile", "random"]


class ExampleGroup(Record):
    """A random draw from the headlines on which the feature's activation lies within [low, high]."""

    kind: GroupKind
    low: FiniteFloat = Field(description="smallest activation of the range")
    high: FiniteFloat = Field(description="largest activation of the range")
    n_headlines: NonNegativeInt = Field(description="headlines of the run in that range, estimated from a sample")
    examples: list[Example] = Field(description="strongest first")


class FiredWord(Record):
    """A word on which a feature fires more often than on words on average."""

    word: str = Field(description="case-folded")
    count: NonNegativeInt = Field(description="occurrences on which the feature fires")
    total: NonNegativeInt = Field(description="occurrences in the run")
    lift: FiniteFloat = Field(description="(count / total) / (the same ratio over all words)")


class FeatureExamples(Record):
    """The examples of one feature, and the words on which it fires."""

    feature: NonNegativeInt
    word: str = Field(description="the word of its strongest token")
    histogram: list[NonNegativeInt] = Field(description="counted tokens per bin of `histogram_edges`, zeros left out")
    examples: list[Example] = Field(description="strongest first")
    groups: list[ExampleGroup] = Field(description="empty where `examples` are all headlines on which it fires")
    words: list[FiredWord] = Field(description="most characteristic first")


class FeatureTokensFile(MadeWith):
    """`feature_tokens.json`: examples of the features that lead a metric, or of all that fire."""

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


class HeadlineFeaturesFile(MadeWith):
    """`headline_features.json`: the strongest features of every headline."""

    headlines: list[HeadlineFeatures]


# --- neighbours.json -----------------------------------------------------------------------------------

NEIGHBOURS, DECODER = "neighbours.json", "decoder.safetensors"


class NeighboursFile(MadeWith):
    """`neighbours.json`: the k features most like each feature, most alike first; fewer where there are no more."""

    d_sae: int
    k: int
    n_headlines: NonNegativeInt = Field(description="headlines that co-firing was counted on, chosen by hash")
    by_decoder: list[list[NonNegativeInt]] = Field(description="[d_sae][≤ k] by cosine of the decoder rows")
    decoder_cosine: list[list[FiniteFloat]]
    by_cofiring: list[list[NonNegativeInt]] = Field(description="[d_sae][≤ k] by Jaccard index over headlines")
    cofiring: list[list[Share]] = Field(description="headlines on which both fire / on which either fires")
