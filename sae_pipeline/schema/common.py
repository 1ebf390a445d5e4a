"""What the records share: their base, their limits and their names for positions."""

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, NonNegativeInt

SCHEMA_VERSION: Final = 2
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
Cell = Annotated[str, Field(max_length=1_000)] | int | FiniteFloat | None
"""A cell of a table beside text and label."""

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Record(BaseModel):
    """A frozen record that refuses unknown fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)


FileName = Annotated[str, Field(pattern=r"^[^./\\][^/\\]*$")]  # in the record's own folder


class FileSum(Record):
    """What a record says of a file beside it."""

    size: NonNegativeInt = Field(description="bytes")
    sha256: Sha256


class MadeWith(Record):
    """The models behind a file: files of different models do not belong together."""

    classifier_hash: str
    sae_hash: str


class MadeFrom(MadeWith):
    """The run that a file was added to."""

    schema_version: Literal[2]
    run_id: str
    run_checksum: Sha256 = Field(description="the checksum of the run's metadata.json")
