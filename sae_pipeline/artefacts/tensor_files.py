"""Files of tensors that check themselves: safetensors whose header has facts as JSON and a checksum of everything."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save, save_file
from torch import Tensor

from sae_pipeline.artefacts.checksums import CHANGED
from sae_pipeline.artefacts.writing import put, readable_os_errors
from sae_pipeline.errors import DamageError, UnreadableError

_ENTRY = "sealed"  # of the header: the facts as text, and the checksum


def save_tensors(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write tensors and JSON-able facts whole or not at all. Raises ResourceError, like `write_file`."""
    whole, header = _packed(tensors, facts)
    temporary = path.with_suffix(".partial")
    with readable_os_errors(path.parent):
        save_file(whole, temporary, header)
        with temporary.open("r+b") as file:
            os.fsync(file.fileno())  # so that the file is whole even if the power fails after the rename
        put(temporary, path)


def tensor_bytes(tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> bytes:
    """The content of the file that `save_tensors` writes, for small tensors."""
    return bytes(save(*_packed(tensors, facts)))


def _packed(tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the header as safetensors writes them."""
    text = json.dumps(facts)
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    entry = json.dumps({"checksum": tensors_checksum(whole, text), "facts": text})
    return whole, {_ENTRY: entry}  # one entry alone, because safetensors writes several in random order


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors (on the CPU) and facts that `save_tensors` wrote. Raises DamageError."""
    try:
        if path.is_dir():  # of which safetensors says only that it cannot be read
            raise IsADirectoryError("it is a folder")
        with safe_open(path, framework="pt") as file:
            known = json.loads((file.metadata() or {})[_ENTRY])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
            checksum, text = str(known["checksum"]), str(known["facts"])
    except (IsADirectoryError, SafetensorError) as error:
        raise DamageError(f"is not a file of tensors ({error})") from error
    except OSError as error:
        raise UnreadableError(f"cannot be read ({error})") from error
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise DamageError("has no checksum, so it is damaged or from an earlier version") from error
    if checksum != tensors_checksum(tensors, text):
        raise DamageError(CHANGED)
    return tensors, json.loads(text)


def tensors_checksum(tensors: Mapping[str, Tensor], text: str = "") -> str:
    """The SHA-256 of a text and of tensors, their names, dtypes and shapes: 64 hex characters."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"\n{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
