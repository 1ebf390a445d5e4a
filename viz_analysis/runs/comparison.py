"""Several runs side by side."""

from viz_analysis.api.queries import CompareQuery
from viz_analysis.api.run_types import CompareAnswer, FeatureMatches
from viz_analysis.runs.indexed_run import IndexedRun
from viz_analysis.runs.run_library import RunLibrary

_MATCHES = 10  # features listed of each run


def compare_runs(runs: RunLibrary, query: CompareQuery) -> CompareAnswer:
    """One headline in every run, and the features of the other runs that are most like a feature of the first.

    Features are compared only between runs on the same activations. Raises like `RunLibrary.get`.
    """
    first, *others = query.runs.split(",")
    metadata = [runs.get(name).metadata for name in (first, *others)]
    feature, row = query.feature, None
    if feature is not None:
        row = runs.ask(first, lambda run: run.decoder_row(feature))

    def matches(run: IndexedRun) -> FeatureMatches:
        same_space = (run.metadata.classifier_hash, run.metadata.hookpoint) == (
            metadata[0].classifier_hash,
            metadata[0].hookpoint,
        )
        found = run.nearest(row, _MATCHES) if row is not None and same_space else []
        return FeatureMatches(run_id=run.metadata.run_id, features=found)

    return CompareAnswer.model_construct(
        runs=metadata,
        headlines=[runs.ask(name, lambda run: run.headline_of(query.headline_id)) for name in (first, *others)],
        matches=[runs.ask(name, matches) for name in others],
    )
