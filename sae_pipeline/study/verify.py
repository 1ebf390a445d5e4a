"""Compare every artefact below a folder with its checksums."""

import lzma
import os
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sae_pipeline.activations.manifest import MANIFEST
from sae_pipeline.activations.store import check_store
from sae_pipeline.artefacts.checksums import (
    UnsealedError,
    check_files,
    fields_of,
    file_hash,
    named_record,
    read_record,
    read_sealed,
    sha256,
)
from sae_pipeline.artefacts.tensor_files import load_tensors
from sae_pipeline.artefacts.writing import readable_os_errors
from sae_pipeline.classifier.classifier import RECORD, check_classifier, check_record
from sae_pipeline.errors import DamageError, UserError, command
from sae_pipeline.runs.evidence import read_controls, read_layers
from sae_pipeline.runs.index import (
    INDEX,
    INDEX_RECORD,
    IndexRecord,
    UnwritableIndexError,
    build_index,
    damaged_files,
    shown_progress,
)
from sae_pipeline.runs.labels import MAX_LABELS_BYTES
from sae_pipeline.runs.run_files import DamagedRunError, run_number
from sae_pipeline.sae.autoencoder import maker
from sae_pipeline.schema.labels import LABELS
from sae_pipeline.schema.layers import LAYERS
from sae_pipeline.schema.paper import PAPER, PaperRecord
from sae_pipeline.schema.seal import SealRecord
from sae_pipeline.scoring.record import SCORE, check_scores
from sae_pipeline.study.layout import SAE, SAE_RECORD, Layout, PresentClassifier, check_sae, check_sae_record

_UNPACKING = (  # what the libraries raise for archives that are damaged, encrypted or none
    *(OSError, EOFError, RuntimeError, NotImplementedError, zlib.error, lzma.LZMAError),
    *(tarfile.TarError, zipfile.BadZipFile),
)
_ROOM = 1 << 26  # bytes of the disk that unpacking leaves free


@dataclass(frozen=True)
class Verdict:
    """An artefact and what is wrong with it: sentences without their full stops, none for one that is whole."""

    path: Path
    n_bytes: int
    problems: list[str]


def verify(root: Path) -> Iterator[Verdict]:
    """Check all artefacts below a folder: a study, a part of one, or several. Hidden files and folders are left out."""
    for folder, names, files in os.walk(root):
        names[:] = sorted(name for name in names if name[0] != ".")
        here = Path(folder)
        check = _check_of(here, files)
        if check is not None:
            names.clear()
            yield _verdict(here, check)
            continue
        for name in sorted(files):
            check = _check_of_file(here, name)
            if check is not None:
                yield _verdict(here / name, check)


@contextmanager
def unpacked(archive: Path) -> Iterator[Path]:
    """The content of an archive (.zip, .tar, .tar.gz, …) in a temporary folder.

    Raises UserError for a file that is no archive, and for one that does not fit on the disk.
    """
    with tempfile.TemporaryDirectory(prefix="verify-") as folder:
        try:
            size, free = _unpacked_size(archive), shutil.disk_usage(folder).free
            if size > free - _ROOM:
                raise UserError(
                    f"{archive} holds {size:,} bytes, and {folder} has room for {free:,}; set TMPDIR to a larger disk."
                )
            with readable_os_errors(Path(folder)):
                _unpack(archive, Path(folder))
        except _UNPACKING as error:
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise UserError(f"{archive} is no archive that can be unpacked ({reason}); copy it again.") from error
        yield Path(folder)


def _unpacked_size(archive: Path) -> int:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as file:
            return sum(member.file_size for member in file.infolist())
    with tarfile.open(archive) as file:
        return sum(member.size for member in file)


def _unpack(archive: Path, folder: Path) -> None:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as file:
            file.extractall(folder)
        return
    with tarfile.open(archive) as tar:
        tar.extraction_filter = lambda member, _: member  # checked here: Python's own filters begin with 3.11.4
        for member in tar:
            names = (member.name, member.linkname) if member.islnk() else (member.name,)
            inside = all((folder / name).resolve().is_relative_to(folder.resolve()) for name in names)
            if not inside or not (member.isfile() or member.islnk() or member.isdir()):
                raise tarfile.ReadError(f"{member.name} is no file or folder inside it")
        tar.extractall(folder)


def _verdict(path: Path, check: Callable[[], list[str]]) -> Verdict:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return Verdict(path, sum(file.stat().st_size for file in files), check())


# --- what a folder or a file is ------------------------------------------------------------------------


