"""What the API answers of features, and of their places on the map."""

from typing import Literal

from pydantic import Field, FiniteFloat, NonNegativeInt

from sae_pipeline.schema.common import MIN_HEADLINES, Record, Share
from sae_pipeline.schema.explanations import Explanation
from sae_pipeline.schema.map import MapRegion
from sae_pipeline.schema.names import FeatureName
from sae_pipeline.schema.run import Example, FiredWord, MetricInfo, Prompt

Support = Literal["dead", "thin", "ok"]
_SUPPORT = f"whether it fires on no headline (dead), on fewer than {MIN_HEADLINES} (thin), or on more (ok)"
_FOUND = "null where the run has no names, or none that predicts well enough"


class FoundName(Record):
    """The name that the analysis found for a feature, and how well it predicts where the feature fires."""

    text: str
    score: Share = Field(description="AUROC on headlines that did not choose the name; 0.5 is chance")
    low: Share = Field(description="lower end of the 95 % interval")
    high: Share


class NearestExample(Record):
    """Why a search by meaning found a feature: the nearest of its saved examples."""

    headline: NonNegativeInt
    text: str
    similarity: FiniteFloat = Field(description="cosine of its sentence vector with that of the text searched for")


class FeatureRow(Record):
    """A feature in a list."""

    feature: NonNegativeInt
    word: str | None = Field(description="word of its strongest token; null where no examples were saved")
    found_name: FoundName | None = Field(description=_FOUND)
    has_examples: bool
    n_headlines: NonNegativeInt = Field(description="headlines on which it fires")
    density: Share = Field(description="share of counted tokens on which it fires")
    status: Support = Field(description=_SUPPORT)
    leaning: NonNegativeInt | None = Field(description="class with its highest AUROC; null where not known")
    histogram: list[NonNegativeInt] = Field(
        description="counts of its activations in at most 16 log-spaced bins; empty where not saved"
    )
    values: dict[str, FiniteFloat] = Field(description="metrics by name")
    slice_effects: list[FiniteFloat] | None = Field(
        description="[n_classes] mean integrated effect on each class's centred logit over the slice's headlines that "
        "list the feature among their leading causes in interventions.json; it rests on the listed features of each "
        "headline only, while the run-wide effects in feature_effects.json rest on all features and all headlines; "
        "null without `where` or causal findings, and where no headline of the slice lists the feature"
    )
    n_slice_effects: NonNegativeInt | None = Field(
        description="headlines behind `slice_effects`; null without `where` or causal findings"
    )
    nearest: NearestExample | None = Field(description="null but in a search by meaning")


class FeaturesPage(Record):
    run_id: str
    metric: str = Field(description="the metric that orders the list")
    metrics: list[MetricInfo]
    total: NonNegativeInt = Field(description="features that match the filters")
    n_exact: NonNegativeInt = Field(
        description="of them, exact matches of `q` or `token`, which are listed first; the metric orders the rest"
    )
    n_features: NonNegativeInt = Field(description="features in the run")
    n_slice: NonNegativeInt | None = Field(description="headlines that meet `where`; null without it")
    place: NonNegativeInt | None = Field(description="0-based rank of `around`; null where the list does not hold it")
    offset: NonNegativeInt
    limit: NonNegativeInt
    features: list[FeatureRow]


class FeatureStat(Record):
    """One metric of one feature."""

    name: str
    value: FiniteFloat
    rank: NonNegativeInt = Field(description="1 = highest of all features")
    tested: FiniteFloat | None = Field(
        description="the metric on headlines that did not rank the feature; the next four fields describe this number"
    )
    n: NonNegativeInt | None = Field(description="headlines behind it")
    low: FiniteFloat | None = Field(description="lower end of the 95 % interval")
    high: FiniteFloat | None = Field(description="upper end of the 95 % interval")
    q: Share | None = Field(description="false-discovery rate")


class Histogram(Record):
    edges: list[FiniteFloat] = Field(description="log-spaced, one more than counts")
    counts: list[NonNegativeInt]


class ExampleInHeadline(Example):
    """An example and its headline."""

    prompt: Prompt


class ClassSplit(Record):
    """A feature within one class of headlines (true label); null where the run does not say."""

    n_headlines: NonNegativeInt = Field(description="headlines of the class")
    n_fired: NonNegativeInt = Field(description="headlines of the class on which the feature fires")
    mean_max: FiniteFloat = Field(description="mean over headlines of the class of the feature's maximum")
    auroc: FiniteFloat | None = Field(
        description="of the class against the rest, by the headline's maximum, on headlines that did not rank it"
    )
    auroc_low: FiniteFloat | None
    auroc_high: FiniteFloat | None
    auroc_q: FiniteFloat | None
    effect: FiniteFloat | None = Field(description="mean effect on the class's centred logit")
    effect_low: FiniteFloat | None
    effect_high: FiniteFloat | None
    effect_n: NonNegativeInt | None


