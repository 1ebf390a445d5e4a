"""Small tables of headlines in every format, and what is read from them."""

import csv
import io
import json
from collections.abc import Sequence
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
