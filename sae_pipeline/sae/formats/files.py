"""Reading the files of an SAE that another library wrote. Nothing in them is executed, and every error is a sentence.

Each function raises UserError.
"""

import json
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from sae_pipeline.errors import UserError, reason_of
from sae_pipeline.schema.kinds import listed

_MAX_CONFIG_BYTES = 1 << 20
Settings = TypeVar("Settings", bound=BaseModel)
Shape = tuple[int, ...]


class ForeignConfig(BaseModel):
    """The fields of another library's config that decide what its SAE computes; the others are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file of at most 1 MiB."""
    try:
        if path.stat().st_size > _MAX_CONFIG_BYTES:
            raise UserError(f"{path} is larger than a config can be; is it one?")
        value = json.loads(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path} cannot be read ({reason_of(error)}).") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON; save the SAE again with its own library.") from error
    if not isinstance(value, dict):
        raise UserError(f"{path} holds no JSON object; save the SAE again with its own library.")
    return value


def parse(path: Path, value: Any, model: type[Settings]) -> Settings:
    """The fields of a config that was read from `path`."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"])) or "its settings"
        given = "" if first["type"] == "missing" else f" (given: {str(first['input'])[:60]!r})"
        raise UserError(f"{path}, {field}: {first['msg']}{given}.") from error


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file."""
    try:
        tensors: dict[str, Tensor] = load_file(path)
        return tensors
    except OSError as error:
        raise UserError(f"{path} cannot be read ({reason_of(error)}).") from error
    except (SafetensorError, ValueError, KeyError, RuntimeError) as error:
        raise UserError(f"{path} is damaged, or is not a safetensors file; copy it again.") from error


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The tensors that torch.save wrote. A file that holds anything but tensors is refused before it is loaded."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of pickles that it did not write itself
            state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({reason_of(error)}).") from error
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path} is damaged, or holds more than tensors, which is never loaded; "
            "save its state_dict alone with torch.save."
        ) from error
    except Exception as error:  # torch raises errors of many kinds for a damaged file
        raise UserError(f"{path} is damaged, or was not written by torch.save; copy it again.") from error
    if not isinstance(state, dict) or not all(isinstance(key, str) for key in state):
        raise UserError(f"{path} holds no state_dict, but a {type(state).__name__}; save the SAE's state_dict().")
    for name, value in state.items():
        if not isinstance(value, Tensor) or value.layout != torch.strided or value.is_quantized or value.is_meta:
            raise UserError(f"{path}: {name} is no dense tensor; save the SAE's state_dict().")
        if value.untyped_storage().nbytes() < value.numel() * value.element_size():
            raise UserError(f"{path}: {name} claims more numbers than the file holds.")
    return state


def taken(
    path: Path, tensors: Mapping[str, Tensor], shapes: Mapping[str, Shape], what: str, optional: tuple[str, ...] = ()
) -> dict[str, Tensor]:
    """The tensors of an SAE in float64: exactly those in `shapes`, in these shapes, of finite numbers.

    `what` names the SAE in messages, for example "an SAE of architecture jumprelu".
    """
    if missing := [name for name in shapes if name not in tensors and name not in optional]:
        raise UserError(f"{path} lacks {listed(missing, 'and')}, which {what} has; it has {_names(tensors)}.")
    if extra := [name for name in tensors if name not in shapes]:
        raise UserError(f"{path} holds {_names(extra)}, which {what} does not have; is its config of another SAE?")
    found = {name: tensors[name] for name in shapes if name in tensors}
    for name, value in found.items():
        _check(path, name, value, shapes[name])
    return {name: value.double() for name, value in found.items()}


def _check(path: Path, name: str, value: Tensor, shape: Shape) -> None:
    own = tuple(value.shape)
    if own != shape:
        hint = "; it is transposed" if own == shape[::-1] else "; does the config belong to these weights?"
        raise UserError(f"{path}: {name} has the shape {list(own)} instead of {list(shape)}{hint}.")
    is_number = value.is_floating_point() or (value.dim() <= 1 and not value.is_complex())  # k and sizes are integers
    if not is_number:
        raise UserError(f"{path}: {name} holds {str(value.dtype).removeprefix('torch.')} instead of decimal numbers.")
    if not value.double().isfinite().all():
        raise UserError(f"{path}: {name} holds NaN or infinite numbers; train the SAE again.")


def _names(tensors: Mapping[str, Tensor] | list[str]) -> str:
    names = [name[:60] for name in tensors]
    return listed(names[:8], "and") + (f" ({len(names)} in all)" if len(names) > 8 else "") if names else "no tensors"
