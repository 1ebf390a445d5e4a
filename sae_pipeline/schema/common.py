"""What the records share: their base, their limits and their names for positions."""

from collections.abc import Sequence
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
PositionKind = Literal["words", "all", "cls", "mean"]
"""Where an SAE reads: a vector per token (words, all), or one per headline (cls, mean)."""

PER_HEADLINE: Final = frozenset[PositionKind]({"cls", "mean"})
Cell = Annotated[str, Field(max_length=1_000)] | int | FiniteFloat | None
"""A cell of a table beside text and label."""


def statistics_positions(kind: PositionKind) -> PositionKind:
    """The positions that statistics count for an SAE trained on `kind`: special tokens are left out of `all`."""
    return "words" if kind == "all" else kind


Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


def n_vectors(words: Sequence[int], positions: PositionKind) -> int:
    """The number of vectors in a headline, given the word of each token; -1 for special tokens."""
    n_words = len(words) - words.count(-1)
    return {"all": len(words), "words": n_words, "cls": 1, "mean": min(n_words, 1)}[positions]


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
