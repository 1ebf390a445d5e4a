"""What the verb `layers` found about the layers of a run's classifier."""

from pathlib import Path

from sae_pipeline.artefacts.checksums import MissingError
from sae_pipeline.errors import DamageError, command
from sae_pipeline.runs.evidence import layers_path, read_layers
from sae_pipeline.schema.layers import LayersFile
from sae_pipeline.schema.run import RunMetadata
from viz_analysis.api.problems import DamagedLayersError, NoLayersError


def layers_answer(study: Path, run: RunMetadata) -> LayersFile:
    """`finbert_sae/layers.json` of a study. Raises `ApiError` where it is missing or of another classifier."""
    path, again = layers_path(study), f"`{command('layers')}`"
    try:
        found = read_layers(path)
    except MissingError as error:
        raise NoLayersError(f"The layers of this classifier have not been compared yet; {again} does it.") from error
    except DamageError as error:
        raise DamagedLayersError(f"{path.name} {error}; {again} makes it again.") from error
    if found.classifier_hash != run.classifier_hash:
        raise NoLayersError(f"The layers of the study's newest classifier were compared, not this run's; see {again}.")
    return found
