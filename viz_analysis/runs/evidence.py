"""What `compare` found about a run's SAE. Its file belongs to the SAE, so it is not in the run's folder."""

from pathlib import Path

from sae_pipeline.artefacts.checksums import MissingError
from sae_pipeline.errors import DamageError, command
from sae_pipeline.runs.evidence import controls_path, read_controls
from sae_pipeline.schema.controls import ControlsFile
from sae_pipeline.schema.run import RunMetadata
from viz_analysis.api.problems import NoEvidenceError
from viz_analysis.api.run_types import EvidenceAnswer


def intact_controls(study: Path, sae_hash: str) -> ControlsFile | None:
    """What `compare` found about an SAE of a study; None where it has not, and where the file is damaged."""
    try:
        return read_controls(controls_path(study, sae_hash))
    except DamageError:  # also where there is no such file
        return None


def evidence_answer(study: Path, run: RunMetadata) -> EvidenceAnswer:
    """What `compare` found about the SAE of a run. Raises `NoEvidenceError`."""
    again = f"`{command('compare')} --sae-size {run.sae.size}`"
    try:
        found = read_controls(controls_path(study, run.sae_hash))
    except MissingError as error:
        raise NoEvidenceError(
            f"The SAE of {run.run_id} was not compared with baselines yet; {again} trains them and compares."
        ) from error
    except DamageError as error:
        raise NoEvidenceError(f"The file about the SAE of {run.run_id} {error}; {again} makes it again.") from error
    return EvidenceAnswer.model_construct(**dict(found))
