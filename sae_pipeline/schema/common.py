"""What the records share: their base, their limits and their names for positions."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, NonNegativeInt

SCHEMA_VERSION = 1
MIN_HEADLINES = 5  # support on fewer headlines is thin: no interval, no test
METADATA, PROMPTS, FEATURE_STATS, FEATURE_TOKENS, HEADLINE_FEATURES = RUN_FILES = (
    "metadata.json",
    "prompts.jsonl",
    "feature_stats.json",
    "feature_tokens.json",
    "headline_features.json",
)

Share = Annotated[FiniteFloat, Field(ge=0, le=1)]
PositionKind = Literal["words", "all"]


class Record(BaseModel):
    """A frozen record that refuses unknown fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)


FileName = Annotated[str, Field(pattern=r"^[^./\\][^/\\]*$")]  # in the record's own folder


class FileSum(Record):
    """What a record says of a file beside it."""

    size: NonNegativeInt = Field(description="bytes")
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
