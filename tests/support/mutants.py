"""Mutants: a whole study in which one thing is damaged, foreign, or contradicts the rest.

A mutant is a place, a kind of damage and a seed, so each is the same at every time. `contradictions.py` has those
whose checksums are computed again.
"""

import os
import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from sae_pipeline.activations.manifest import MANIFEST
from sae_pipeline.schema.calibration import CALIBRATION
from sae_pipeline.schema.causes import FEATURE_EFFECTS, INTERVENTIONS
from sae_pipeline.schema.common import FEATURE_STATS, FEATURE_TOKENS, HEADLINE_FEATURES, METADATA, PROMPTS, RUN_FILES
from sae_pipeline.schema.contrast import CONTRAST
from sae_pipeline.schema.diff import DIFF
from sae_pipeline.schema.family import FAMILY
from sae_pipeline.schema.map import MAP
from sae_pipeline.schema.mending import MENDING
from sae_pipeline.schema.names import NAMES
from sae_pipeline.schema.run import DECODER, NEIGHBOURS
from tests.support.run_edits import replace
from tests.support.whole_study import OTHER_SIZE, Family, WholeStudy

Change = Callable[[WholeStudy, Family, random.Random], None]
_ADDED = (FAMILY, MAP, FEATURE_EFFECTS, INTERVENTIONS, CONTRAST, MENDING, CALIBRATION, DIFF)
OPTIONAL = (NEIGHBOURS, DECODER, NAMES, *_ADDED)
HUGE = 6 << 30  # bytes


@dataclass(frozen=True)
class Mutant:
    """One change of a study. `base` is the study that it changes: the whole one, or the verb that was interrupted."""

    place: str
    kind: str
    seed: int
    change: Change
    base: str = "whole"
    served: bool = False  # the change comes when a server has already answered from the file

    @property
    def name(self) -> str:
        """Place, kind and seed."""
        return f"{self.place}, {self.kind}, {self.seed}"

    def apply(self, study: WholeStudy, family: Family) -> None:
        """Change the study, whose files may be links to those of others."""
        self.change(study, family, random.Random(f"{self.place} {self.kind} {self.seed}"))


class Place(NamedTuple):
    """A file of a study: the paths that lead to it."""

    paths: Callable[[WholeStudy], list[Path]]
    base: str = "whole"
    limited: bool = True  # whether the sizes that it may have are known before it is read


def _run_file(name: str) -> Place:
    return Place(lambda study: [study.run / name])


STORE = {
    "classifier weights": Place(lambda study: [study.classifier / "model.safetensors"]),
    "classifier config": Place(lambda study: [study.classifier / "config.json"]),
    "tokenizer": Place(lambda study: [study.classifier / "tokenizer.json"]),
    "tokenizer config": Place(lambda study: [study.classifier / "tokenizer_config.json"]),
    "classifier record": Place(lambda study: [study.classifier / "classifier.json"]),
    "present classifier": Place(lambda study: [study.weights / "classifier.json"]),
    "SAE and alias": Place(lambda study: [study.sae() / "sae.pt", study.alias()]),
    "SAE alias": Place(lambda study: [study.alias()]),
    "SAE record": Place(lambda study: [study.sae() / "sae.json"]),
    "other SAE record": Place(lambda study: [study.sae(OTHER_SIZE) / "sae.json"]),
    "SAE neighbours": Place(lambda study: [study.sae() / "neighbours.safetensors"]),
    "activation shard": Place(lambda study: [study.activations / "acts-00001.safetensors"]),
    "manifest": Place(lambda study: [study.activations / MANIFEST]),
    "controls": Place(lambda study: [study.controls]),
    "layers": Place(lambda study: [study.layers]),
}
CHECKPOINTS = {
    "finetune checkpoint": Place(lambda study: [study.checkpoint("state.safetensors")], "finetune", limited=False),
    "best epoch": Place(lambda study: [study.checkpoint("best.safetensors")], "finetune", limited=False),
    "train checkpoint": Place(lambda study: [study.checkpoint("state.safetensors")], "train", limited=False),
    "unfinished shard": Place(lambda study: [study.checkpoint("*/acts-00000.safetensors")], "extract", limited=False),
    "shard record": Place(lambda study: [study.checkpoint("acts-00000.safetensors.json")], "extract"),
}
RUN = {f"run {name}": _run_file(name) for name in (*RUN_FILES, *OPTIONAL)}
INDEX = {f"run {name}": _run_file(name) for name in ("index.sqlite", "index.json")}
LABELS = {"labels": Place(lambda study: [study.labels])}
PLACES = STORE | CHECKPOINTS | RUN | INDEX | LABELS


