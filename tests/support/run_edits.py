"""Changing the files of a run in tests: as damage, or with new checksums, so that only the content is wrong.

A file is replaced and not written into, as copies of a run may share it by hard links.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import orjson

from sae_pipeline.artefacts.checksums import file_sums, seal, seal_of, without_seal
from sae_pipeline.runs.compact_json import array, lines
from sae_pipeline.schema.calibration import CALIBRATION
from sae_pipeline.schema.causes import FEATURE_EFFECTS, INTERVENTIONS
from sae_pipeline.schema.common import FEATURE_STATS, FEATURE_TOKENS, HEADLINE_FEATURES, METADATA, PROMPTS
from sae_pipeline.schema.contrast import CONTRAST
from sae_pipeline.schema.diff import DIFF
from sae_pipeline.schema.explanations import EXPLANATIONS
from sae_pipeline.schema.family import FAMILY
from sae_pipeline.schema.map import MAP
from sae_pipeline.schema.mending import MENDING
from sae_pipeline.schema.names import NAMES

Damage = Callable[[Path], Any]
Edit = Callable[[Any], Any]
# They name their run by its checksum.
ADDED = (FEATURE_EFFECTS, INTERVENTIONS, FAMILY, MAP, EXPLANATIONS, CONTRAST, MENDING, CALIBRATION, DIFF)
_RECORDS = {
    FEATURE_STATS: "metrics",
    FEATURE_TOKENS: "features",
    HEADLINE_FEATURES: "headlines",
    NAMES: "features",
    FEATURE_EFFECTS: "columns",
    INTERVENTIONS: "headlines",
}


def content(path: Path) -> Any:
    """The content of a JSON file; `prompts.jsonl` is a list of records."""
    data = without_seal(path.read_bytes())
    return [orjson.loads(line) for line in data.splitlines()] if path.name == PROMPTS else orjson.loads(data)


def replace(paths: Sequence[Path], data: bytes) -> None:
    """Put another file in the place of one; all paths lead to it."""
    first, *others = paths
    first.unlink()
    first.write_bytes(data)
    for path in others:
        path.unlink()
        os.link(first, path)


def put(name: str, data: bytes) -> Damage:
    """Replace a file."""
    return lambda folder: replace([folder / name], data)


def replaced(name: str, old: bytes, new: bytes) -> Damage:
    """Replace the first occurrence of some bytes in a file."""

    def apply(folder: Path) -> None:
        data = (folder / name).read_bytes()
        assert old in data
        replace([folder / name], data.replace(old, new, 1))

    return apply


def edited(name: str, change: Edit) -> Damage:
    """Change the content of a file and write it as the program does, sealed if it was; the record is left alone."""

    def apply(folder: Path) -> None:
        sealed = without_seal(before := (folder / name).read_bytes()) != before
        value = content(folder / name)
        change(value)
        if name in _RECORDS:
            records = value.pop(_RECORDS[name])
            data = b"".join(array(value, _RECORDS[name], map(orjson.dumps, records)))
        else:
            data = b"".join(lines(map(orjson.dumps, value if name == PROMPTS else [value])))
        replace([folder / name], seal(data) if sealed else data)

    return apply


def contradicting(name: str, change: Edit) -> Damage:
    """Change the content of a file of a run, and make the run's checksums anew."""
    return resealed(edited(name, change))


def resealed(damage: Damage) -> Damage:
    """The damage, after which all checksums of the run fit."""

    def apply(folder: Path) -> None:
        damage(folder)
        reseal(folder)

    return apply


def reseal(folder: Path) -> None:
    """Make the checksums of a run anew: in its record, and in the added files that are there."""

    def change(metadata: Any) -> None:
        metadata["files"] = sums_of(folder, [name for name in metadata["files"] if (folder / name).is_file()])

    edited(METADATA, change)(folder)
    checksum = seal_of((folder / METADATA).read_bytes())
    for name in ADDED:
        if (folder / name).is_file():
            edited(name, lambda added: added.update(run_checksum=checksum))(folder)


def sums_of(folder: Path, names: Iterable[str]) -> dict[str, Any]:
    """The field `files` of a record: the sizes and checksums of files in its folder."""
    return {name: known.model_dump() for name, known in file_sums(folder, names).items()}