def _check_of(folder: Path, files: list[str]) -> Callable[[], list[str]] | None:
    """The check of the artefact that is this folder; None for a folder of other things."""
    if run_number(folder.name) is not None:
        return partial(_check_run, folder)
    if folder.parent.name == "store":
        if files == [SAE_RECORD]:  # in the archive of a paper, other seeds come without their weights
            return _problem(partial(check_sae_record, folder), "train")
        if files == [RECORD]:
            return _problem(partial(check_record, folder), "finetune")
        if {SAE, SAE_RECORD} & set(files):
            told = fields_of(folder / SAE_RECORD)
            verb = "finish" if told.get("finish") else "import" if told.get("origin") else "train"
            return _problem(partial(check_sae, folder), verb)
        return _problem(partial(check_classifier, folder), "finetune")
    has_shards = MANIFEST in files and any(name.endswith(".safetensors") for name in files)  # an exported site has none
    if folder.parent.name == "activations" or has_shards:
        return _problem(partial(check_store, folder), "extract")
    if SCORE in files:
        return _problem(partial(check_scores, folder), "score")
    if folder.parent.name == "checkpoints":
        return lambda: [
            f"{path.name} {error}; the next command starts this work afresh"
            for path in sorted(folder.glob("[!.]*.safetensors"))
            for error in _errors(partial(load_tensors, path))
        ]
    return None


def _check_of_file(folder: Path, name: str) -> Callable[[], list[str]] | None:
    """The check of a file that belongs to no artefact's folder; None for other things."""
    path = folder / name
    if name == RECORD:
        return _problem(partial(read_record, path, PresentClassifier), "finetune")
    if name == LAYERS:
        return _problem(partial(read_layers, path), "layers")
    if folder.name == "evidence" and path.suffix == ".json":
        return _problem(partial(read_controls, path), "compare")
    if folder.name == "seals" and path.suffix == ".json":
        return _problem(partial(read_record, path, SealRecord), "verify")
    if name == PAPER:
        return _problem(partial(_check_paper, folder), "paper")
    if folder.name == LABELS and path.suffix == ".json":
        return lambda: [
            f"{error}; remove its field `checksum` if you have changed it yourself, else restore it"
            for error in _errors(partial(_check_labels, path))
        ]
    if path.match("layer_*_*.pt"):
        return _problem(partial(_check_alias, path), maker(path))
    return None


def _problem(check: Callable[[], object], verb: str) -> Callable[[], list[str]]:
    """The check as a function that returns the problems, each with its way out."""
    way_out = f"run `{command(verb)}` to make it again, or move it away"

    def problems() -> list[str]:
        try:
            return [f"{problem}; {way_out}" for problem in _errors(check)]
        except UserError as error:  # which says by itself what to do
            return [str(error).rstrip(".")]

    return problems


def _errors(check: Callable[[], object]) -> list[str]:
    try:
        check()
    except DamageError as error:
        return [str(error)]
    return []


def _check_run(folder: Path) -> list[str]:
    """Make the index of a run anew, in another folder: this reads all of its files. Then check the index it has."""
    with tempfile.TemporaryDirectory(prefix="verify-") as temporary, shown_progress(folder.name) as progress:
        try:
            index = build_index(folder, progress, Path(temporary))
            problems = [sentence.rstrip(".") for sentence in damaged_files(index)]
        except UnwritableIndexError as error:
            return [f"the run was not checked: {str(error).rstrip('.')}; set TMPDIR to a larger disk"]
        except DamagedRunError as error:
            problems = [str(error).rstrip(".")]
    again = "the server makes it again"
    return problems + [f"{INDEX} {error}; {again}" for error in _errors(partial(_check_index, folder))]


def _check_index(folder: Path) -> None:
    """Raise DamageError for an index that is not its record's. One without a record was not finished; it is unused."""
    if (folder / INDEX).exists() and (folder / INDEX_RECORD).exists():
        known = read_record(folder / INDEX_RECORD, IndexRecord).files.get(INDEX)
        if known is None or sha256(folder / INDEX) != known.sha256:
            raise DamageError("is not the one that was written")


def _check_paper(folder: Path) -> None:
    record = named_record(folder, PAPER, PaperRecord)
    check_files(folder, record.files)


def _check_labels(path: Path) -> None:
    """Labels that a person has written have no checksum."""
    try:
        read_sealed(path, MAX_LABELS_BYTES)
    except UnsealedError:
        if not fields_of(path):
            raise


def _check_alias(path: Path) -> None:
    """A file that names the newest SAE of a size is the same as one of the store."""
    if not (Layout(path.parent.parent).store / file_hash(path)).is_dir():
        raise DamageError("is not an SAE of the store beside it")
