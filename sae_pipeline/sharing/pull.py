"""The verb pull: fetch parts of a study from a repository on the hub into a folder.

A file is fetched only if a record names it or the program knows it. Every file is compared with its checksum before
it is moved into the study, and nothing in it is executed.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from sae_pipeline.artefacts.checkpoints import unfinished
from sae_pipeline.artefacts.checksums import (
    check_files,
    check_sealed,
    content_hash,
    named_record,
    write_record,
)
from sae_pipeline.artefacts.locks import locked
from sae_pipeline.artefacts.writing import alias, publish, readable_os_errors
from sae_pipeline.classifier.classifier import RECORD, WEIGHTS, ClassifierRecord, check_classifier
from sae_pipeline.config import PullConfig
from sae_pipeline.errors import DamageError, UserError, command
from sae_pipeline.runs.folders import run_folders
from sae_pipeline.runs.index import INDEXED_FILES, index_run
from sae_pipeline.runs.run_files import RUN_FOLDER, read_metadata, run_checksum, run_number
from sae_pipeline.sae.autoencoder import SparseAutoencoder
from sae_pipeline.schema.common import METADATA
from sae_pipeline.schema.kinds import listed
from sae_pipeline.sharing.contents import RUNS, STUDY, sae_folder
from sae_pipeline.sharing.repository import Repository
from sae_pipeline.study.layout import (
    SAE,
    SAE_RECORD,
    Layout,
    PresentClassifier,
    SaeRecord,
    check_sae,
    present_classifier,
)

_CLASSIFIER_FILES = (".json", ".safetensors", ".txt", ".model", ".jinja")
_SAE = re.compile(rf"(layer_[0-9]+_[\w-]+)/{re.escape(SAE_RECORD)}")
_RUN = re.compile(rf"{RUNS}/([^/\\]+)/{re.escape(METADATA)}")


def pull(config: PullConfig, root: Path) -> Iterator[str]:
    """Fetch the parts of a study that are not here yet. Yields a line for each.

    Raises UserError when the repository holds no study or another one, or when a file is not the one that was sent.
    Raises ResourceError when the hub or the disk fails; the same command then goes on from there.
    """
    repository = Repository.look(config.repository, "pull", config.revision)
    if repository.commit is None:
        raise UserError(
            f"{config.repository} cannot be read: the hub has nothing of this name, or asks for a login "
            "(`hf auth login`)."
        )
    if STUDY not in repository.files:
        raise UserError(
            f"{config.repository} is no study: it has no {STUDY}. A plain classifier is taken with "
            f"`{command('adopt')} --model {config.repository}`."
        )
    with unfinished(Layout(root).checkpoints, "pull", repository.name) as work:
        try:
            yield from _Pull(repository, Layout(root), work.folder).parts(config.what)
        except DamageError as error:
            raise UserError(
                f"{repository.name}: {error}; nothing of this part was kept, ask for a new push."
            ) from error


class _Pull:
    """A repository that is fetched into `work/files`, checked in `work/checked`, and moved into a study."""

    def __init__(self, repository: Repository, layout: Layout, work: Path) -> None:
        self.repository, self.layout, self.work = repository, layout, work
        self._fetch(STUDY)
        self.study = named_record(work / "files", STUDY, PresentClassifier)
        present = self._present()
        if present is not None and present.classifier_hash != self.study.classifier_hash:
            raise UserError(
                f"{layout.root} holds a study of classifier {present.classifier_hash}, and {repository.name} one of "
                f"{self.study.classifier_hash}; pull into another folder with --root."
            )

    def parts(self, what: str) -> Iterator[str]:
        files = sorted(self.repository.files)
        if what in ("all", "classifier") and RECORD in files:
            yield self._classifier()
        for found in map(_SAE.fullmatch, files if what in ("all", "sae") else ()):
            if found:
                yield self._sae(found[1])
        for found in map(_RUN.fullmatch, files if what in ("all", "run") else ()):
            if found:
                yield self._run(found[1])
        if not (self.layout.store / self.study.classifier_hash).is_dir():
            yield f"Its classifier {self.study.classifier_hash} is not here, so SAEs and runs can be read but not made."

    def _present(self) -> PresentClassifier | None:
        return present_classifier(self.layout.root) if self.layout.classifier_alias.exists() else None

    def _fetch(self, *paths: str) -> None:
        for path in paths:
            if path not in self.repository.files:
                raise DamageError(f"{path} is missing")
            self.repository.fetch(path, self.work / "files")

    def _checked(self, name: str, source: Path, files: list[str]) -> Path:
        """Move fetched files into a folder of their own, whose name the checks compare with its content."""
        folder = self.work / "checked" / name
        with readable_os_errors(self.work):
            folder.mkdir(parents=True, exist_ok=True)
            for file in files:
                (source / file).replace(folder / file)
        return folder

    def _classifier(self) -> str:
        files, target = self.work / "files", self.layout.store / self.study.classifier_hash
        self._fetch(RECORD)
        record = named_record(files, RECORD, ClassifierRecord)
        if WEIGHTS not in record.files or record.name != target.name:
            raise DamageError(f"{RECORD} belongs to another classifier than {STUDY}")
        if foreign := [name for name in record.files if not name.endswith(_CLASSIFIER_FILES)]:
            raise DamageError(f"{foreign[0]} is no file of a classifier")
        if not _is_whole(check_classifier, target):
            self._fetch(*record.files)
            folder = self._checked(target.name, files, [RECORD, *record.files])
            check_classifier(folder)
            publish(folder, target, check_classifier)
        if self._present() is None:
            write_record(self.layout.classifier_alias, self.study)
        return f"classifier: {target}"

    def _sae(self, name: str) -> str:
        files = self.work / "files" / name
        self._fetch(f"{name}/{SAE_RECORD}")
        record = named_record(files, SAE_RECORD, SaeRecord)
        if record.config.classifier_hash != self.study.classifier_hash or sae_folder(record) != name:
            raise DamageError(f"{name}/{SAE_RECORD} belongs to another SAE or classifier")
        if record.files.keys() != {SAE}:
            raise DamageError(f"{name}/{SAE_RECORD} names other files than {SAE}")
        target = self.layout.store / content_hash(record.files[SAE])
        if not _is_whole(check_sae, target):
            self._fetch(f"{name}/{SAE}")
            try:
                check_files(files, record.files)
            except DamageError as error:
                raise type(error)(f"{name}/{error}") from error
            folder = self._checked(target.name, files, [SAE, SAE_RECORD])
            try:
                SparseAutoencoder.load(folder / SAE)
            except UserError as error:
                raise DamageError(f"{name}/{SAE} is not an SAE of this program") from error
            check_sae(folder)
            publish(folder, target, check_sae)
        alias(target / SAE, self.layout.weights / f"{name}.pt")
        return f"SAE: {self.layout.weights / name}.pt"

    def _run(self, name: str) -> str:
        files, path = self.work / "files" / RUNS / name, f"{RUNS}/{name}"
        if not RUN_FOLDER.fullmatch(name):
            raise DamageError(f"{path} is no name of a run")
        self._fetch(f"{path}/{METADATA}")
        metadata = read_metadata(files)
        if metadata.classifier_hash != self.study.classifier_hash:
            raise DamageError(f"{path} was made with another classifier")
        if foreign := sorted(metadata.files.keys() - set(INDEXED_FILES)):
            raise DamageError(f"{path}/{foreign[0]} is no file of a run")
        target = self.layout.runs / name
        later = [name for name in INDEXED_FILES if name not in (METADATA, *metadata.files)]
        added = [name for name in later if f"{path}/{name}" in self.repository.files]
        if target.exists() and run_checksum(target) == run_checksum(files):
            return self._add_to_run(target, [name for name in added if not (target / name).exists()])
        self._fetch(*(f"{path}/{file}" for file in (*metadata.files, *added)))
        check_files(files, metadata.files)
        _check_added(files, added)
        index_run(files)
        with readable_os_errors(self.layout.runs), locked(self.layout.runs / ".lock"):
            number = run_number(name)
            if same := [folder for folder, other in run_folders(self.layout.runs) if other == number]:
                raise UserError(
                    f"{self.layout.runs} has another {metadata.run_id} ({same[0].name}); pull into another folder with "
                    "--root."
                )
            publish(files, target, read_metadata)
        return f"run: {target}"

    def _add_to_run(self, run: Path, added: list[str]) -> str:
        """Fetch files that were added to a run after it was pulled."""
        if not added:
            return f"run: {run} is here already"
        files = self.work / "files" / RUNS / run.name
        self._fetch(*(f"{RUNS}/{run.name}/{name}" for name in added))
        _check_added(files, added)
        with readable_os_errors(run):
            for name in added:
                (files / name).replace(run / name)
        index_run(run)
        return f"run: {run} now has {listed(added, 'and')}"


def _check_added(folder: Path, files: list[str]) -> None:
    for name in files:
        try:
            check_sealed(folder / name)
        except DamageError as error:
            raise type(error)(f"{name} {error}") from error


def _is_whole(check: Callable[[Path], object], folder: Path) -> bool:
    """Whether an artefact is here already, as it was written."""
    try:
        check(folder)
    except DamageError:
        return False
    return True