class ExampleGroupAnswer(Record):
    """Examples from one range of activations."""

    kind: Literal["top", "quantile", "random"]
    low: FiniteFloat = Field(description="smallest headline maximum in the range")
    high: FiniteFloat
    n_headlines: NonNegativeInt = Field(description="headlines whose maximum lies in the range")
    examples: list[ExampleInHeadline]


class SimilarFeature(Record):
    feature: NonNegativeInt
    word: str | None
    found_name: FoundName | None = Field(description=_FOUND)
    similarity: FiniteFloat = Field(
        description="cosine of decoder rows, or Jaccard index of the headlines they fire on"
    )


class FamilyMatch(Record):
    """The feature's counterpart in another SAE on the same activations."""

    size: str
    sae_hash: str
    run_id: str | None = Field(description="newest run of that SAE, where there is one")
    feature: NonNegativeInt | None
    cosine: FiniteFloat | None
    coactivation: FiniteFloat | None = Field(description="Jaccard index of the tokens on which both fire")
    verdict: Literal["match", "split", "absent"]
    siblings: list[SimilarFeature] = Field(
        description="up to 8 other features of this run with the same counterpart, by their cosine with it"
    )


class FeatureInfo(Record):
    run_id: str
    labels: list[str]
    feature: NonNegativeInt
    word: str | None
    found_name: FoundName | None = Field(description=_FOUND)
    naming: FeatureName | None = Field(
        description="how the analysis named the feature, also where it found no name; null where the run has no names"
    )
    explanation: Explanation | None = Field(description="what a language model said of it; null where none was asked")
    n_headlines: NonNegativeInt
    n_headlines_in_run: NonNegativeInt
    density: Share
    status: Support = Field(description=_SUPPORT)
    leaning: NonNegativeInt | None
    metrics: list[MetricInfo]
    stats: list[FeatureStat]
    classes: list[ClassSplit] = Field(description="one per label, in their order")
    histogram: Histogram | None
    examples_saved: bool
    message: str | None = Field(description="why there are no examples; null where there are some")
    examples: list[ExampleInHeadline] = Field(description="those of the first group, strongest first")
    groups: list[ExampleGroupAnswer] = Field(description="the strongest examples, then those of other ranges")
    words: list[FiredWord]
    similar_decoder: list[SimilarFeature] = Field(description="features with the most similar decoder rows")
    similar_cofiring: list[SimilarFeature] = Field(description="features that fire on similar sets of headlines")
    family: list[FamilyMatch]


class SetFeature(Record):
    """A feature of a set."""

    feature: NonNegativeInt
    word: str | None
    found_name: FoundName | None = Field(description=_FOUND)
    n_headlines: NonNegativeInt


class SetInMember(Record):
    """A set's features in another SAE on the same activations; lists have one entry per feature of the set."""

    size: str
    seed: int
    sae_hash: str
    run_id: str | None = Field(description="newest run of that SAE, where there is one")
    n_found: NonNegativeInt = Field(description="features of the set that are found there")
    feature: list[NonNegativeInt] = Field(description="feature of that SAE with the nearest decoder row")
    cosine: list[FiniteFloat] = Field(description="cosine of the two decoder rows")
    found: list[bool] = Field(description="whether the cosine is at least 0.7")


class SetAnswer(Record):
    """A set of features that people named."""

    name: str
    note: str
    updated_at: str | None
    features: list[SetFeature]
    members: list[SetInMember] = Field(description="the SAEs of `family.json`; none where the run has no such file")


class SetsAnswer(Record):
    """The sets of features of a run's SAE."""

    run_id: str
    sae_hash: str
    sets: list[SetAnswer]


class FeatureDensity(Record):
    """How many features fire how often."""

    run_id: str
    edges: list[FiniteFloat] = Field(description="log10 of the share of counted tokens; one more than counts")
    counts: list[NonNegativeInt] = Field(description="live features per bin")
    n_dead: NonNegativeInt = Field(description="features that never fire in this run")


class MapColumn(Record):
    """A number for each feature of the map, which may colour it."""

    name: str
    label: str
    description: str
    kind: Literal["density", "effect", "stability"]
    values: list[FiniteFloat] = Field(description="one per feature of the map")


class MapAnswer(Record):
    """The live features of a run in the plane; lists have one entry per feature of `features`."""

    run_id: str
    labels: list[str]
    method: str = Field(description="how the features were placed")
    named_by: str = Field(description="how the regions were named")
    regions: list[MapRegion] = Field(description="largest first")
    features: list[NonNegativeInt]
    x: list[Share]
    y: list[Share]
    region: list[int] = Field(description="index into `regions`; -1: between regions")
    words: list[str | None] = Field(description="word of the strongest token; null where no examples were saved")
    found_names: list[FoundName | None] = Field(description=_FOUND)
    n_headlines: list[NonNegativeInt] = Field(description="headlines on which the feature fires")
    leaning: list[int] = Field(description="class with the feature's highest AUROC; -1 where not known")
    columns: list[MapColumn]
