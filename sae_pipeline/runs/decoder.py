"""`decoder.safetensors`: the decoder rows of a run's SAE, by which features of several runs are compared."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from sae_pipeline.artefacts.checksums import check_file
from sae_pipeline.errors import DamageError
from sae_pipeline.runs.problems import Problems, made_with_problems
from sae_pipeline.runs.run_files import check, damaged
from sae_pipeline.schema.common import FileSum, MadeWith
from sae_pipeline.schema.run import DECODER, RunMetadata

_ROWS = 2048  # in memory at a time


def decoder_rows(folder: Path, start: int, end: int) -> NDArray[np.float32]:
    """Rows `start` to `end` of W_dec, [n, d_in]. Raises DamageError."""
    try:
        with safe_open(folder / DECODER, framework="numpy") as file:
            rows: NDArray[np.float32] = file.get_slice("W_dec")[start:end].astype(np.float32)
    except (SafetensorError, OSError, ValueError) as error:
        raise DamageError(f"cannot be read ({error})") from error
    return rows


def decoder_blocks(folder: Path, d_sae: int) -> Iterator[NDArray[np.float32]]:
    """All rows of W_dec in order, some at a time, each [n, d_in]. Raises DamageError."""
    for start in range(0, d_sae, _ROWS):
        yield decoder_rows(folder, start, min(start + _ROWS, d_sae))


def check_decoder(folder: Path, known: FileSum, metadata: RunMetadata) -> None:
    """Compare the file with what the metadata say of it, and with the SAE. Raises `DamagedRunError`."""
    try:
        check_file(folder / DECODER, known)
        check(folder, DECODER, "", _problems(folder, metadata))
    except DamageError as error:
        raise damaged(folder, DECODER, "", str(error)) from error


def _problems(folder: Path, metadata: RunMetadata) -> Problems:
    try:
        with safe_open(folder / DECODER, framework="numpy") as file:
            header, shape = file.metadata() or {}, file.get_slice("W_dec").get_shape()
        if header.keys() != {"made_with"}:
            yield "the header", "is not that of a run's decoder rows"
        yield from made_with_problems(MadeWith.model_validate_json(header["made_with"]), metadata)
    except (SafetensorError, OSError, ValueError) as error:
        raise DamageError("has no decoder rows with the hashes of their models") from error
    if shape != [metadata.sae.d_sae, metadata.sae.d_in]:
        yield "W_dec", f"is {shape}, not [{metadata.sae.d_sae}, {metadata.sae.d_in}]"
    if not all(np.isfinite(rows).all() for rows in decoder_blocks(folder, metadata.sae.d_sae)):
        yield "W_dec", "has numbers that are not finite"
