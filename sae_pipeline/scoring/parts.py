"""Parts of the scores: Parquet files of `rows_per_part` rows each. A file appears only when it is complete.

rows/part-00000.parquet       the table's own columns, and the classifier's prediction
features/part-00000.parquet   row, feature, max, mean, count: which features fire
chosen/part-00000.parquet     row, f12, f345: the maximum of chosen features, 0 where they are silent
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet
from scipy import special

from sae_pipeline.arrays import Floats, Ints
from sae_pipeline.artefacts.checksums import file_sums
from sae_pipeline.artefacts.writing import put, readable_os_errors
from sae_pipeline.errors import UserError
from sae_pipeline.headlines.text import headline_id, normalise
from sae_pipeline.scoring.reading import ReadTexts, TextReader
from sae_pipeline.scoring.record import Part
from sae_pipeline.scoring.source import RowReader, Source

ROWS, FEATURES, CHOSEN = "rows", "features", "chosen"
_CHUNK = 4096  # rows that are read at once, and rows of a row group
_GROUP = 1 << 20  # entries of a row group of features, at most
_ADDED = {  # what is added to each row; below it, as float64, the classes' probabilities and the entropy
    "row": pa.int64(),
    "headline_id": pa.string(),
    "is_cut": pa.bool_(),
    "n_tokens": pa.int32(),
    "prediction": pa.string(),
}
_ENTRIES = pa.schema(
    [("row", pa.int64()), ("feature", pa.int32()), ("max", pa.float32()), ("mean", pa.float32()), ("count", pa.int32())]
)


def added_names(given: Sequence[str], labels: Sequence[str]) -> dict[str, str]:
    """The names of the added columns, by what they hold.

    A name that the table has itself, in any case of letters, gets "score_" in front until it is free.
    """
    taken = {name.lower() for name in given}
    names = {}
    for what in (*_ADDED, *(f"p_{label}" for label in labels), "entropy"):
        name = what
        while name.lower() in taken:
            name = f"score_{name}"
        taken.add(name.lower())
        names[what] = name
    return names


@dataclass(frozen=True)
class PartWriter:
    """Writes parts of the scores of one table into a folder."""

    folder: Path
    work: Path  # on the same disk; holds files until they are whole
    source: Source
    schema: pa.Schema  # of the table's own columns
    labels: Sequence[str]
    names: Mapping[str, str]  # see `added_names`
    features: Sequence[int]  # the chosen ones
    reader: TextReader
    progress: Callable[[int], object]  # is called with a number of rows when they are done

    def write(self, number: int, part: range, rows: RowReader) -> Part:
        """Take the rows of a part, which must be the next rows of the reader, and write its files.

        Raises ResourceError where the disk is full, and UserError where the table has lost rows in the meantime.
        """
        name = f"part-{number:05d}.parquet"
        n_empty = n_cut = 0
        predictions = dict.fromkeys(self.labels, 0)
        with readable_os_errors(self.folder, flag="--out"):
            with ExitStack() as files:
                writers = {
                    kind: files.enter_context(
                        parquet.ParquetWriter(self.work / f"{kind}-{name}", schema, compression="zstd")
                    )
                    for kind, schema in self._schemas().items()
                }
                for start in part[::_CHUNK]:
                    wanted = min(_CHUNK, part.stop - start)
                    chunk = rows.take(wanted)
                    if len(chunk) < wanted:
                        raise UserError(f"{self.source.table.path} has changed while it was read; run again.")
                    added = self._write_chunk(writers, chunk, start)
                    n_empty += added["prediction"].null_count
                    n_cut += pc.sum(added["is_cut"]).as_py()
                    for found in pc.value_counts(added["prediction"].drop_null()).to_pylist():
                        predictions[found["values"]] += found["counts"]
            for kind in writers:
                (self.folder / kind).mkdir(exist_ok=True)
                put(self.work / f"{kind}-{name}", self.folder / kind / name)
            return Part(
                n_rows=len(part),
                n_empty=n_empty,
                n_cut=n_cut,
                n_entries=parquet.read_metadata(self.folder / FEATURES / name).num_rows,
                predictions={label: n for label, n in predictions.items() if n},
                files=file_sums(self.folder, [f"{kind}/{name}" for kind in writers]),
            )

    def _schemas(self) -> dict[str, pa.Schema]:
        """The schema of each kind of file."""
        row, *others = (pa.field(name, _ADDED.get(what, pa.float64())) for what, name in self.names.items())
        schemas = {ROWS: pa.schema([row, *self.schema, *others]), FEATURES: _ENTRIES}
        if self.features:
            schemas[CHOSEN] = pa.schema([("row", pa.int64()), *((f"f{n}", pa.float32()) for n in self.features)])
        return schemas

    def _write_chunk(self, writers: Mapping[str, Any], chunk: pa.Table, first_row: int) -> dict[str, pa.Array]:
        """Score the rows of a chunk and write them; returns the added columns."""
        texts = self.source.texts(chunk)
        filled = np.array([n for n, text in enumerate(texts) if normalise(text)], np.int64)  # rows with a headline
        chosen = np.full((len(texts), len(self.features)), np.nan, np.float32)
        blocks: list[ReadTexts] = []
        start = 0
        for block in self.reader.read([texts[n] for n in filled]):
            rows = filled[start : start + len(block.n_tokens)]
            found = block.features
            entries = (first_row + rows[found.text], found.feature, found.max, found.mean, found.count)
            writers[FEATURES].write_table(_table(entries, _ENTRIES), row_group_size=_GROUP)
            chosen[rows] = found.maxima(self.features, len(rows))
            blocks.append(block)
            start += len(rows)
            self.progress(len(rows))
        self.progress(len(texts) - len(filled))
        added = self._added(texts, filled, blocks, first_row)
        row, *others = added.values()
        writers[ROWS].write_table(pa.table([row, *chunk.columns, *others], schema=writers[ROWS].schema))
        if self.features:
            columns = [row, *(_null_at_nan(column) for column in chosen.T)]
            writers[CHOSEN].write_table(pa.table(columns, schema=writers[CHOSEN].schema))
        return added

    def _added(
        self, texts: Sequence[str], filled: Ints, blocks: Sequence[ReadTexts], first_row: int
    ) -> dict[str, pa.Array]:
        """The added columns, by what they hold; null in rows without a headline, which are not among `filled`."""
        is_empty = np.ones(len(texts), np.bool_)
        is_empty[filled] = False
        probabilities = np.full((len(texts), len(self.labels)), np.nan)
        n_tokens, is_cut = np.zeros(len(texts), np.int32), np.zeros(len(texts), np.bool_)
        if blocks:
            probabilities[filled] = np.concatenate([block.probabilities for block in blocks])
            n_tokens[filled] = np.concatenate([block.n_tokens for block in blocks])
            is_cut[filled] = np.concatenate([block.is_cut for block in blocks])
        best = np.nan_to_num(probabilities).argmax(-1)
        ids = [None if empty else headline_id(text) for text, empty in zip(texts, is_empty, strict=True)]
        return {
            "row": pa.array(first_row + np.arange(len(texts))),
            "headline_id": pa.array(ids, pa.string()),
            "is_cut": pa.array(is_cut),
            "n_tokens": pa.array(n_tokens),
            "prediction": pa.array(self.labels, pa.string()).take(pa.array(best, mask=is_empty)),
            **{f"p_{label}": _null_at_nan(p) for label, p in zip(self.labels, probabilities.T, strict=True)},
            "entropy": _null_at_nan(special.entr(probabilities).sum(-1)),
        }


def _table(columns: Sequence[Ints | Floats], schema: pa.Schema) -> pa.Table:
    return pa.table([pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)], schema)


def _null_at_nan(column: Floats) -> pa.Array:
    return pa.array(np.ascontiguousarray(column), mask=np.isnan(column))
