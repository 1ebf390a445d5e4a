"""Headlines that are kept for one final test, and what that test found: `finbert_sae/seals/<name>.json`."""

from typing import Literal

from pydantic import Field, NonNegativeInt

from sae_pipeline.schema.common import Record, Share
from sae_pipeline.schema.reports import ClassifierReport, CodeQuality, SpliceReport


class SealedClaim(Record):
    """A feature of which it was claimed, before the seal was opened, that it tells a class."""

    feature: NonNegativeInt
    label: NonNegativeInt = Field(description="the class for which its AUROC was highest on the run's choosing half")
    expected: Share = Field(description="that AUROC")
    auroc: Share | None = Field(description="on the sealed headlines; null: it fires in fewer than 5 of them")
    low: Share | None = Field(description="lower end of its 95 % interval (bootstrap over headlines)")
    high: Share | None
    n: NonNegativeInt = Field(description="sealed headlines in which it fires")
    p: Share | None = Field(
        description="two-sided Mann–Whitney test, times the number of claims still open (Holm 1979)"
    )


class Plan(Record):
    """What an opening is about to test. It is recorded before anything is read."""

    opened_at: str = Field(description="ISO 8601, UTC")
    run_id: str
    run_checksum: str
    classifier_hash: str
    sae_hash: str
    features: list[NonNegativeInt]
    looks: NonNegativeInt | None = Field(description="features that were looked at before; null: not said")


class SealedResult(Record):
    """What the sealed headlines say."""

    classifier: ClassifierReport
    held_out: CodeQuality
    spliced: SpliceReport
    claims: list[SealedClaim]


class SealRecord(Record):
    """A seal: which headlines it keeps, and its opening."""

    schema_version: Literal[1] = 1
    sealed_at: str = Field(description="ISO 8601, UTC")
    keys: list[str] = Field(description="a hash of each sealed headline, ascending")
    data_hashes: list[str] = Field(description="of the headlines that are not sealed, for each classifier made of them")
    opened: Plan | None = Field(None, description="null: it is still closed")
    result: SealedResult | None = Field(None, description="null: nothing was found yet")

    @property
    def n_headlines(self) -> int:
        """How many headlines it keeps."""
        return len(self.keys)
