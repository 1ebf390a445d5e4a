"""What the API takes and answers; OpenAPI and the viewer's TypeScript types are generated from here."""

from functools import cache
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, NonNegativeInt

from sae_pipeline.runs.column_tables import ColumnFacts
from sae_pipeline.schema.causes import HeadlineEffects, InterventionsSummary
from sae_pipeline.schema.common import MIN_HEADLINES, Cell, Record, Share
from sae_pipeline.schema.contrast import ContrastFile
from sae_pipeline.schema.explanations import Explanation
from sae_pipeline.schema.map import MapRegion
from sae_pipeline.schema.names import FeatureName, NameScores
from sae_pipeline.schema.run import Example, FiredFeature, FiredWord, MetricInfo, Prompt, RunMetadata

Support = Literal["dead", "thin", "ok"]
By = Literal["words", "meaning"]
_BY = "how `q` is searched for: as words, or by the sentence encoder, which finds the 100 that mean most alike"
_SUPPORT = f"whether it fires on no headline (dead), on fewer than {MIN_HEADLINES} (thin), or on more (ok)"

_FOUND = "null where the run has no names, or none that predicts well enough"

# --- queries -------------------------------------------------------------------------------------------


class Query(BaseModel):
    """Query parameters; unknown parameters are refused."""

    model_config = ConfigDict(extra="forbid")

    @classmethod
    def model_json_schema(cls, *arguments: Any, **options: Any) -> dict[str, Any]:
        """The schema, kept for the default options: flask-openapi3 asks for it with every request, which is slow."""
        return super().model_json_schema(*arguments, **options) if arguments or options else _schema_of(cls)


class RunQuery(Query):
    """The run that answers."""

    run: str | None = Field(
        None, max_length=64, description='"34", "run-034" or a folder name; default: the served run'
    )


class PageQuery(RunQuery):
    """A page of a list."""

    limit: int = Field(50, ge=1, le=500)
    offset: int = Field(0, ge=0, le=10**9)


class SliceQuery(RunQuery):
    """Headlines with certain values in the table's other columns."""

    where: list[Annotated[str, Field(max_length=2_000)]] = Field(
        [],
        max_length=20,
        description="a condition on a column: `ticker:AAPL`, a range with both ends `date:2024-01-01..2024-03-31`, one "
        "end `year:2024..`, or `ticker:` for no value; a text that begins with the end of a range lies in it; "
        "conditions on one column combine with OR, those on several with AND",
    )


class ConfusionQuery(SliceQuery):
    """Filters of `/api/confusion`; they combine with AND."""

    q: str | None = Field(None, max_length=200, description="text to search for")
    by: By = Field("words", description=_BY)
    feature: int | None = Field(
        None, ge=0, le=10**9, description="only headlines with this feature among their strongest ones"
    )
    min_confidence: Share | None = Field(
        None, description="only headlines whose predicted class has at least this probability"
    )
    max_confidence: Share | None = Field(
        None, description="only headlines whose predicted class has at most this probability"
    )


class HeadlinesQuery(PageQuery, ConfusionQuery):
    """Filters of `/api/headlines`; they combine with AND."""

    label: int | None = Field(None, ge=0, le=1000, description="true class")
    prediction: int | None = Field(None, ge=0, le=1000, description="predicted class")
    correct: bool | None = None
    sort: str = Field(
        "position",
        max_length=2_000,
        pattern=r"^(position|confidence|margin|loss|column:[\s\S]+)$",
        description="position, confidence, margin or loss; `column:NAME` sorts by a column of the table, with "
        "headlines without a value last; in a search by meaning, position stands for the nearest first",
    )
    order: Literal["asc", "desc"] = "asc"


