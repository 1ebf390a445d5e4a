"""What small changes of texts do to a run's predictions and features, with what the features are called."""

from sae_pipeline.errors import command
from sae_pipeline.schema.contrast import CONTRAST, ContrastFile
from viz_analysis.api.problems import NoContrastError
from viz_analysis.api.run_types import ContrastAnswer
from viz_analysis.runs.reader import RunReader


def contrast_answer(run: RunReader) -> ContrastAnswer:
    """`contrast.json` with the found names of its features. Raises `NoContrastError`."""
    run_id = run.metadata.run_id
    if CONTRAST in run.left_out:
        raise NoContrastError(f"{run_id}: {run.left_out[CONTRAST]}")
    found = run.rows("SELECT value FROM about WHERE name = 'contrast'")
    if not found:
        raise NoContrastError(
            f"{run_id} has no changed texts yet; `{command('contrast')} --run {run_id}` tries small changes."
        )
    file = ContrastFile.model_validate_json(found[0][0])
    features = {feature.feature for kind in file.kinds for feature in kind.features}
    features |= {shift.feature for kind in file.kinds for pair in kind.pairs for shift in pair.features}
    return ContrastAnswer.model_construct(**dict(file), found_names=run.found_names(sorted(features)))
