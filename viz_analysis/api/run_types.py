"""What the API answers of runs, of what was found about them as a whole, and of itself."""

from typing import Literal

from pydantic import Field, FiniteFloat, NonNegativeInt

from sae_pipeline.schema.calibration import CalibrationFile
from sae_pipeline.schema.causes import InterventionsSummary
from sae_pipeline.schema.common import Record, Share
from sae_pipeline.schema.contrast import ContrastFile
from sae_pipeline.schema.controls import ControlsFile
from sae_pipeline.schema.diff import DiffFile
from sae_pipeline.schema.family import SeedStability
from sae_pipeline.schema.mending import MendingFile
from sae_pipeline.schema.names import NameScores
from sae_pipeline.schema.run import Prompt, RunMetadata
from viz_analysis.api.feature_types import FoundName, SimilarFeature
from viz_analysis.api.headline_types import Headline


class ErrorDetail(Record):
    code: str
    message: str


class ErrorAnswer(Record):
    """The answer with every 4xx and 5xx status."""

    error: ErrorDetail


class FeatureMatches(Record):
    """The features of one run that are most like the feature asked about."""

    run_id: str
    features: list[SimilarFeature] = Field(description="by cosine of decoder rows; empty where these are not saved")


class CompareAnswer(Record):
    """Lists with one entry for each run asked for; `matches` has none for the first run."""

    runs: list[RunMetadata]
    headlines: list[Headline | None] = Field(description="null where the run lacks the headline or none was asked for")
    matches: list[FeatureMatches]


class InterventionsAnswer(InterventionsSummary):
    """`interventions.json` without its headlines, which `/api/headlines` gives."""


class ContrastAnswer(ContrastFile):
    """`contrast.json`, with what its features are called."""

    found_names: dict[NonNegativeInt, FoundName] = Field(
        description="found names of the features that are listed; those without one are left out"
    )


class MendingAnswer(MendingFile):
    """`mending.json`, with what its features are called."""

    found_names: dict[NonNegativeInt, FoundName] = Field(
        description="found names of the features that are listed; those without one are left out"
    )


class CalibrationAnswer(CalibrationFile):
    """`calibration.json`, with what its features are called."""

    found_names: dict[NonNegativeInt, FoundName] = Field(
        description="found names of the features that are listed; those without one are left out"
    )


class DiffAnswer(DiffFile):
    """`diff.json`, with the headlines of its examples, and what the nearest features of the run's SAE are called."""

    prompts: dict[NonNegativeInt, Prompt] = Field(description="the headlines that examples name, by number")
    found_names: dict[NonNegativeInt, FoundName] = Field(
        description="found names of the nearest features; those without one are left out"
    )


class EvidenceAnswer(ControlsFile):
    """What `compare` found of the run's SAE: its baselines, its other seeds, and the claims against them."""


class NamesSummary(Record):
    """How a run's names were found, and how well they predict, beside the controls."""

    formula: str
    least_score: Share
    least_f1: Share
    n_choosing: NonNegativeInt
    n_testing: NonNegativeInt
    scores: list[NameScores]


class RunAnswer(RunMetadata):
    """A run's `metadata.json`, and what is known of the files that a run can do without."""

    has_causes: bool = Field(description="whether the run has causal findings about its predictions")
    names: NamesSummary | None = Field(description="null where the run has no names")
    stability: SeedStability | None = Field(description="null where the features were looked for in no other seed")
    tests: dict[str, NonNegativeInt] | None = Field(
        None, description="features that each metric has tested, by its name; null: an earlier version made the index"
    )
    damaged_files: list[str] = Field(
        description="a sentence for each optional file that is damaged and left out; it says what makes the file anew"
    )


class RunSummary(Record):
    """A run in the list of runs."""

    run_id: str
    folder: str
    created_at: str | None
    readable: bool
    reason: str | None = Field(description="why the run cannot be read; null where it can")
    is_default: bool
    preset: str | None
    model: str | None
    sae_size: str | None
    layer: int | None
    n_headlines: NonNegativeInt | None
    has_interventions: bool
    sae_hash: str | None
    d_sae: NonNegativeInt | None
    l0: FiniteFloat | None = Field(description="held-out active features per token")
    fvu: FiniteFloat | None = Field(description="held-out fraction of variance unexplained")
    unchanged: FiniteFloat | None = Field(description="share of predictions that stay the same when spliced")


class RunsAnswer(Record):
    runs: list[RunSummary] = Field(description="newest first")


class HealthAnswer(Record):
    """The default run, which can be served."""

    status: Literal["ok"]
    version: str
    run_id: str
    n_headlines: NonNegativeInt
    n_features: NonNegativeInt
