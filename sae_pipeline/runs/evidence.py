"""What `compare` and `layers` found: files of a study that stand beside its SAEs, and not in a run's folder."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from sae_pipeline.artefacts.checksums import MissingError, read_record
from sae_pipeline.errors import DamageError, UserError, command
from sae_pipeline.schema.controls import ControlsFile
from sae_pipeline.schema.layers import LAYERS, LayersFile

File = TypeVar("File", ControlsFile, LayersFile)


def controls_path(study: Path, sae_hash: str) -> Path:
    """The file that compares an SAE of a study with baselines and with its other seeds."""
    return study / "finbert_sae" / "evidence" / f"{sae_hash}.json"


def layers_path(study: Path) -> Path:
    """The file that compares layers of a study's newest classifier."""
    return study / "finbert_sae" / LAYERS


def read_controls(path: Path) -> ControlsFile:
    """Read the file at a `controls_path`. Raises DamageError, also if it is about another SAE than its name says."""
    found = read_record(path, ControlsFile)
    if found.sae_hash != path.stem:
        raise DamageError("is about another SAE")
    return found


def read_layers(path: Path) -> LayersFile:
    """Read the file about a classifier's layers. Raises DamageError."""
    return read_record(path, LayersFile)


def found_controls(study: Path, sae_hash: str) -> ControlsFile | None:
    """What `compare` found about an SAE; None where there is nothing. Raises UserError for a damaged file."""
    return _found(controls_path(study, sae_hash), read_controls, "compare")


def found_layers(study: Path, classifier_hash: str) -> LayersFile | None:
    """What `layers` found about a classifier; None where there is nothing. Raises UserError for a damaged file."""
    found = _found(layers_path(study), read_layers, "layers")
    return found if found and found.classifier_hash == classifier_hash else None


def _found(path: Path, read: Callable[[Path], File], verb: str) -> File | None:
    try:
        return read(path)
    except MissingError:
        return None
    except DamageError as error:
        raise UserError(f"{path} {error}; `{command(verb)}` makes it again.") from error
