"""What people write about the features of an SAE: `analysis_data/labels/<sae_hash>.json`."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, NonNegativeInt, StringConstraints

from sae_pipeline.schema.common import Record

LABELS = "labels"  # the folder beside the runs
MAX_LABELS = 20_000
MAX_SETS = 200
MAX_SET_FEATURES = 1_000
SET_NAME_LENGTH = 120


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _is_one_line(text: str) -> str:
    if text != _one_line(text):
        raise ValueError("the name of a set is one line, without spaces at its ends and with single ones between words")
    return text


def _distinct(features: list[int]) -> list[int]:
    return sorted(set(features))


Note = Annotated[str, StringConstraints(max_length=4000, strip_whitespace=True)]
SetName = Annotated[str, StringConstraints(min_length=1, max_length=SET_NAME_LENGTH), AfterValidator(_is_one_line)]


class FeatureLabel(Record):
    """An annotation: what a person wrote about a feature."""

    name: Annotated[str, StringConstraints(max_length=120), AfterValidator(_one_line)] = ""
    starred: bool = False
    note: Note = ""
    updated_at: str | None = Field(None, max_length=40, description="ISO 8601, UTC; set by the server")

    @property
    def content(self) -> tuple[str, bool, str]:
        """What a person entered; a label with nothing in it is no label."""
        return self.name, self.starred, self.note


class FeatureSet(Record):
    """Features that a person put together under a name."""

    features: Annotated[list[NonNegativeInt], AfterValidator(_distinct)] = Field(
        min_length=1, max_length=MAX_SET_FEATURES, description="ascending, each once"
    )
    note: Note = ""
    updated_at: str | None = Field(None, max_length=40, description="ISO 8601, UTC; set by the server")

    @property
    def content(self) -> tuple[list[int], str]:
        """What a person entered."""
        return self.features, self.note


Labels = dict[NonNegativeInt, FeatureLabel]
"""Annotations by feature."""
Sets = dict[SetName, FeatureSet]
"""Sets of features by name."""


class LabelsFile(Record):
    """`analysis_data/labels/<sae_hash>.json`."""

    schema_version: Literal[1] = 1
    sae_hash: str
    labels: Labels = Field(max_length=MAX_LABELS)
    sets: Sets = Field({}, max_length=MAX_SETS)

    @property
    def highest(self) -> tuple[str, int]:
        """The highest feature that the file names, and where it names it; -1 where it names none."""
        places = [("labels", max(self.labels, default=-1))]
        places += [(f"sets.{name}", one.features[-1]) for name, one in self.sets.items()]
        return max(places, key=lambda place: place[1])
