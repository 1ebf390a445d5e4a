"""Human labels: names, stars and notes that people give to features.

Labels belong to an SAE and not to a run: `analysis_data/labels/<sae_hash>.json` outlives every run. A change replaces
the whole document, and its ETag proves that the client has read what it replaces. Checking and writing happen under a
lock, so that several servers may share a folder. At an address no lock is possible: the document is read again before
it is replaced, but of two servers that write at the same moment the later one wins.

A file that the server writes is sealed with a checksum. A person may edit it and remove the checksum; the next change
seals it again.
"""

import hashlib
import re
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, NonNegativeInt, StringConstraints, ValidationError

from sae_pipeline.artefacts.checksums import CHANGED, seal, unseal, without_seal
from sae_pipeline.artefacts.locks import locked
from sae_pipeline.errors import DamageError, UserError
from sae_pipeline.schema.common import Record
from viz_analysis.api.problems import BadLabelsError, DamagedLabelsError, LabelsChangedError
from viz_analysis.runs.sources import LABELS as FOLDER
from viz_analysis.runs.sources import RunFolder

MAX_LABELS = 20_000
MAX_FILE_BYTES = 8 << 20  # more than a change with so many labels can make
_SAFE_HASH = re.compile(r"[0-9A-Za-z]{1,64}")
_NAMES_A_CHECKSUM = re.compile(rb'\s*\{\s*"checksum"')


def _one_line(text: str) -> str:
    return " ".join(text.split())


class FeatureLabel(Record):
    """An annotation: what a person wrote about a feature."""

    name: Annotated[str, StringConstraints(max_length=120), AfterValidator(_one_line)] = ""
    starred: bool = False
    note: Annotated[str, StringConstraints(max_length=4000, strip_whitespace=True)] = ""
    updated_at: str | None = Field(None, max_length=40, description="ISO 8601, UTC; set by the server")

    @property
    def content(self) -> tuple[str, bool, str]:
        """What a person entered; a label with nothing in it is no label."""
        return self.name, self.starred, self.note


Labels = dict[NonNegativeInt, FeatureLabel]


class LabelsFile(Record):
    """`analysis_data/labels/<sae_hash>.json`."""

    schema_version: Literal[1] = 1
    sae_hash: str
    labels: Labels = Field(max_length=MAX_LABELS)


class LabelsAnswer(Record):
    """All labels of an SAE, by feature."""

    sae_hash: str
    etag: str = Field(description="send it as If-Match with a change")
    labels: Labels


class LabelsChange(Record):
    """All labels of an SAE after the change: a feature that is left out loses its label. `updated_at` is ignored."""

    labels: Labels = Field(max_length=MAX_LABELS)


