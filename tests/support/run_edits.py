"""Changing the files of a run in tests: as damage, or with new checksums, so that only the content is wrong."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from sae_pipeline.artefacts.checksums import file_sums, seal, without_seal
from sae_pipeline.runs.compact_json import array, lines
from sae_pipeline.schema.causes import FEATURE_EFFECTS, INTERVENTIONS
from sae_pipeline.schema.common import FEATURE_STATS, FEATURE_TOKENS, HEADLINE_FEATURES, METADATA, PROMPTS

Damage = Callable[[Path], Any]
_RECORDS = {
    FEATURE_STATS: "metrics",
    FEATURE_TOKENS: "features",
    HEADLINE_FEATURES: "headlines",
    FEATURE_EFFECTS: "columns",
    INTERVENTIONS: "headlines",
}


def content(path: Path) -> Any:
    """The content of a run's JSON file; `prompts.jsonl` is a list of records."""
    data = without_seal(path.read_bytes())
    return [orjson.loads(line) for line in data.splitlines()] if path.name == PROMPTS else orjson.loads(data)


def put(name: str, data: bytes) -> Damage:
    """Replace a file."""
    return lambda folder: (folder / name).write_bytes(data)


def replaced(name: str, old: bytes, new: bytes) -> Damage:
    """Replace the first occurrence of some bytes in a file."""

    def apply(folder: Path) -> None:
        data = (folder / name).read_bytes()
        assert old in data
        (folder / name).write_bytes(data.replace(old, new, 1))

    return apply


def edited(name: str, change: Callable[[Any], Any]) -> Damage:
    """Change the content of a file and write it as the program does, sealed if it was; the record is left alone."""

    def apply(folder: Path) -> None:
        path = folder / name
        sealed = without_seal(before := path.read_bytes()) != before
        value = content(path)
        change(value)
        if name in _RECORDS:
            records = value.pop(_RECORDS[name])
            data = b"".join(array(value, _RECORDS[name], records))
        else:
            data = b"".join(lines(value if name == PROMPTS else [value]))
        path.write_bytes(seal(data) if sealed else data)

    return apply


def contradicting(name: str, change: Callable[[Any], Any]) -> Damage:
    """Change the content of a file, and make the checksums in the run's record anew."""

    def apply(folder: Path) -> None:
        edited(name, change)(folder)
        reseal(folder)

    return apply


def reseal(folder: Path) -> None:
    """Make the checksums in the record of a run anew."""

    def change(metadata: Any) -> None:
        names = [file for file in metadata["files"] if (folder / file).is_file()]
        metadata["files"] = {file: known.model_dump() for file, known in file_sums(folder, names).items()}

    edited(METADATA, change)(folder)
