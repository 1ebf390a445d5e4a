"""How many tests a run makes, so that readers can judge its smallest q."""

from sae_pipeline.schema.run import FeatureStatsFile


def tests_of(stats: FeatureStatsFile) -> dict[str, int]:
    """The number of features that each metric with a test has tested, by the metric's name."""
    return {column.name: sum(q is not None for q in column.q) for column in stats.metrics if column.q is not None}


def tests_line(tests: dict[str, int]) -> str:
    """A sentence about the number of tests."""
    if not tests:
        return "No feature was tested: there are too few headlines of each class."
    return (
        f"{sum(tests.values()):,} tests were made ({len(tests)} metrics, up to {max(tests.values()):,} features each), "
        "all on headlines that did not choose the features; q is corrected within each metric (Benjamini–Hochberg)."
    )
