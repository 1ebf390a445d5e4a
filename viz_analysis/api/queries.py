"""What the API takes. OpenAPI and the viewer's TypeScript types are generated from the types in this folder."""

from functools import cache
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from sae_pipeline.schema.common import MIN_HEADLINES, Share
from sae_pipeline.schema.labels import SET_NAME_LENGTH

By = Literal["words", "meaning"]
_BY = "how `q` is searched for: as words, or by the sentence encoder, which finds the 100 that mean most alike"


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
        description="a feature's number or its first digits, or a part of the name that a person gave it, of its found "
        "name, its explanation or its strongest token's word",
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
    min_seeds: int | None = Field(
        None,
        ge=0,
        le=1000,
        description="least number of trainings with other seeds in which the feature is found; of a run that was "
        "compared with none, no feature is found in any",
    )
    labelled: bool | None = Field(None, description="whether a person has named, starred or noted the feature")
    set: str | None = Field(
        None, max_length=SET_NAME_LENGTH, description="only features of the set that people gave this name"
    )
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


class SetsQuery(RunQuery):
    """Which sets of features to describe."""

    name: str | None = Field(None, max_length=SET_NAME_LENGTH, description="only this set; default: all")


class FeatureCardQuery(FeatureInfoQuery):
    """A feature to make a card of, and what its reader had looked at."""

    features_seen: int | None = Field(None, ge=0, le=10**9, description="features of the run that were opened before")
    headlines_seen: int | None = Field(None, ge=0, le=10**9, description="headlines that were opened before")


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