class FeaturesQuery(PageQuery, SliceQuery):
    """Order, search and filters of `/api/features`; filters combine with AND.

    With `where`, which filters no features, the answer has the metrics `slice_rate` and `slice_difference` and, for a
    run with causal findings, the features' `slice_effects`.
    """

    q: str | None = Field(
        None,
        max_length=200,
        description="a feature's number or its first digits, or a part of its label, its found name, its "
        "explanation or its strongest token's word",
    )
    by: By = Field("words", description=f"{_BY}; the answer then has the metric `similarity`")
    metric: str | None = Field(
        None, max_length=2_000, description="default: the run's first metric; in a search by meaning `similarity`"
    )
    order: Literal["desc", "asc"] = "desc"
    token: str | None = Field(
        None, max_length=100, description="only features that fire on a word that begins with this"
    )
    support: Literal["all", "live", "dead", "thin", "solid"] = Field(
        "all",
        description=f"how many headlines the feature fires on: any, at least 1 (live), none (dead), fewer than "
        f"{MIN_HEADLINES} but at least 1 (thin), at least {MIN_HEADLINES} (solid)",
    )
    min_density: Share | None = Field(None, description="least share of counted tokens on which the feature fires")
    max_density: Share | None = Field(None, description="largest share of counted tokens on which the feature fires")
    leaning: int | None = Field(None, ge=0, le=1000, description="class with the feature's highest AUROC")
    labelled: bool | None = Field(None, description="whether the feature has a human label")
    around: int | None = Field(
        None, ge=0, le=10**9, description="a feature to show in the middle of the page; `offset` is ignored"
    )


class ColumnQuery(RunQuery):
    """A column, and which of its values to list."""

    column: str = Field(max_length=2_000)
    q: str | None = Field(None, max_length=200, description="a part of the values to list")
    limit: int = Field(20, ge=1, le=200)


class FeatureInfoQuery(RunQuery):
    """A feature to describe."""

    id: int = Field(ge=0, le=10**9)


class SimilarHeadlinesQuery(RunQuery):
    """The headline that others are compared with."""

    headline: int = Field(ge=0, le=10**9, description="0-based index in the run")
    limit: int = Field(10, ge=1, le=50)


class CompareQuery(Query):
    """Runs to show side by side: one headline in all of them, or a feature of the first run in the others."""

    runs: str = Field(
        max_length=260, pattern="^[^,]+(,[^,]+){0,3}$", description="up to four runs, separated by commas"
    )
    headline_id: str | None = Field(None, max_length=64)
    feature: int | None = Field(None, ge=0, le=10**9, description="a feature of the first run")


class LabelsSeen(BaseModel):
    """The labels that a change starts from."""

    if_match: str | None = Field(None, alias="If-Match", max_length=1000, description="the ETag of the labels read")


@cache
def _schema_of(model: type[Query]) -> dict[str, Any]:
    return model.model_json_schema(mode="validation")


# --- answers -------------------------------------------------------------------------------------------


class ErrorDetail(Record):
    code: str
    message: str


class ErrorAnswer(Record):
    """The answer with every 4xx and 5xx status."""

    error: ErrorDetail


class FoundName(Record):
    """The name that the analysis found for a feature, and how well it predicts where the feature fires."""

    text: str
    score: Share = Field(description="AUROC on headlines that did not choose the name; 0.5 is chance")
    low: Share = Field(description="lower end of the 95 % interval")
    high: Share


class Headline(Prompt):
    """A headline with its strongest features."""

    headline: NonNegativeInt = Field(description="0-based index in the run")
    features: list[FiredFeature]
    effects: HeadlineEffects | None = Field(description="causal findings, where the run has some for the headline")
    found_names: dict[NonNegativeInt, FoundName] = Field(
        description="found names of the features in `features` and `effects`, by feature; those without one are left "
        "out"
    )
    similarity: FiniteFloat | None = Field(
        description="cosine of its sentence vector with that of the text searched for; null but in a search by meaning"
    )