class LabelStore:
    """The labels beside the runs of a source. Files that were read stay in memory until they change."""

    def __init__(self, source: RunFolder) -> None:
        self._source = source
        self._folder = source.folder / FOLDER
        self._read: dict[Path, tuple[tuple[int, ...], LabelsAnswer]] = {}

    def get(self, sae_hash: str, d_sae: int) -> LabelsAnswer:
        """The labels of an SAE of `d_sae` features; none where there is no file yet. Raises `DamagedLabelsError`."""
        path = self._path(sae_hash)
        try:
            status = path.lstat()
        except FileNotFoundError:
            return LabelsAnswer(sae_hash=sae_hash, etag=_etag(b""), labels={})
        except OSError as error:
            raise DamagedLabelsError(f"{path.name} in {FOLDER} cannot be read: {error.strerror}.") from error
        if not stat.S_ISREG(status.st_mode):
            raise _damaged(path, "is not a plain file")
        if status.st_size > MAX_FILE_BYTES:
            raise _damaged(path, f"is larger than {MAX_FILE_BYTES >> 20} MiB")
        stamp = (status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size, d_sae)
        kept = self._read.get(path)
        if kept is None or kept[0] != stamp:
            kept = self._read[path] = (stamp, _load(path, sae_hash, d_sae))
        return kept[1]

    def names(self, sae_hash: str, d_sae: int) -> dict[int, str]:
        """The names of the features that have a label; "" where a feature has only a star or a note."""
        return {feature: label.name for feature, label in self.get(sae_hash, d_sae).labels.items()}

    def put(self, sae_hash: str, labels: Labels, d_sae: int, seen: set[str] | None) -> LabelsAnswer:
        """Replace the labels of an SAE of `d_sae` features.

        `seen` are the ETags that the client has read; None replaces whatever is stored. Empty labels are left out, and
        a label that does not change keeps its time. Raises `LabelsChangedError` where none of `seen` is stored,
        `BadLabelsError`, `DamagedLabelsError`, and `UserError` where the folder cannot be written.
        """
        highest = max(labels, default=0)
        if highest >= d_sae:
            raise BadLabelsError(f"There is no feature {highest}: this SAE has features 0 to {d_sae - 1}.")
        with self._locked(sae_hash) as path:
            self._source.refresh(path)
            before = self.get(sae_hash, d_sae)
            if seen is not None and before.etag not in seen:
                raise LabelsChangedError("The annotations have changed since they were read; read them again.")
            now = datetime.now(UTC).isoformat(timespec="seconds")
            after: Labels = {}
            for feature, label in sorted(labels.items()):
                old = before.labels.get(feature)
                if any(label.content):
                    unchanged = old is not None and old.content == label.content
                    after[feature] = old if unchanged and old else label.model_copy(update={"updated_at": now})
            if after != before.labels:
                file = LabelsFile(sae_hash=sae_hash, labels=after)
                self._source.write(path, seal(file.model_dump_json(indent=1).encode() + b"\n"))
            return self.get(sae_hash, d_sae)

    def _path(self, sae_hash: str) -> Path:
        if not _SAFE_HASH.fullmatch(sae_hash):  # it may come from elsewhere, and names a file
            raise DamagedLabelsError(f"{sae_hash[:64]!r} is no hash of an SAE and has no annotations; analyse again.")
        return self._folder / f"{sae_hash}.json"

    @contextmanager
    def _locked(self, sae_hash: str) -> Iterator[Path]:
        path = self._path(sae_hash)
        with ExitStack() as held:
            try:
                held.enter_context(locked(path.with_suffix(".lock")))
            except OSError as error:
                raise UserError(f"Annotations cannot be saved in {self._folder}: {error.strerror}.") from error
            yield path


def _load(path: Path, sae_hash: str, d_sae: int) -> LabelsAnswer:
    try:
        data = path.read_bytes()
        file = LabelsFile.model_validate_json(unseal(data) if _NAMES_A_CHECKSUM.match(data) else data)
    except OSError as error:
        raise DamagedLabelsError(f"{path.name} in {FOLDER} cannot be read: {error.strerror}.") from error
    except DamageError as error:
        reason = f"{path.name} in {FOLDER} {CHANGED}"
        raise DamagedLabelsError(
            f"{reason}; if you changed it yourself, remove its field `checksum`, otherwise repair it or move it away."
        ) from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise _damaged(path, f"is damaged ({place}: {first['msg']})") from error
    if file.sae_hash != sae_hash:
        raise _damaged(path, f"belongs to another SAE (sae_hash: {file.sae_hash[:64]!r})")
    highest = max(file.labels, default=0)
    if highest >= d_sae:
        raise _damaged(path, f"is damaged (labels.{highest}: this SAE has features 0 to {d_sae - 1})")
    return LabelsAnswer(sae_hash=sae_hash, etag=_etag(without_seal(data)), labels=file.labels)


def _damaged(path: Path, reason: str) -> DamagedLabelsError:
    return DamagedLabelsError(f"{path.name} in {FOLDER} {reason}; repair it or move it away.")


def _etag(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
