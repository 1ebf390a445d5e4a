"""What the API takes and answers; OpenAPI and the viewer's TypeScript types are generated from here."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, NonNegativeInt

from sae_pipeline.schema import Example, FiredFeature, MetricInfo, Prompt, Record

# --- queries -------------------------------------------------------------------------------------------


class Query(BaseModel):
    """Query parameters; unknown ones are refused."""

    model_config = ConfigDict(extra="forbid")


class RunQuery(Query):
    """Which run to answer from."""

    run: str | None = Field(
        None, max_length=64, description='"34", "run-034" or a folder name; default: the served run'
    )


class PageQuery(RunQuery):
    """A page of a list."""

    limit: int = Field(50, ge=1, le=500)
    offset: int = Field(0, ge=0, le=10**9)
    q: str | None = Field(None, max_length=200, description="text to search for")


class HeadlinesQuery(PageQuery):
    """Filters of `/api/headlines`; they combine with AND."""

    label: int | None = Field(None, ge=0, le=1000, description="true class")
    prediction: int | None = Field(None, ge=0, le=1000, description="predicted class")
    correct: bool | None = None
    feature: int | None = Field(
        None, ge=0, le=10**9, description="only headlines with this feature among their top ones"
    )
    sort: Literal["position", "confidence", "margin", "loss"] = "position"
    order: Literal["asc", "desc"] = "asc"


class FeaturesQuery(PageQuery):
    """Order and search of `/api/features`. `q` is a feature id or a word of its strongest token."""

    metric: str | None = Field(None, max_length=64, description="default: the run's first metric")


class FeatureInfoQuery(RunQuery):
    """One feature."""

    id: int = Field(ge=0, le=10**9)


# --- answers -------------------------------------------------------------------------------------------


class ErrorDetail(Record):
    code: str
    message: str


class ErrorAnswer(Record):
    """Every 4xx and 5xx answers this."""

    error: ErrorDetail


class Headline(Prompt):
    """A headline with its strongest features."""

    headline: NonNegativeInt = Field(description="0-based index in the run")
    features: list[FiredFeature]


class HeadlinesPage(Record):
    run_id: str
    labels: list[str]
    total: NonNegativeInt = Field(description="headlines that match the filters")
    n_headlines: NonNegativeInt = Field(description="headlines in the run")
    n_correct: NonNegativeInt = Field(description="correctly predicted headlines in the run")
    offset: NonNegativeInt
    limit: NonNegativeInt
    headlines: list[Headline]


class FeatureRow(Record):
    """A feature in a list."""

    feature: NonNegativeInt
    word: str | None = Field(description="word of its strongest token; null where no examples were saved")
    has_examples: bool
    n_headlines: NonNegativeInt = Field(description="headlines on which it fires")
    values: dict[str, FiniteFloat] = Field(description="every metric, by name")


class FeaturesPage(Record):
    run_id: str
    metric: str = Field(description="the metric that orders the list")
    metrics: list[MetricInfo]
    total: NonNegativeInt
    n_features: NonNegativeInt = Field(description="features in the run")
    offset: NonNegativeInt
    limit: NonNegativeInt
    features: list[FeatureRow]


class FeatureStat(Record):
    """One metric of one feature."""

    name: str
    value: FiniteFloat
    rank: NonNegativeInt = Field(description="1 = highest of all features")


class Histogram(Record):
    edges: list[FiniteFloat] = Field(description="log-spaced, one more than counts")
    counts: list[NonNegativeInt]


class ExampleInHeadline(Example):
    """An example with the headline it stands in."""

    prompt: Prompt


class FeatureInfo(Record):
    run_id: str
    labels: list[str]
    feature: NonNegativeInt
    word: str | None
    n_headlines: NonNegativeInt
    n_headlines_in_run: NonNegativeInt
    metrics: list[MetricInfo]
    stats: list[FeatureStat]
    histogram: Histogram | None
    examples_saved: bool
    message: str | None = Field(description="why there are no examples, where there are none")
    examples: list[ExampleInHeadline] = Field(description="strongest first")


class RunSummary(Record):
    """A run in the list of runs."""

    run_id: str
    folder: str
    created_at: str | None
    readable: bool
    reason: str | None = Field(description="why the run cannot be read, where it cannot")
    is_default: bool
    preset: str | None
    model: str | None
    sae_size: str | None
    layer: int | None
    n_headlines: NonNegativeInt | None


class RunsAnswer(Record):
    runs: list[RunSummary] = Field(description="newest first")


class HealthAnswer(Record):
    status: Literal["ok"]
    version: str
    run_id: str
