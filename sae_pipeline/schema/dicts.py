"""The records of a run as plain dicts, which is how the pipeline builds and writes them.

A dict is made and written 10 times as fast as a validated model (0.17 s and 1.9 s for 100,000 prompts). Each type has
the fields of the model that it is named after (`PromptDict`: `Prompt`), so that mypy checks a record where it is made:

    record: PromptDict = {"headline_id": …, "text": …, …}

mypy then reports a field that is missing, misspelt or of another type. Numbers may stand in numpy arrays, which
`compact_json` writes as lists. It writes a model that is a value as its fields. Readers get the models.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict

from orjson import Fragment

from sae_pipeline.arrays import Floats, Ints
from sae_pipeline.schema.common import Cell
from sae_pipeline.schema.names import NameScores
from sae_pipeline.schema.reports import SaeReport
from sae_pipeline.schema.run import ClassifierInfo, GroupKind, Hookpoint, MetricInfo, SaeInfo, Totals

Numbers = Floats | Sequence[float]
Counts = Ints | Sequence[int]


class MadeWithDict(TypedDict):
    """A `MadeWith`."""

    classifier_hash: str
    sae_hash: str


class MadeFromDict(MadeWithDict):
    """A `MadeFrom`."""

    schema_version: Literal[2]
    run_id: str
    run_checksum: str


# --- metadata.json -------------------------------------------------------------------------------------


class ProvenanceDict(TypedDict):
    """What a run was made from: the first part of `RunMetadata`."""

    preset: str
    labels: list[str]
    labelled: bool
    columns: list[str]
    classifier_hash: str
    data_hash: str
    hookpoint: Hookpoint
    classifier: ClassifierInfo
    sae: SaeInfo
    sae_family: dict[str, SaeReport]
    configs: dict[str, dict[str, Any]]
    versions: dict[str, str]


class MetadataDict(ProvenanceDict):
    """`RunMetadata` without what the run's draft adds: SAE, version, number, date, and sizes and checksums of files."""

    device: str
    backend: str
    dtype: str
    processes: int
    metrics: list[MetricInfo]
    totals: Totals


# --- prompts.jsonl, headline_features.json -------------------------------------------------------------


class PromptDict(TypedDict):
    """A `Prompt`."""

    headline_id: str
    text: str
    label: int
    prediction: int
    probabilities: Numbers
    tokens: list[str]
    starts: Sequence[int]
    ends: Sequence[int]
    words: Sequence[int]
    columns: Mapping[str, Cell]


class FiringDict(TypedDict):
    """A `Firing`."""

    activation: float
    position: int
    token: str
    word: str
    positions: Counts
    values: Numbers


class FiredFeatureDict(FiringDict):
    """A `FiredFeature`."""

    feature: int


class HeadlineFeaturesDict(TypedDict):
    """A `HeadlineFeatures`."""

    headline: int
    headline_id: str
    features: list[FiredFeatureDict]


# --- feature_stats.json --------------------------------------------------------------------------------


class MetricColumnDict(TypedDict):
    """A `MetricColumn` of a metric that is no estimate."""

    name: str
    top: Ints
    values: Floats


class EffectColumnDict(MetricColumnDict):
    """A `MetricColumn` of a causal effect."""

    n: Ints
    low: Floats | None
    high: Floats | None
    q: Floats | None


class EstimateColumnDict(MetricColumnDict):
    """A `MetricColumn` of an estimate; a `Fragment` is finished JSON, from `compact_json.nullable`."""

    tested: Fragment
    low: Fragment
    high: Fragment
    q: Fragment | None
    n: Ints


class FeatureStatsDict(TypedDict):
    """A `FeatureStatsFile` without the models that it was made with, which the run's draft adds."""

    d_sae: int
    n_headlines: int
    n_counted_tokens: int
    headline_counts: Counts
    counts: Counts
    class_sizes: Counts
    class_headline_counts: Sequence[Counts]
    class_means: Sequence[Numbers]
    metrics: Sequence[MetricColumnDict]


# --- feature_tokens.json -------------------------------------------------------------------------------


class ExampleDict(FiringDict):
    """An `Example`."""

    headline: int


class ExampleGroupDict(TypedDict):
    """An `ExampleGroup`."""

    kind: GroupKind
    low: float
    high: float
    n_headlines: int
    examples: list[ExampleDict]


class FiredWordDict(TypedDict):
    """A `FiredWord`."""

    word: str
    count: int
    total: int
    lift: float


class FeatureExamplesDict(TypedDict):
    """A `FeatureExamples`."""

    feature: int
    word: str
    histogram: Counts
    examples: list[ExampleDict]
    groups: list[ExampleGroupDict]
    words: list[FiredWordDict]


# --- neighbours.json -----------------------------------------------------------------------------------


class NeighboursDict(TypedDict):
    """A `NeighboursFile` without the models that it was made with; a `Fragment` is finished JSON."""

    d_sae: int
    k: int
    n_headlines: int
    by_decoder: Ints | Fragment
    decoder_cosine: Floats | Fragment
    by_cofiring: Ints | Fragment
    cofiring: Floats | Fragment


# --- names.json ----------------------------------------------------------------------------------------


class NamesDict(TypedDict):
    """A `NamesFile` without the models that it was made with, and without its features."""

    d_sae: int
    formula: str
    least_score: float
    least_f1: float
    n_choosing: int
    n_testing: int
    scores: list[NameScores]
