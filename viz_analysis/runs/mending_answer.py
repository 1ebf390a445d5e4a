"""The edits that mend a run's wrong predictions, with what the features are called."""

from sae_pipeline.errors import command
from sae_pipeline.schema.mending import MENDING, MendingFile
from viz_analysis.api.problems import NoMendingError
from viz_analysis.api.run_types import MendingAnswer
from viz_analysis.runs.reader import RunReader


def mending_answer(run: RunReader) -> MendingAnswer:
    """`mending.json` with the found names of its features. Raises `NoMendingError`."""
    run_id = run.metadata.run_id
    if MENDING in run.left_out:
        raise NoMendingError(f"{run_id}: {run.left_out[MENDING]}")
    found = run.rows("SELECT value FROM about WHERE name = 'mending'")
    if not found:
        raise NoMendingError(
            f"No edits that mend wrong predictions were searched in {run_id}; `{command('mend')} --run {run_id}` "
            "searches them."
        )
    file = MendingFile.model_validate_json(found[0][0])
    features = {edit.feature for edit in (*file.steps, *file.edits)}
    return MendingAnswer.model_construct(**dict(file), found_names=run.found_names(sorted(features)))
