"""What a paper's folder holds, and every number in it: `paper.json`."""

from typing import Literal

from pydantic import Field, FiniteFloat, NonNegativeInt

from sae_pipeline.schema.common import FileName, FileSum, Record, Sha256

PAPER = "paper.json"
PAPER_VERSION = 1

Check = Literal["headlines", "weights", "train", "record"]
"""How `verify` makes a number again: from the run's headlines, with the weights, with the training headlines too, or by
reading the record that the number was taken from, because only a training makes it anew."""


class Number(Record):
    """A number that the paper prints."""

    name: str = Field(description='where it comes from: "sae/4k/fvu/held_out"')
    value: FiniteFloat
    low: FiniteFloat | None = Field(None, description="lower end of its 95 % interval")
    high: FiniteFloat | None = None
    n: NonNegativeInt | None = Field(None, description="headlines, pairs or seeds that it rests on")
    check: Check


class PaperRecord(Record):
    """`paper.json`: the numbers of a paper, and the checksums of its other files."""

    schema_version: Literal[1]
    made_with: str = Field(description="version of this program")
    run_id: str
    run_checksum: Sha256
    headline: NonNegativeInt = Field(description="the headline that is drawn, 0-based")
    features: NonNegativeInt = Field(description="features listed per class")
    has_weights: bool = Field(description="whether the archive holds the weights")
    machine: str = Field(description="processor and operating system")
    packages: dict[str, str] = Field(description="versions at the time of writing")
    numbers: list[Number]
    files: dict[FileName, FileSum]
