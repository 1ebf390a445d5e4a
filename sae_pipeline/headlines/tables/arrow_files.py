"""Parquet files, and folders saved by `datasets`. Where they name their classes, names replace the numbers."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from sae_pipeline.errors import UserError
from sae_pipeline.headlines.tables.file_bytes import FileBytes
from sae_pipeline.headlines.tables.header import check_given
from sae_pipeline.headlines.tables.table import Row, Table, column_names, plain

PARQUET = b"PAR1"  # how a Parquet file begins
_SPLITS, _STATE = "dataset_dict.json", "state.json"  # one of them is in every saved folder
_BATCH = 1000  # rows read at once


def is_saved(folder: Path) -> bool:
    """Whether `datasets` has saved this folder."""
    return (folder / _SPLITS).is_file() or (folder / _STATE).is_file()


def parquet_table(source: FileBytes, columns: Sequence[str]) -> Table:
    """A Parquet file. `datasets` keeps the names of classes in its schema."""
    from pyarrow import parquet

    # Mapped into memory, as else a whole row group is read at once.
    mapped = partial(parquet.ParquetFile, source.path, memory_map=True)
    with _readable(source.name, "a readable Parquet file"), mapped() as file:
        schema, n_rows = file.schema_arrow, file.metadata.num_rows
        info = json.loads((schema.metadata or {}).get(b"huggingface", b"{}")).get("info", {})
        classes = {name: kind["names"] for name, kind in info.get("features", {}).items() if "names" in kind}

    def batches() -> Iterator[Any]:
        with _readable(source.name, "a readable Parquet file"), mapped() as file:
            yield from file.iter_batches(batch_size=_BATCH)

    return _table(source.path, "Parquet", columns, schema.names, n_rows, classes, batches, [])


def saved_table(folder: Path, columns: Sequence[str]) -> Table:
    """A folder saved by `datasets.save_to_disk`: one split, or of several the one called "train"."""
    import datasets

    part, notes = folder, []
    with _readable(folder.name, "a readable data set"):
        if (folder / _SPLITS).is_file():
            splits = json.loads((folder / _SPLITS).read_text(encoding="utf-8"))["splits"]
            part = folder / ("train" if "train" in splits else splits[0])
            if len(splits) > 1:
                notes = [f"{folder.name} has the splits {', '.join(splits)}; {part.name!r} was read."]
        data = datasets.Dataset.load_from_disk(str(part)).with_format("arrow")
        classes = {name: kind.names for name, kind in data.features.items() if hasattr(kind, "names")}

    def batches() -> Iterator[Any]:
        with _readable(folder.name, "a readable data set"):
            yield from data.iter(batch_size=_BATCH)

    return _table(folder, "data set on disk", columns, data.column_names, len(data), classes, batches, notes)


def _table(
    path: Path,
    kind: str,
    columns: Sequence[str],
    header: Sequence[str],
    n_rows: int,
    classes: Mapping[str, Sequence[str]],
    batches: Callable[[], Iterator[Any]],
    notes: list[str],
) -> Table:
    """A table whose rows come in Arrow's batches; `classes` are the names of classes by column."""
    if not n_rows:
        raise UserError(f"{path.name} is empty.")
    names, unnamed = column_names(header, path.name)
    check_given(columns, [name for name in names if name], path.name)
    class_names = [classes.get(column) for column in header]

    def stream() -> Iterator[Row]:
        number = 0
        for batch in batches():
            with _readable(path.name, "readable"):  # text that is not UTF-8 shows here
                cells = [_cells(column.to_pylist(), of) for column, of in zip(batch.columns, class_names, strict=True)]
            for row in zip(*cells, strict=True):
                yield f"row {number}", {name: cell for name, cell in zip(names, row, strict=True) if name}
                number += 1

    def arrow() -> Iterator[Any]:
        import pyarrow

        for batch in batches():
            columns = zip(names, batch.columns, strict=True)
            yield pyarrow.table({name: column for name, column in columns if name})

    return Table(
        path=path,
        format=kind,
        columns=tuple(name for name in names if name),
        stream=stream,
        notes=(*notes, *unnamed),
        arrow_stream=arrow,
    )


def _cells(values: list[Any], class_names: Sequence[str] | None) -> list[Any]:
    """The cells of a column. A class beyond the names has none: -1 marks a row without a label."""
    if class_names is None:
        return [plain(value) for value in values]
    return [class_names[n] if isinstance(n, int) and 0 <= n < len(class_names) else None for n in values]


@contextmanager
def _readable(name: str, what: str) -> Iterator[None]:
    """Turn the errors of pyarrow and `datasets` about a damaged file into one sentence."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # damage shows in many ways: Arrow's errors, OSError, KeyError, UnicodeDecodeError
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{name} is not {what} ({reason}).") from error
