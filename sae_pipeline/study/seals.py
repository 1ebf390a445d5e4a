"""Sealed headlines: the record that lists them, and the checks that refuse to read them before they are opened."""

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import orjson

from sae_pipeline.artefacts.checksums import read_record, write_record
from sae_pipeline.errors import DamageError, UserError, command
from sae_pipeline.headlines.dataset import Headlines
from sae_pipeline.headlines.text import sealed_key
from sae_pipeline.runs.folders import run_folders
from sae_pipeline.schema.common import PROMPTS
from sae_pipeline.schema.seal import SealRecord
from sae_pipeline.study.layout import Layout


def keep_sealed(layout: Layout, headlines: Headlines) -> None:
    """Record which of a classifier's headlines are sealed.

    Raises UserError if the other headlines include some that the study keeps sealed, and if a run already shows
    headlines that would be sealed.
    """
    shown = {sealed_key(text) for split in (headlines.train, headlines.dev, headlines.test) for text in split.texts}
    if n := len(shown & closed_keys(layout)):
        raise UserError(
            f"{n:,} of these headlines are sealed in this study; give --seal as before, or open them for the final "
            f"claims with `{command('unseal')}`."
        )
    if not headlines.sealed_keys:
        return
    keys = sorted(headlines.sealed_keys)
    path = layout.seals / f"{hashlib.sha256(''.join(keys).encode()).hexdigest()[:12]}.json"
    if path.exists():
        known = read_seal(path)
        hashes = list(dict.fromkeys([*known.data_hashes, headlines.data_hash]))
        record = known.model_copy(update={"data_hashes": hashes})
    else:
        _refuse_seen(layout, headlines.sealed_keys)
        record = SealRecord(sealed_at=now(), keys=keys, data_hashes=[headlines.data_hash])
    write_record(path, record)


def _refuse_seen(layout: Layout, keys: frozenset[str]) -> None:
    """Raise UserError where a run already shows headlines that are about to be sealed."""
    for folder, number in run_folders(layout.runs):
        with suppress(OSError, ValueError), (folder / PROMPTS).open("rb") as lines:
            if n := sum(sealed_key(orjson.loads(line)["text"]) in keys for line in lines):
                raise UserError(
                    f"run-{number:03d} shows {n:,} of the headlines that --seal would keep, so they were seen before; "
                    "begin a study in an empty folder with --root."
                )


def closed_keys(layout: Layout) -> frozenset[str]:
    """The keys of all headlines of a study that are still sealed."""
    return frozenset(key for _, seal in _seals(layout) if seal.opened is None for key in seal.keys)


def refuse_sealed(layout: Layout, texts: Iterable[str], what: str) -> None:
    """Raise UserError where one of these texts is still sealed; `what` names where they come from."""
    if (keys := closed_keys(layout)) and (n := sum(sealed_key(text) in keys for text in texts)):
        raise UserError(
            f"{what} holds {n:,} headlines that this study keeps sealed; leave them out, or open them for the final "
            f"claims with `{command('unseal')}`."
        )


def find_seal(layout: Layout, data_hash: str) -> tuple[Path, SealRecord] | None:
    """The seal of a classifier's headlines, with its path; None where none are sealed. Raises UserError."""
    return next((found for found in _seals(layout) if data_hash in found[1].data_hashes), None)


def read_seal(path: Path) -> SealRecord:
    """Read the record of a seal. Raises UserError for a damaged one: it no longer says whether it was opened."""
    try:
        return read_record(path, SealRecord)
    except DamageError as error:
        raise UserError(
            f"{path} {error}; restore it from a copy, because it says which headlines are sealed and whether they "
            "were opened."
        ) from error


def now() -> str:
    """The time, in ISO 8601 and UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _seals(layout: Layout) -> Iterator[tuple[Path, SealRecord]]:
    return ((path, read_seal(path)) for path in sorted(layout.seals.glob("[!.]*.json")))
