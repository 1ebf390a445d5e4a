"""What the headlines and features of a run mean, as vectors of the sentence encoder: the search by meaning.

A feature's vector is the mean of its strongest headlines' vectors, weighted by activation, minus the mean of all
headlines' vectors. Its length is n/(n + 3) for n examples, so that a feature with few examples is found only if they
are very similar to the text. A feature is near a phrase if the headlines on which it fires most are nearer to the
phrase than headlines are in general.

The vectors are made once per run, in two files beside its index, and can be deleted at any time. They are written and
read in blocks, so memory does not grow with the run.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import numpy as np
import orjson
from numpy.lib.format import write_array_header_1_0
from numpy.typing import NDArray

from sae_pipeline.artefacts.checksums import check_files, file_sums, read_record, write_record
from sae_pipeline.artefacts.locks import locked_folder
from sae_pipeline.artefacts.writing import put, readable_os_errors
from sae_pipeline.errors import DamageError
from sae_pipeline.runs.json_records import json_lines, json_records
from sae_pipeline.runs.run_files import read_metadata, run_checksum
from sae_pipeline.schema.common import FEATURE_TOKENS, PROMPTS, FileName, FileSum, Record, Sha256
from sae_pipeline.schema.run import RunMetadata

HEADLINE_VECTORS, FEATURE_VECTORS, MEANING = MEANING_FILES = ("meaning-1.npy", "meaning-2.npy", "meaning.json")
K = 20  # examples of a feature that its vector is made from
_SHRINKAGE = 3  # examples; see above
_BLOCK = 2048  # headlines in memory at a time
_PARTIAL = ".meaning.partial-"


class Encoder(Protocol):
    """What turns texts into vectors of length 1."""

    name: str

    def encode(self, texts: list[str]) -> NDArray[np.float32]:
        """Vectors, [n_texts, width]."""
        ...


class Progress(Protocol):
    """What is told how far the vectors are: headlines done, and headlines in all."""

    def __call__(self, done: int, total: int) -> None:
        """Take the two numbers."""
        ...


class MeaningRecord(Record):
    """`meaning.json`: which run and encoder the vectors belong to."""

    version: Literal[2]
    encoder: str
    run_checksum: Sha256
    files: dict[FileName, FileSum]


class Meaning(NamedTuple):
    """The vectors of a run, mapped from their files."""

    headlines: NDArray[np.float16]
    """[n_headlines, width], of length 1."""
    features: NDArray[np.float16]
    """[d_sae, width], of length n/(n + 3) for n examples; zeros for a feature without examples."""
    mean: NDArray[np.float32]
    """[width] mean of the headlines' vectors."""

    def centred(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Vectors minus the headlines' mean, of length 1 again, [n, width]: they are compared with features."""
        return _unit(vectors - self.mean)

    def alike_features(self, vector: NDArray[np.float32]) -> NDArray[np.float32]:
        """How alike every feature is to a text's vector [width], [d_sae]; 0 for features without examples.

        It is the cosine of the two times n/(n + 3), for n examples.
        """
        return _products(self.features, self.centred(vector[None])[0])

    def alike_headlines(self, vector: NDArray[np.float32]) -> NDArray[np.float32]:
        """The cosine of every headline with a text's vector [width], [n_headlines]."""
        return _products(self.headlines, vector)


def open_meaning(folder: Path, encoder: str, beside: Path | None = None) -> Meaning | None:
    """The vectors of the run in `folder`, which lie there or in the folder `beside`; None where they must be made."""
    place = beside or folder
    try:
        record = read_record(place / MEANING, MeaningRecord)
        if record.encoder != encoder or record.run_checksum != run_checksum(folder):
            return None
        check_files(place, record.files)
        headlines, features = (_mapped(place / name) for name in (HEADLINE_VECTORS, FEATURE_VECTORS))
    except (DamageError, OSError, ValueError):
        return None
    totals = read_metadata(folder).totals
    if len(headlines) != totals.n_headlines or len(features) != totals.n_features + 1:
        return None
    return Meaning(headlines, features[:-1], features[-1].astype(np.float32))


def make_meaning(
    folder: Path, encoder: Encoder, beside: Path | None = None, progress: Progress | None = None
) -> Meaning:
    """The vectors of the run in `folder`, made now unless they are there.

    Processes that make the same vectors wait for each other. Raises ResourceError where they cannot be written.
    """
    place = beside or folder
    with readable_os_errors(place), locked_folder(place):
        found = open_meaning(folder, encoder.name, beside)
        if found is None:
            try:
                _write(folder, place, encoder, progress or _silent)
                record = MeaningRecord(
                    version=2,
                    encoder=encoder.name,
                    run_checksum=run_checksum(folder),
                    files=file_sums(place, MEANING_FILES[:2]),
                )
                write_record(place / MEANING, record)
            finally:
                for partial in place.glob(f"{_PARTIAL}*"):
                    partial.unlink()
            found = open_meaning(folder, encoder.name, beside)
    if found is None:
        raise DamageError(f"{MEANING} of {folder.name} cannot be read again")
    return found


def _write(folder: Path, place: Path, encoder: Encoder, progress: Progress) -> None:
    metadata = read_metadata(folder)
    headlines = place / f"{_PARTIAL}{HEADLINE_VECTORS}"
    features = place / f"{_PARTIAL}{FEATURE_VECTORS}"
    mean = _write_headlines(folder, metadata, headlines, encoder, progress)
    _write_features(folder, metadata, features, _mapped(headlines), mean)
    put(headlines, place / HEADLINE_VECTORS)
    put(features, place / FEATURE_VECTORS)


def _write_headlines(
    folder: Path, metadata: RunMetadata, path: Path, encoder: Encoder, progress: Progress
) -> NDArray[np.float32]:
    """Write the headlines' vectors, block after block; their mean.

    They are written like any file, because a full disk would end a process that writes into a mapped one.
    """
    n, written, total = metadata.totals.n_headlines, 0, np.zeros(0)
    with path.open("wb") as file:
        for texts in _texts(folder):
            block = encoder.encode(texts)
            if not written:
                total = np.zeros(block.shape[1])
                head = {"descr": "<f2", "fortran_order": False, "shape": (n, block.shape[1])}
                write_array_header_1_0(file, head)
            file.write(block.astype("<f2").tobytes())
            total += block.sum(0)
            written += len(block)
            progress(written, n)
    return (total / n).astype(np.float32)


def _write_features(
    folder: Path,
    metadata: RunMetadata,
    path: Path,
    vectors: NDArray[np.float16],
    mean: NDArray[np.float32],
) -> None:
    """Write the features' vectors, and the headlines' mean as one more row."""
    found = np.zeros((metadata.totals.n_features + 1, len(mean)), "<f2")
    for span in list_spans(folder):
        saved = orjson.loads(span)
        examples = saved["examples"][:K]
        weights = np.array([one["activation"] for one in examples], np.float32)
        rows = vectors[[one["headline"] for one in examples]].astype(np.float32)
        direction = _unit((weights @ rows / max(float(weights.sum()), 1e-12) - mean)[None])[0]
        found[saved["feature"]] = direction * len(rows) / (len(rows) + _SHRINKAGE)
    found[-1] = mean
    with path.open("wb") as file:
        np.save(file, found)


def list_spans(folder: Path) -> Iterator[bytes]:
    """Each record of `feature_tokens.json` as JSON."""
    spans = json_records(folder / FEATURE_TOKENS, "features")
    next(spans)
    return (span.text for span in spans)


def _texts(folder: Path) -> Iterator[list[str]]:
    block: list[str] = []
    for line in json_lines(folder / PROMPTS):
        block.append(orjson.loads(line.text)["text"])
        if len(block) == _BLOCK:
            yield block
            block = []
    if block:
        yield block


def _mapped(path: Path) -> NDArray[np.float16]:
    vectors: NDArray[np.float16] = np.load(path, mmap_mode="r", allow_pickle=False)
    if vectors.dtype != np.float16 or vectors.ndim != 2:
        raise ValueError(f"{path.name} holds no vectors")
    return vectors


def _products(vectors: NDArray[np.float16], vector: NDArray[np.float32]) -> NDArray[np.float32]:
    """vectors @ vector, a few rows in fp32 at a time.

    Without BLAS, whose threads would wait for each other after every few rows: on a busy machine that takes longer.
    """
    found = np.empty(len(vectors), np.float32)
    for start in range(0, len(vectors), _BLOCK):
        found[start : start + _BLOCK] = np.einsum("nd,d->n", vectors[start : start + _BLOCK].astype(np.float32), vector)
    return found


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    found: NDArray[np.float32] = (vectors / np.maximum(lengths, 1e-6)).astype(np.float32)
    return found


def _silent(done: int, total: int) -> None:
    """Tell nothing."""
