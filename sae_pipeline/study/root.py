"""The folder a command works in: the root itself, or the local mirror of a study at an address.

With an address, a command first fetches what its verb reads, and afterwards sends what it has made. The file that makes
an artefact valid (`metadata.json`, `manifest.json`, `sae.json`, `classifier.json`) is sent after the rest of the
artefact. The aliases of the newest artefacts are sent last. So a reader at the address sees whole artefacts only. The
next command completes an upload that was interrupted. Checkpoints are never sent, nor are files made from other files.
"""

import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from sae_pipeline.analysis.meaning import MEANING_FILES
from sae_pipeline.artefacts.checksums import check_file, check_sealed, fields_of, file_hash
from sae_pipeline.artefacts.locks import locked
from sae_pipeline.artefacts.mirror import Mirror
from sae_pipeline.artefacts.remote_files import RemoteError, RemoteFile, is_remote, local_path
from sae_pipeline.errors import DamageError, UserError
from sae_pipeline.runs.folders import find_run
from sae_pipeline.runs.index import INDEX_FILES, shown_progress
from sae_pipeline.runs.run_files import ADDED_BY, read_metadata
from sae_pipeline.schema.common import METADATA, FileSum
from sae_pipeline.schema.labels import LABELS
from sae_pipeline.schema.layers import LAYERS

_LOOKS = 5  # listings of the address before a sync gives up; it is done when two in a row are equal
_RECORDS = {METADATA, "manifest.json", "sae.json", "classifier.json"}
_SEALED = {*_RECORDS, *ADDED_BY, LAYERS}
_LOCAL = (*INDEX_FILES, *MEANING_FILES)  # in a run's folder, made anew on each machine
_SMALL = re.compile(
    r"finbert_sae/([^/]+|(evidence|seals)/[^/]+|store/[^/]+/[^/]+|activations/[^/]+/manifest)\.json"
    r"|analysis_data/[^/]+/metadata\.json"
)
_SENT = re.compile(r"finbert_sae/(?!checkpoints/).*|analysis_data/(?!labels/).*")
_SAES, _ACTIVATIONS = "finbert_sae/store/*/sae.json", "finbert_sae/activations/*/manifest.json"
_RUNS = "analysis_data/*/metadata.json"
# The artefacts that a verb reads beside its classifier. Other verbs read SAEs and activations.
_READS: dict[str, tuple[str, ...]] = {
    "analyze": (_SAES,),
    "score": (_SAES,),
    "report": (_SAES,),
    "layers": (_SAES,),
    "intervene": (_SAES,),
    "explain": (_SAES,),
    "contrast": (_SAES,),
    "mend": (_SAES,),
    "calibrate": (_SAES,),
    "diff": (_SAES,),
    "export-run": (),
    "export-classifier": (_SAES,),
    "map": (),
    "paper": (_SAES,),
    "unseal": (_SAES,),
    "push": (_SAES, _RUNS),
    "pull": (_SAES, _RUNS),
    "study": (_SAES, _ACTIVATIONS, _RUNS),
}


def study_root(address: str, verb: str, run: str | None = None) -> "StudyRoot":
    """The root for a folder or an address; `run` names the run that the verb reads, None the latest.

    The verb "export" of a run, instead of an SAE, is called "export-run" here, and "export-classifier" where it also
    reads the run's classifier and SAE.

    Raises UserError for an address that cannot be used.
    """
    return RemoteStudy(address, verb, run) if is_remote(address) else StudyRoot(local_path(address))


