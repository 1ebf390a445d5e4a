"""Parquet files."""

from collections.abc import Iterator, Sequence

from sae_pipeline.errors import UserError
from sae_pipeline.headlines.tables.file_bytes import FileBytes
from sae_pipeline.headlines.tables.header import check_given
from sae_pipeline.headlines.tables.table import Row, Table, column_names, plain

PARQUET = b"PAR1"  # how a Parquet file begins
_BATCH = 1000  # rows read at once


def parquet_table(source: FileBytes, columns: Sequence[str]) -> Table:
    """A Parquet file."""
    import pyarrow
    from pyarrow import parquet

    def unreadable(error: Exception) -> UserError:
        return UserError(f"{source.name} is not a readable Parquet file ({str(error).splitlines()[0]}).")

    errors = (pyarrow.ArrowException, OSError, ValueError)
    try:
        with parquet.ParquetFile(source.path) as file:
            schema, n_rows = file.schema_arrow, file.metadata.num_rows
    except errors as error:
        raise unreadable(error) from error
    if not n_rows:
        raise UserError(f"{source.name} is empty.")
    names, notes = column_names(schema.names, source.name)
    check_given(columns, [name for name in names if name], source.name)

    def stream() -> Iterator[Row]:
        number = 0
        try:
            with parquet.ParquetFile(source.path) as file:
                for batch in file.iter_batches(batch_size=_BATCH):
                    for cells in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                        yield (
                            f"row {number}",
                            {name: plain(cell) for name, cell in zip(names, cells, strict=True) if name},
                        )
                        number += 1
        except errors as error:
            raise unreadable(error) from error

    return Table(
        path=source.path,
        format="Parquet",
        columns=tuple(name for name in names if name),
        stream=stream,
        notes=tuple(notes),
    )
