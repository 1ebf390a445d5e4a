"""The records of a run's features: counts and class means, and a column with a ranking for each metric."""

from collections.abc import Sequence

import numpy as np

from sae_pipeline.analysis.feature_stats import FeatureStats
from sae_pipeline.analysis.label_tests import LabelTest
from sae_pipeline.analysis.metrics import Metric
from sae_pipeline.errors import UserError
from sae_pipeline.runs.compact_json import NotFiniteError, nullable, six_digits
from sae_pipeline.schema.dicts import EstimateColumnDict, FeatureStatsDict, MetricColumnDict


def feature_stats_record(stats: FeatureStats, columns: Sequence[MetricColumnDict]) -> FeatureStatsDict:
    """The content of `feature_stats.json`."""
    return {
        "d_sae": len(stats.counts),
        "n_headlines": stats.n_headlines,
        "n_counted_tokens": stats.n_tokens,
        "headline_counts": stats.headline_counts,
        "counts": stats.counts,
        "class_sizes": stats.class_sizes.sum(0),
        "class_headline_counts": list(stats.class_headline_counts),
        "class_means": list(stats.class_means),
        "metrics": columns,
    }


def metric_column(metric: Metric, stats: FeatureStats, n_leaders: int) -> MetricColumnDict | EstimateColumnDict:
    """A metric's number for each feature, and the `n_leaders` features with the highest.

    Raises UserError when a number is not finite.
    """
    result = metric.compute(stats)
    values = result.values if isinstance(result, LabelTest) else result
    try:
        written = six_digits(values)
    except NotFiniteError as error:
        raise UserError(f"Metric {metric.name!r}: {error}; make it finite, no run was saved.") from error
    # The ranking is of the numbers as they are written, and equal ones go by feature. The order in which the processes'
    # sums were added must not decide between equals.
    top = np.argsort(-written, kind="stable")[:n_leaders]
    column: MetricColumnDict = {"name": metric.name, "top": top, "values": values}
    if not isinstance(result, LabelTest):
        return column
    return {
        **column,
        "tested": nullable(result.tested),
        "low": nullable(result.low),
        "high": nullable(result.high),
        "q": None if result.q is None else nullable(result.q),
        "n": result.n,
    }
