"""How many statistical tests a run makes: among many tests, some features look good by chance."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from sae_pipeline.runs.run_files import DamagedRunError, read_added, read_listed, read_metadata
from sae_pipeline.schema.causes import FEATURE_EFFECTS, FeatureEffectsFile
from sae_pipeline.schema.common import FEATURE_STATS
from sae_pipeline.schema.run import FeatureStatsFile, MetricColumn


def tests_of(columns: Iterable[MetricColumn]) -> dict[str, int]:
    """The number of features that each metric with a test has tested, by the metric's name."""
    return {column.name: sum(q is not None for q in column.q) for column in columns if column.q is not None}


def tests_in(run: Path) -> dict[str, int]:
    """The number of tests of a run by metric, effects included. Raises `DamagedRunError`."""
    known = read_metadata(run).files[FEATURE_STATS]
    columns = read_listed(run, FEATURE_STATS, known, FeatureStatsFile).metrics
    with suppress(DamagedRunError):  # which the server and `verify` name
        if effects := read_added(run, FEATURE_EFFECTS, FeatureEffectsFile):
            columns = [*columns, *effects.columns]
    return tests_of(columns)


def tests_line(tests: Mapping[str, int]) -> str:
    """A sentence about the number of tests."""
    if not any(tests.values()):
        return "No feature was tested: there are too few headlines of each class."
    return (
        f"{sum(tests.values()):,} tests were made: {len(tests)} metrics, up to {max(tests.values()):,} features each. "
        "Metrics about labels are tested on headlines that were not used to rank the features. q is corrected for the "
        "number of features within a metric (Benjamini–Hochberg), but not for the number of metrics."
    )