class StudyRoot:
    """A folder in which a command works."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def naming_the_address(self) -> Iterator[None]:
        """Make the error messages raised within name the root as the user gave it."""
        yield

    def shown(self, path: Path) -> str:
        """A path below the folder, as messages show it."""
        return str(path)

    def sync(self) -> None:
        """Exchange files with the address; call it before a stage and after it."""


class RemoteStudy(StudyRoot):
    """The local mirror of a study at an address."""

    def __init__(self, address: str, verb: str, run: str | None) -> None:
        self._mirror = Mirror(address)
        self._verb, self._run = verb, run
        super().__init__(self._mirror.folder)

    @contextmanager
    def naming_the_address(self) -> Iterator[None]:
        """Replace the mirror's folder by the address in the message of a UserError."""
        try:
            yield
        except UserError as error:
            if isinstance(error, RemoteError) or "SAE_CACHE" in str(error):
                raise
            raise type(error)(self._address_in(str(error))) from error

    def shown(self, path: Path) -> str:
        """The address of a file in the mirror."""
        return self._address_in(str(path))

    def _address_in(self, text: str) -> str:
        return text.replace(str(self.folder), self._mirror.address)

    def sync(self) -> None:
        """Send what was made and fetch what the verb reads.

        Raises RemoteError when the address cannot be reached or does not come to rest.
        """
        with locked(self.folder / ".lock"):  # processes of one command share the mirror
            before: Mapping[str, RemoteFile] | None = None
            for _ in range(_LOOKS):
                recorded, files = self._mirror.recorded(), self._mirror.list_files()
                if files == before:
                    return
                self._forget(recorded - files.keys())
                self._discard_damaged(files)
                self._fetch({name: file for name, file in files.items() if _SMALL.fullmatch(name)})
                self._send(files)
                self._fetch(self._needed(files))
                before = files
        raise RemoteError(f"{self._mirror.address} keeps changing; run the same command again when it rests.")

    def _forget(self, names: Iterable[str]) -> None:
        """Delete here what was deleted at the address."""
        self._mirror.forget(names)
        for folder in self.folder.glob("analysis_data/[!.]*/"):
            if {path.name for path in folder.iterdir()} <= set(_LOCAL):
                shutil.rmtree(folder)

    def _fetch(self, files: Mapping[str, RemoteFile]) -> None:
        wanted = {n: f for n, f in files.items() if not self._mirror.is_changed_here_only(n, f)}
        with shown_progress(f"Fetching from {self._mirror.address}") as progress:
            self._mirror.pull(wanted, progress)

    def _discard_damaged(self, files: Mapping[str, RemoteFile]) -> None:
        """Delete copies that have been damaged here, so that they are fetched again and not sent."""
        for name in self._mirror.changed():
            if name in files and _SENT.fullmatch(name) and _is_damaged(self.folder / name):
                print(f"The copy of {self._mirror.address}/{name} is damaged; it is fetched again.")
                (self.folder / name).unlink()

    def _send(self, files: Mapping[str, RemoteFile]) -> None:
        """Send files that are new or changed here; where both sides changed, the address's version stays."""
        mine = [
            name
            for name in self._mirror.changed()
            if _SENT.fullmatch(name) and not name.endswith((*_LOCAL, ".lock"))
            if name not in files or self._mirror.is_changed_here_only(name, files[name])
        ]
        with shown_progress(f"Sending to {self._mirror.address}") as progress:
            try:
                for rank in range(3):
                    self._mirror.push([name for name in mine if _rank(name) == rank], progress)
            except RemoteError as error:
                kept = f"What was made is kept in {self.folder}; the next command sends it"
                raise RemoteError(f"{error} {kept}.") from error
        if mine:
            print(f"sent to {self._mirror.address}: {len(mine)} files")

    def _needed(self, files: Mapping[str, RemoteFile]) -> dict[str, RemoteFile]:
        """Pick the files at the address that the verb reads."""
        present = _classifier_of(self.folder / "finbert_sae" / "classifier.json")
        if self._verb in ("finetune", "adopt"):  # which reuses a classifier that was made from the same inputs
            return {name: file for name, file in files.items() if name.startswith(f"finbert_sae/store/{present}/")}
        if self._verb == "verify":
            return {name: file for name, file in files.items() if _SENT.fullmatch(name) and not name.endswith(_LOCAL)}
        classifiers, folders = {present} if present else set(), set[Path]()
        if self._verb in (*ADDED_BY.values(), "export-run", "export-classifier", "paper", "unseal"):
            run = find_run(self.folder / "analysis_data", self._run)
            folders.add(run)
            classifiers.add(read_metadata(run).classifier_hash)
        for kind in _READS.get(self._verb, (_SAES, _ACTIVATIONS)):
            folders |= {path.parent for path in self.folder.glob(kind) if _classifier_of(path) in classifiers}
        wanted = {folder.relative_to(self.folder).as_posix() for folder in folders}
        if self._verb not in ("report", "map", "export-run"):
            wanted |= {f"finbert_sae/store/{classifier}" for classifier in classifiers}
        if self._verb == "mend":  # which may ablate a set of features
            wanted.add(f"analysis_data/{LABELS}")
        return {
            name: file
            for name, file in files.items()
            if (name.rpartition("/")[0] in wanted and not name.endswith(_LOCAL))
            or re.fullmatch(r"finbert_sae/layer_[^/]+\.pt", name)
        }


def _is_damaged(path: Path) -> bool:
    """Whether a file is not the one that its record or its own checksum describes, or names no SAE of the store."""
    try:
        if path.name in _SEALED or path.parent.name in ("evidence", "seals"):
            check_sealed(path)
        if path.match("layer_*_*.pt"):
            return not (path.parent / "store" / file_hash(path)).is_dir()
        for record in _RECORDS:
            known = fields_of(path.parent / record).get("files")
            if isinstance(known, dict) and path.name in known:
                check_file(path, FileSum.model_validate(known[path.name]))
    except (DamageError, ValidationError):
        return True
    return False


def _rank(name: str) -> int:
    """The round in which a file is sent: 0 contents, 1 the records that make them valid, 2 aliases of the newest."""
    folder, _, file = name.rpartition("/")
    return 2 if folder == "finbert_sae" else int(file in _RECORDS)


def _classifier_of(record: Path) -> str | None:
    """The hash of the classifier that an artefact's record names; None where it cannot be read."""
    fields = fields_of(record)
    config = fields.get("config")
    found = fields.get("classifier_hash") or (config.get("classifier_hash") if isinstance(config, dict) else None)
    return None if found is None else str(found)
