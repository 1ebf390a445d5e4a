"""The record of a scored table, `score.json`."""

from collections import Counter
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt

from sae_pipeline.artefacts.checksums import check_files, named_record
from sae_pipeline.schema.common import FileSum, MadeWith, PositionKind, Record

SCORE = "score.json"
PartFile = Annotated[str, Field(pattern=r"^(rows|features|chosen)/part-\d{5,}\.parquet$")]


class ScoreInputs(MadeWith):
    """Everything that scores depend on."""

    version: Literal[1] = 1
    table: str = Field(description="name@hash of the table")
    columns: tuple[str, ...] = Field(description="names that were given to the columns of a table without a header")
    text_column: str = Field(description="the column that holds the headlines")
    features: tuple[int, ...] = Field(description="the features of the dense table chosen/")
    rows_per_part: int
    tokens_per_batch: int


class Part(Record):
    """The rows of one part, counted, and its files."""

    n_rows: NonNegativeInt
    n_empty: NonNegativeInt = Field(description="rows without a headline, which have no prediction")
    n_cut: NonNegativeInt = Field(description="headlines that are longer than the classifier reads")
    n_entries: NonNegativeInt = Field(description="rows of the sparse features")
    predictions: dict[str, NonNegativeInt] = Field(description="headlines by predicted class")
    files: dict[PartFile, FileSum]


class ScoreRecord(Record):
    """The content of `score.json`."""

    inputs: ScoreInputs
    table_format: str
    labels: list[str] = Field(description="the classes, in the order of the logits")
    names: dict[str, str] = Field(
        description="what the columns that were added to the rows are called, by what they are"
    )
    entropy_unit: Literal["nats"] = "nats"
    positions: PositionKind = Field("words", description="what is counted: the tokens of words, or one vector per row")
    device: str
    parts: list[Part]

    @property
    def n_rows(self) -> int:
        """Rows of the table."""
        return sum(part.n_rows for part in self.parts)

    @property
    def n_bytes(self) -> int:
        """The size of all files."""
        return sum(file.size for part in self.parts for file in part.files.values())

    def lines(self) -> list[str]:
        """The counts as lines of text."""
        n_empty, n_cut = sum(part.n_empty for part in self.parts), sum(part.n_cut for part in self.parts)
        predictions: Counter[str] = Counter()
        for part in self.parts:
            predictions.update(part.predictions)
        most = predictions.most_common(_SHOWN_CLASSES)
        shown = ", ".join(f"{label} {n:,}" for label, n in most)
        more = len(predictions) - len(most)
        return [
            f"rows: {self.n_rows:,}, of these {n_empty:,} without a headline and {n_cut:,} that were cut",
            f"predictions: {shown or 'none'}{f' and {more} more classes' if more else ''}",
            f"features: {sum(part.n_entries for part in self.parts):,} entries; {self.n_bytes / 1e6:,.1f} MB in all",
        ]


_SHOWN_CLASSES = 8


def check_scores(folder: Path) -> ScoreRecord:
    """The record of a scored table whose files all match their checksums. Raises DamageError where one does not."""
    record = named_record(folder, SCORE, ScoreRecord)
    for part in record.parts:
        check_files(folder, part.files)
    return record
