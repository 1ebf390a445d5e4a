"""What people write about features, while several of them write: names, stars, notes, and named sets of features.

A change replaces the whole file of an SAE, and its ETag proves that the client has read what it replaces. Checking and
writing happen under a lock, so that several servers may share a folder. At an address no lock is possible: the file is
read again before it is replaced, and S3 replaces it only if it is still the one that was read. Elsewhere, of two
servers that write at the same moment the later one wins.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from pydantic import Field

from sae_pipeline.artefacts.checksums import Stamp, seal
from sae_pipeline.artefacts.checksums import stamp as stamp_of
from sae_pipeline.artefacts.locks import locked
from sae_pipeline.artefacts.remote_files import ChangedFileError
from sae_pipeline.errors import ResourceError, UserError, reason_of
from sae_pipeline.runs.labels import find_set, labels_path, read_labels
from sae_pipeline.schema.common import Record
from sae_pipeline.schema.labels import MAX_LABELS, MAX_SETS, FeatureLabel, FeatureSet, Labels, LabelsFile, Sets
from viz_analysis.api.problems import BadLabelsError, LabelsChangedError
from viz_analysis.runs.feature_list import Human
from viz_analysis.runs.sources import RunFolder

_CHANGED = "The annotations have changed since they were read; read them again."
Written = TypeVar("Written", FeatureLabel, FeatureSet)


class LabelsAnswer(Record):
    """All labels of an SAE, by feature, and all its sets of features, by name."""

    sae_hash: str
    etag: str = Field(description="send it as If-Match with a change")
    labels: Labels
    sets: Sets


class LabelsChange(Record):
    """All labels of an SAE after the change: a feature that is left out loses its label. `updated_at` is ignored."""

    labels: Labels = Field(max_length=MAX_LABELS)
    sets: Sets | None = Field(
        None, max_length=MAX_SETS, description="all sets after the change; null or left out: they stay as they are"
    )


class LabelStore:
    """The labels beside the runs of a source. Files that were read stay in memory until they change."""

    def __init__(self, source: RunFolder) -> None:
        self._source = source
        self._read: dict[Path, tuple[Stamp, int, LabelsAnswer]] = {}

    def get(self, sae_hash: str, d_sae: int) -> LabelsAnswer:
        """The labels of an SAE of `d_sae` features; none where there is no file yet. Raises `DamagedLabelsError`."""
        path = labels_path(self._source.folder, sae_hash)
        try:
            stamp = stamp_of(path)
        except OSError:  # there is none, or reading it says why not
            return _answer(read_labels(self._source.folder, sae_hash, d_sae))
        kept = self._read.get(path)
        if kept is None or kept[:2] != (stamp, d_sae):
            answer = _answer(read_labels(self._source.folder, sae_hash, d_sae))
            kept = self._read[path] = (stamp, d_sae, answer)
        return kept[2]

    def human(self, sae_hash: str, d_sae: int, name: str | None) -> Human:
        """What people say of features, with the members of the set `name`. Raises `UnknownSetError`.

        A feature that has only a star or a note has the name "".
        """
        kept = self.get(sae_hash, d_sae)
        members = find_set(kept.sets, name).features if name else None
        return Human({feature: label.name for feature, label in kept.labels.items()}, members)

    def put(
        self, sae_hash: str, labels: Labels, d_sae: int, seen: set[str] | None, sets: Sets | None = None
    ) -> LabelsAnswer:
        """Replace the labels of an SAE of `d_sae` features and, unless it is None, its sets.

        `seen` are the ETags that the client has read; None replaces whatever is stored. Empty labels are left out, and
        what does not change keeps its time. Raises `LabelsChangedError` where none of `seen` is stored,
        `BadLabelsError`, `DamagedLabelsError`, and `UserError` where the folder cannot be written.
        """
        _, highest = LabelsFile(sae_hash=sae_hash, labels=labels, sets=sets or {}).highest
        if highest >= d_sae:
            raise BadLabelsError(f"There is no feature {highest}: this SAE has features 0 to {d_sae - 1}.")
        with self._locked(sae_hash) as path:
            at_address = self._source.refresh(path)
            before = self.get(sae_hash, d_sae)
            if seen is not None and before.etag not in seen:
                raise LabelsChangedError(_CHANGED)
            now = datetime.now(UTC).isoformat(timespec="seconds")
            kept = {feature: label for feature, label in sorted(labels.items()) if any(label.content)}
            if sets is not None:
                sets = {name: _dated(one, before.sets.get(name), now) for name, one in sorted(sets.items())}
            after = LabelsFile(
                sae_hash=sae_hash,
                labels={feature: _dated(label, before.labels.get(feature), now) for feature, label in kept.items()},
                sets=before.sets if sets is None else sets,
            )
            if (after.labels, after.sets) != (before.labels, before.sets):
                self._source.replace(path, seal(after.model_dump_json(indent=1).encode() + b"\n"), at_address)
            return self.get(sae_hash, d_sae)

    @contextmanager
    def _locked(self, sae_hash: str) -> Iterator[Path]:
        path = labels_path(self._source.folder, sae_hash)
        try:
            with locked(path.with_suffix(".lock")):
                yield path
        except ChangedFileError as error:
            raise LabelsChangedError(_CHANGED) from error
        except (OSError, ResourceError) as error:
            cause = error if isinstance(error, OSError) else error.__cause__
            reason = reason_of(cause) if isinstance(cause, OSError) else str(error)
            raise UserError(
                f"Annotations cannot be saved in {path.parent} ({reason}); free some space or make the folder "
                "writable, and save again."
            ) from error


def _dated(mine: Written, old: Written | None, now: str) -> Written:
    """What was written, with the time of its last change."""
    if old is not None and old.content == mine.content:
        return old
    return mine.model_copy(update={"updated_at": now})


def _answer(file: LabelsFile) -> LabelsAnswer:
    etag = hashlib.sha256(file.model_dump_json().encode()).hexdigest()[:16]
    return LabelsAnswer(sae_hash=file.sae_hash, etag=etag, labels=file.labels, sets=file.sets)