# --- damage --------------------------------------------------------------------------------------------

Bytes = Callable[[bytes, random.Random], bytes]
_DIGIT = re.compile(rb"(?<=[:,\[.0-9])[0-9](?=[0-9.,\]}])")
_LETTER = re.compile(rb"(?<=[a-z ])[a-z](?=[a-z ])")


def _flipped(n: int) -> Bytes:
    def flip(data: bytes, rng: random.Random) -> bytes:
        changed = bytearray(data)
        for bit in rng.sample(range(8 * len(data)), n):
            changed[bit // 8] ^= 1 << bit % 8
        return bytes(changed)

    return flip


def _another(pattern: re.Pattern[bytes], characters: bytes) -> Bytes:
    def change(data: bytes, rng: random.Random) -> bytes:
        places = [found.start() for found in pattern.finditer(data)]
        place = rng.choice(places)
        new = rng.choice([one for one in characters if one != data[place]])
        return data[:place] + bytes([new]) + data[place + 1 :]

    return change


def _with_lines(change: Callable[[list[bytes], int], None]) -> Bytes:
    """A change of the lines of a file, at a line that is neither the first nor one of the last two."""

    def changed(data: bytes, rng: random.Random) -> bytes:
        lines = data.splitlines(keepends=True)
        change(lines, rng.randrange(1, max(2, len(lines) - 2)))
        return b"".join(lines)

    return changed


def _drop(lines: list[bytes], n: int) -> None:
    del lines[n]


def _double(lines: list[bytes], n: int) -> None:
    lines.insert(n, lines[n])


def _swap(lines: list[bytes], n: int) -> None:
    lines[n - 1 : n + 1] = lines[n], lines[n - 1]


DAMAGE: dict[str, Bytes] = {
    "one bit": _flipped(1),
    "300 bits": _flipped(300),
    "cut": lambda data, rng: data[: rng.randrange(len(data) // 4, len(data))],
    "last byte cut": lambda data, rng: data[:-1],
    "empty": lambda data, rng: b"",
    "grown": lambda data, rng: data + b"\n",
}
WELL_FORMED: dict[str, Bytes] = {
    "a digit": _another(_DIGIT, b"123456789"),
    "a letter": _another(_LETTER, b"abcdefghijklmnopqrstuvwxyz"),
    "deep": lambda data, rng: b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "other JSON": lambda data, rng: b'{"a":1}\n',
}
RECORDS: dict[str, Bytes] = {
    "record dropped": _with_lines(_drop),
    "record doubled": _with_lines(_double),
    "records swapped": _with_lines(_swap),
}


def _damaged(place: Place, damage: Bytes) -> Change:
    def change(study: WholeStudy, family: Family, rng: random.Random) -> None:
        paths = place.paths(study)
        replace(paths, damage(paths[0].read_bytes(), rng))

    return change


def _times_kept(place: Place, damage: Bytes) -> Change:
    """The file keeps its inode, size and time of change, as after a failure of the disk or by `touch -r`."""

    def change(study: WholeStudy, family: Family, rng: random.Random) -> None:
        (path,) = place.paths(study)
        if path.stat().st_nlink > 1:  # else the change would reach the studies that share the file
            replace([path], path.read_bytes())
        status, data = path.stat(), damage(path.read_bytes(), rng)
        with path.open("r+b") as file:
            file.write(data)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    return change


def _elsewhere(place: Place, act: Callable[[Path], None]) -> Change:
    """Something that is no file of the study in the place of the file."""

    def change(study: WholeStudy, family: Family, rng: random.Random) -> None:
        for path in place.paths(study):
            act(path)

    return change


def _to_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "file").write_bytes(b"text")


def _to_link(path: Path) -> None:
    """A link to a file outside the study that differs by a digit."""
    outside = path.parents[3] / "outside"
    outside.write_bytes(_flipped(1)(path.read_bytes(), random.Random(0)))
    path.unlink()
    path.symlink_to(outside)


def _to_huge(path: Path) -> None:
    path.unlink()
    with path.open("wb") as file:
        file.truncate(HUGE)


def _foreign(place: Place, relative: str) -> Change:
    """The same file of a relative."""

    def change(study: WholeStudy, family: Family, rng: random.Random) -> None:
        foreign = place.paths(family.relative(relative, place.base))[0].read_bytes()
        replace(place.paths(study), foreign)

    return change


def _together(names: Sequence[str], relative: str) -> Change:
    """Several files of a relative's run under the run's own metadata."""

    def change(study: WholeStudy, family: Family, rng: random.Random) -> None:
        for name in names:
            replace([study.run / name], (family.relative(relative).run / name).read_bytes())

    return change


_TOGETHER = {
    "statistics": (FEATURE_STATS, FEATURE_TOKENS),
    "strongest features": (FEATURE_TOKENS, HEADLINE_FEATURES),
    "all but prompts": (FEATURE_STATS, FEATURE_TOKENS, HEADLINE_FEATURES, NEIGHBOURS, DECODER, NAMES),
    "all but metadata": (PROMPTS, FEATURE_STATS, FEATURE_TOKENS, HEADLINE_FEATURES, NEIGHBOURS, DECODER, NAMES),
    "added files": (FEATURE_EFFECTS, INTERVENTIONS, FAMILY, MAP, CONTRAST, MENDING, CALIBRATION, DIFF),
    "neighbours": (NEIGHBOURS, DECODER),
    "metadata and causes": (METADATA, FEATURE_EFFECTS, INTERVENTIONS),
    "index": ("index.sqlite", "index.json"),
}


def _kinds(name: str, place: Place) -> Iterator[tuple[str, Change, bool]]:
    """(kind, change, whether it depends on the seed) of every kind that a place can have."""
    suffix = name.rpartition(".")[2]
    is_text = suffix in ("json", "jsonl") or name in _JSON_PLACES
    for kind, damage in DAMAGE.items():
        yield kind, _damaged(place, damage), kind in ("one bit", "300 bits", "cut")
    for kind, damage in (WELL_FORMED if is_text else {}).items():
        yield kind, _damaged(place, damage), kind in ("a digit", "a letter")
    for kind, damage in (RECORDS if name in _RECORDS else {}).items():
        yield kind, _damaged(place, damage), True
    yield "a folder", _elsewhere(place, _to_folder), False
    yield "a link", _elsewhere(place, _to_link), False
    yield "missing", _elsewhere(place, Path.unlink), False
    if place.limited:
        yield "huge and sparse", _elsewhere(place, _to_huge), False
    for relative in ("another SAE", "another classifier"):
        yield f"of {relative}", _foreign(place, relative), False


_JSON_PLACES = {
    *("classifier config", "tokenizer", "tokenizer config", "classifier record", "present classifier"),
    *("SAE record", "other SAE record", "manifest", "controls", "layers", "shard record", "labels"),
}
_RECORDS = {f"run {name}" for name in (PROMPTS, FEATURE_STATS, FEATURE_TOKENS, HEADLINE_FEATURES, INTERVENTIONS)}
_SHARED = {  # files that relatives have in common
    "another SAE": {*list(STORE)[:6], "activation shard", "manifest", *CHECKPOINTS} - {"train checkpoint"}
}
_MAY_BE_MISSING = {"controls", "layers", "labels", *(f"run {name}" for name in _ADDED)}


def damaged_files(seeds: int) -> Iterator[Mutant]:
    """Every kind at every place; kinds that are drawn at random with so many seeds."""
    for name, place in PLACES.items():
        for kind, change, drawn in _kinds(name, place):
            if name in _SHARED.get(kind.removeprefix("of "), ()) or (kind == "missing" and name in _MAY_BE_MISSING):
                continue
            for seed in range(seeds if drawn else 1):
                yield Mutant(name, kind, seed, change, place.base)


def edited_in_place(seeds: int) -> Iterator[Mutant]:
    """Files that change with size and times kept, also while a server answers from them."""
    places = {name: place for name, place in PLACES.items() if place.base == "whole" and name != "SAE and alias"}
    for name, place in places.items():
        is_text = name.endswith(("json", "jsonl")) or name in _JSON_PLACES
        damage = WELL_FORMED["a digit"] if is_text else DAMAGE["one bit"]
        for seed in range(seeds):
            yield Mutant(name, "edited, times kept", seed, _times_kept(place, damage))
            if name in RUN | INDEX | LABELS:
                yield Mutant(name, "edited while served", seed, _times_kept(place, damage), served=True)


def foreign_together() -> Iterator[Mutant]:
    """Several files of another run under the old metadata."""
    for name, files in _TOGETHER.items():
        for relative in ("another SAE", "another classifier"):
            yield Mutant("run, several files", f"{name} of {relative}", 0, _together(files, relative))