class HeadlinesPage(Record):
    run_id: str
    labels: list[str]
    total: NonNegativeInt = Field(description="headlines that match the filters")
    n_headlines: NonNegativeInt = Field(description="headlines in the run")
    n_correct: NonNegativeInt = Field(description="correctly predicted headlines in the run")
    offset: NonNegativeInt
    limit: NonNegativeInt
    headlines: list[Headline]


class Confusion(Record):
    """How many headlines of each true label got which prediction."""

    run_id: str
    labels: list[str]
    counts: list[list[NonNegativeInt]] = Field(
        description="headlines that match the filters, [true label][prediction], both in the order of `labels`"
    )


class ColumnsAnswer(Record):
    run_id: str
    columns: list[ColumnFacts] = Field(description="the table's columns beside text and label, in its order")


class ColumnValue(Record):
    value: Cell
    n_headlines: NonNegativeInt


class ColumnAnswer(ColumnFacts):
    """A column and its most frequent values."""

    run_id: str
    total: NonNegativeInt = Field(description="values that contain `q`")
    values: list[ColumnValue] = Field(description="most frequent first")


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
    values: list[FiniteFloat] = Field(description="one per feature of the map; stability is −1 where it is not known")


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


class SimilarHeadline(Record):
    similarity: FiniteFloat = Field(description="cosine of the two headlines' saved activations")
    headline: Headline


class SimilarHeadlines(Record):
    run_id: str
    headline: NonNegativeInt
    similar: list[SimilarHeadline] = Field(description="most similar first")


class FeatureMatches(Record):
    """The features of one run that are most like the feature asked about."""

    run_id: str
    features: list[SimilarFeature] = Field(description="by cosine of decoder rows; empty where these are not saved")


class CompareAnswer(Record):
    """Lists with one entry for each run asked for; `matches` has none for the first run."""

    runs: list[RunMetadata]
    headlines: list[Headline | None] = Field(description="null where the run lacks the headline or none was asked for")
    matches: list[FeatureMatches]


class InterventionsAnswer(InterventionsSummary):
    """`interventions.json` without its headlines, which `/api/headlines` gives."""


class ContrastAnswer(ContrastFile):
    """`contrast.json`, with what its features are called."""

    found_names: dict[NonNegativeInt, FoundName] = Field(
        description="found names of the features that are listed; those without one are left out"
    )


class NamesSummary(Record):
    """How a run's names were found, and how well they predict, beside the controls."""

    formula: str
    least_score: Share
    least_f1: Share
    n_choosing: NonNegativeInt
    n_testing: NonNegativeInt
    scores: list[NameScores]


class RunAnswer(RunMetadata):
    """A run's `metadata.json`, and what is known of the files that a run can do without."""

    has_causes: bool = Field(description="whether the run has causal findings about its predictions")
    names: NamesSummary | None = Field(description="null where the run has no names")
    damaged_files: list[str] = Field(
        description="a sentence for each optional file that is damaged and left out; it says what makes the file anew"
    )


class RunSummary(Record):
    """A run in the list of runs."""

    run_id: str
    folder: str
    created_at: str | None
    readable: bool
    reason: str | None = Field(description="why the run cannot be read; null where it can")
    is_default: bool
    preset: str | None
    model: str | None
    sae_size: str | None
    layer: int | None
    n_headlines: NonNegativeInt | None
    has_interventions: bool
    sae_hash: str | None
    d_sae: NonNegativeInt | None
    l0: FiniteFloat | None = Field(description="held-out active features per token")
    fvu: FiniteFloat | None = Field(description="held-out fraction of variance unexplained")
    unchanged: FiniteFloat | None = Field(description="share of predictions that stay the same when spliced")


class RunsAnswer(Record):
    runs: list[RunSummary] = Field(description="newest first")


class HealthAnswer(Record):
    """The default run, which can be served."""

    status: Literal["ok"]
    version: str
    run_id: str
    n_headlines: NonNegativeInt
    n_features: NonNegativeInt
