"""Small tables of headlines in every format, and what is read from them."""

import csv
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sae_pipeline.config import HeadlinesConfig
from sae_pipeline.headlines.dataset import Headlines, Split, load_headlines

Rows = Sequence[tuple[Any, Any]]
ROWS: Rows = [(f"Café “{i}” says,\nprofit € {i % 7}", i % 3) for i in range(90)]
"""Headlines with quotes, commas, line ends and letters beyond ASCII, and their labels."""


def csv_text(rows: Rows, delimiter: str = ",", header: Sequence[str] = ("text", "label")) -> str:
    """Rows as CSV."""
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter)
    writer.writerows([header, *rows])
    return out.getvalue()


def jsonl_text(rows: Rows) -> str:
    """Rows as JSONL."""
    return "".join(json.dumps({"text": t, "label": y}, ensure_ascii=False) + "\n" for t, y in rows)


def parquet_bytes(rows: Rows) -> bytes:
    """Rows as a Parquet file."""
    import pyarrow as pa
    from pyarrow import parquet

    out = pa.BufferOutputStream()
    parquet.write_table(pa.table({"text": [t for t, _ in rows], "label": [y for _, y in rows]}), out)
    return bytes(out.getvalue())


def workbook_bytes(rows: Sequence[Sequence[Any]], header: Sequence[str] | None = ("text", "label")) -> bytes:
    """Rows as an Excel workbook; text that begins with = is no formula."""
    import openpyxl
    from openpyxl.cell import WriteOnlyCell

    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet()
    for row in [header, *rows] if header else rows:
        cells = [WriteOnlyCell(sheet, value) for value in row]
        for cell, value in zip(cells, row, strict=True):
            if isinstance(value, str):
                cell.data_type = "s"
        sheet.append(cells)
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def zip_bytes(members: Mapping[str, bytes]) -> bytes:
    """Files in a .zip."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


def load(folder: Path, name: str, data: bytes | str, **config: Any) -> Headlines:
    """Write a file and load its headlines."""
    path = folder / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return load_headlines(HeadlinesConfig(source=str(path), **config))


def pairs(split: Split) -> list[tuple[str, int]]:
    """Text and label of each headline of a split."""
    return list(zip(split.texts, split.labels, strict=True))


def everything(headlines: Headlines) -> dict[str, int]:
    """The label of each text of all splits."""
    return dict(pairs(headlines.train) + pairs(headlines.dev) + pairs(headlines.test))


def frame_json(orient: Any) -> bytes:
    """ROWS as pandas writes them."""
    import pandas

    return pandas.DataFrame(ROWS, columns=["text", "label"]).to_json(orient=orient).encode()


def written(folder: Path, name: str, data: bytes | str) -> Path:
    """A file with this content."""
    path = folder / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path
