"""Files that later verbs add to a finished run. They are sealed, and name the run that they were made from."""

from sae_pipeline.artefacts.checksums import write_sealed
from sae_pipeline.runs.folders import Run
from sae_pipeline.schema.common import SCHEMA_VERSION
from sae_pipeline.schema.dicts import MadeFromDict


def made_from(run: Run) -> MadeFromDict:
    """The fields by which a file names its run."""
    return {
        "schema_version": SCHEMA_VERSION,
        "run_id": run.metadata.run_id,
        "run_checksum": run.checksum,
        "classifier_hash": run.metadata.classifier_hash,
        "sae_hash": run.metadata.sae_hash,
    }


def add_file(run: Run, name: str, data: bytes) -> None:
    """Write the JSON of an object, sealed, into a run's folder. Raises ResourceError, like `write_file`."""
    write_sealed(run.folder / name, data)
