"""The verb push: send parts of a study to a repository on the hub, with a card. Nothing is sent without `--yes`."""

import re
from collections.abc import Iterator
from pathlib import Path

from sae_pipeline.artefacts.checkpoints import unfinished
from sae_pipeline.artefacts.checksums import named_record
from sae_pipeline.artefacts.writing import make_folder, readable_os_errors, write_file
from sae_pipeline.classifier.classifier import RECORD
from sae_pipeline.config import PushConfig
from sae_pipeline.errors import DamageError, UserError
from sae_pipeline.schema.common import METADATA
from sae_pipeline.sharing.cards import card
from sae_pipeline.sharing.contents import CARD, RUNS, STUDY, Contents, gather, held_records, text_lines
from sae_pipeline.sharing.repository import Repository, check_name
from sae_pipeline.study.layout import SAE_RECORD, Layout, PresentClassifier

_RECORD = re.compile(rf"layer_[0-9]+_[\w-]+/{re.escape(SAE_RECORD)}|{RUNS}/[^./][^/]*/{re.escape(METADATA)}")
_OWN = {".gitattributes", CARD}  # what an empty repository may hold


def push(config: PushConfig, layer: int, root: Path, send: bool, card_folder: Path | None) -> Iterator[str]:
    """Send parts of a study if `send` is set, else only say what would be sent. Yields lines to print.

    With `card_folder`, the card is written there and nothing is sent. Raises UserError when a part is missing, damaged
    or of another study, and ResourceError when the hub fails; the same command goes on from there.
    """
    sending = send and card_folder is None
    if config.to:
        check_name(config.to, "--to")
    repository = Repository.look(config.to, "--to") if sending else None
    with unfinished(Layout(root).checkpoints, "push") as work:
        contents = gather(config, layer, root, work.folder)
        if card_folder is not None:
            make_folder(card_folder, "--dry-run")
            with readable_os_errors(card_folder, "--dry-run"):
                write_file(card_folder / CARD, card(contents, config).encode())
            yield f"card: {card_folder / CARD}"
        if repository is None:
            yield from _preview(contents, config)
            return
        _add_what_is_there(contents, repository, work.folder / "hub")
        files: dict[str, Path | bytes] = {CARD: card(contents, config).encode(), **contents.files}
        message = f"{config.what} of classifier {contents.study.classifier_hash}"
        yield f"{len(files)} files are at {repository.add(files, message, config.private)}"


def _preview(contents: Contents, config: PushConfig) -> Iterator[str]:
    sizes = {CARD: len(card(contents, config).encode())}
    sizes |= {path: file.stat().st_size for path, file in contents.files.items()}
    width = max(map(len, sizes))
    yield from (f"  {path:{width}} {size / 1e6:10,.3f} MB" for path, size in sizes.items())
    place = f"{config.to or 'USER/NAME (--to)'}, which is made {'private' if config.private else 'public'} if it is new"
    yield f"{len(sizes)} files, {sum(sizes.values()) / 1e6:,.1f} MB, would go to {place}."
    yield f"License on the card: {config.license}" + (" (--license names one)." if config.license == "unknown" else ".")
    yield from text_lines(contents)
    yield "Nothing has been sent: read the card with --dry-run FOLDER, send with --yes."


def _add_what_is_there(contents: Contents, repository: Repository, folder: Path) -> None:
    """Add the parts that the repository holds already, so that the card describes all of it.

    Raises UserError where it holds something else than parts of this study.
    """
    if STUDY not in repository.files:
        if others := repository.files - _OWN:
            raise UserError(
                f"{repository.name} holds {min(others)} and other files that are not of a study; choose another --to."
            )
        return
    repository.fetch(STUDY, folder)
    try:
        there = named_record(folder, STUDY, PresentClassifier).classifier_hash
    except DamageError as error:
        raise UserError(f"{repository.name}: {error}; choose another --to.") from error
    if there != contents.study.classifier_hash:
        raise UserError(
            f"{repository.name} holds a study of classifier {there}, and this one is of "
            f"{contents.study.classifier_hash}; choose another --to."
        )
    held = sorted(path for path in repository.files - contents.files.keys() if _RECORD.fullmatch(path))
    for path in held:
        repository.fetch(path, folder)
    saes, runs = held_records(folder, held)
    contents.saes, contents.runs = saes | contents.saes, runs | contents.runs
    contents.has_classifier |= RECORD in repository.files
