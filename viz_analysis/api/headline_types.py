"""What the API answers of headlines, and of the other columns of their table."""

from pydantic import Field, FiniteFloat, NonNegativeInt

from sae_pipeline.runs.column_tables import ColumnFacts
from sae_pipeline.schema.causes import HeadlineEffects
from sae_pipeline.schema.common import Cell, Record
from sae_pipeline.schema.run import FiredFeature, Prompt
from viz_analysis.api.feature_types import FoundName


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


class SimilarHeadline(Record):
    similarity: FiniteFloat = Field(description="cosine of the two headlines' saved activations")
    headline: Headline


class SimilarHeadlines(Record):
    run_id: str
    headline: NonNegativeInt
    similar: list[SimilarHeadline] = Field(description="most similar first")
