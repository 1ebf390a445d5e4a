"""What verbs found about a run as a whole, with what its features are called."""

from typing import TypeVar

from sae_pipeline.errors import command
from sae_pipeline.runs.run_files import ADDED_BY
from sae_pipeline.schema.calibration import CALIBRATION, CalibrationFile
from sae_pipeline.schema.common import MadeFrom
from sae_pipeline.schema.contrast import CONTRAST, ContrastFile
from sae_pipeline.schema.diff import DIFF, DiffFile
from sae_pipeline.schema.mending import MENDING, MendingFile
from viz_analysis.api.problems import ApiError, NoCalibrationError, NoContrastError, NoDiffError, NoMendingError
from viz_analysis.api.run_types import CalibrationAnswer, ContrastAnswer, DiffAnswer, MendingAnswer
from viz_analysis.runs.reader import RunReader

File = TypeVar("File", bound=MadeFrom)


def contrast_answer(run: RunReader) -> ContrastAnswer:
    """What small changes of texts do. Raises `NoContrastError`."""
    file = _read(run, CONTRAST, ContrastFile, NoContrastError, "There are no changed texts")
    features = {feature.feature for kind in file.kinds for feature in kind.features}
    features |= {shift.feature for kind in file.kinds for pair in kind.pairs for shift in pair.features}
    return ContrastAnswer.model_construct(**dict(file), found_names=run.found_names(sorted(features)))


def mending_answer(run: RunReader) -> MendingAnswer:
    """The edits that mend wrong predictions. Raises `NoMendingError`."""
    file = _read(run, MENDING, MendingFile, NoMendingError, "No edits that mend wrong predictions were searched")
    features = {edit.feature for edit in (*file.steps, *file.edits)}
    return MendingAnswer.model_construct(**dict(file), found_names=run.found_names(sorted(features)))


def calibration_answer(run: RunReader) -> CalibrationAnswer:
    """How far probabilities can be trusted. Raises `NoCalibrationError`."""
    file = _read(run, CALIBRATION, CalibrationFile, NoCalibrationError, "Probabilities were not compared with labels")
    features = [one.feature for one in file.error_features]
    return CalibrationAnswer.model_construct(**dict(file), found_names=run.found_names(sorted(features)))


def diff_answer(run: RunReader) -> DiffAnswer:
    """What fine-tuning changed. Raises `NoDiffError`."""
    file = _read(run, DIFF, DiffFile, NoDiffError, "The classifier was not compared with what it was fine-tuned from")
    headlines = {example.headline for feature in file.features for example in feature.examples}
    return DiffAnswer.model_construct(
        **dict(file),
        prompts={number: run.prompt(number) for number in sorted(headlines)},
        found_names=run.found_names(sorted({feature.alike for feature in file.features})),
    )


def _read(run: RunReader, name: str, model: type[File], error: type[ApiError], nothing: str) -> File:
    """A file that a verb added to the run, as the index keeps it."""
    run_id = run.metadata.run_id
    if name in run.left_out:
        raise error(f"{run_id}: {run.left_out[name]}")
    found = run.rows("SELECT value FROM about WHERE name = ?", [name])
    if not found:
        raise error(f"{nothing} in {run_id} yet; run `{command(ADDED_BY[name])} --run {run_id}`.")
    return model.model_validate_json(found[0][0])
