"""Tables to be scored: types of columns, parts of rows, and rows that are refused before any work."""

import datetime
import json
from decimal import Decimal
from pathlib import Path

import datasets
import pyarrow as pa
import pytest
from pyarrow import parquet

from sae_pipeline.config import ScoreConfig
from sae_pipeline.errors import UserError
from sae_pipeline.scoring.source import Source

MOMENT = datetime.datetime(2024, 1, 31, 9, 30)
TYPED = pa.table(
    {
        "day": pa.array([datetime.date(2024, 1, 31), None, datetime.date(2024, 2, 1)], pa.date32()),
        "at": pa.array([MOMENT, None, MOMENT], pa.timestamp("ms", tz="UTC")),
        "headline": pa.array(["Shares rise", None, "Profit falls"], pa.large_string()),
        "ticker": pa.array(["A", "B", "A"]).dictionary_encode(),
        "small": pa.array([1, None, 3], pa.int8()),
        "price": pa.array([Decimal("1.50"), None, None], pa.decimal128(8, 2)),
        "parts": pa.array([[1, 2], [], None], pa.list_(pa.int32())),
    }
)


def whole(path: Path, **settings: str) -> pa.Table:
    """All rows of a table, in the types that are written."""
    source = Source.open(ScoreConfig(table=str(path), **settings))
    survey = source.survey()
    rows = source.reader(survey.schema).take(1000)
    assert len(rows) == survey.n_rows
    assert rows.schema == survey.schema
    return rows


def test_parquet_keeps_its_types(tmp_path: Path) -> None:
    """Dates, time zones, categories, small numbers, decimals and lists are as in the file."""
    parquet.write_table(TYPED, tmp_path / "a.parquet")
    rows = whole(tmp_path / "a.parquet")
    assert rows.schema.remove_metadata() == TYPED.schema
    assert rows.to_pylist() == TYPED.to_pylist()


def test_a_saved_data_set_keeps_its_types(tmp_path: Path) -> None:
    """The numbers of classes stay numbers."""
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])})
    data = datasets.Dataset.from_dict({"text": ["Shares rise", "Profit falls"], "label": [1, 0]}, features=features)
    data.save_to_disk(str(tmp_path / "saved"))
    assert whole(tmp_path / "saved").to_pydict() == {"text": ["Shares rise", "Profit falls"], "label": [1, 0]}


def test_headlines_in_bytes(tmp_path: Path) -> None:
    """They are read as UTF-8, and refused before any work where they are not; the column stays binary."""
    for cell, path in (("Café".encode(), tmp_path / "a.parquet"), (b"\xff", tmp_path / "b.parquet")):
        parquet.write_table(pa.table({"text": [cell], "key": [b"\xff"]}), path)
    rows = whole(tmp_path / "a.parquet")
    assert rows.schema.types == [pa.binary(), pa.binary()]
    assert Source.open(ScoreConfig(table=str(tmp_path / "a.parquet"))).texts(rows) == ["Café"]
    with pytest.raises(UserError, match="text is binary and not UTF-8 in row 0"):
        whole(tmp_path / "b.parquet")


def test_excel_keeps_its_types(tmp_path: Path) -> None:
    """A column has the type that holds all its cells; one of several kinds is text."""
    import openpyxl

    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    for row in (
        ["headline", "at", "n", "price", "is", "mixed", "none", "time"],
        ["Shares rise", MOMENT, 1, 2, True, 7, None, datetime.time(9, 30)],
        ["Profit falls", None, None, 2.5, False, "seven", None, None],
    ):
        sheet.append(row)
    book.save(tmp_path / "a.xlsx")
    rows = whole(tmp_path / "a.xlsx")
    types = [pa.string(), pa.timestamp("us"), pa.int64(), pa.float64(), pa.bool_(), pa.string(), pa.string()]
    assert rows.schema.types == [*types, pa.time64("us")]
    assert rows["at"].to_pylist() == [MOMENT, None]
    assert rows["mixed"].to_pylist() == ["7", "seven"]
    assert rows["price"].to_pylist() == [2.0, 2.5]


def test_excel_dates_beside_moments(tmp_path: Path) -> None:
    """A column of dates and moments holds moments, the dates at midnight."""
    import openpyxl

    book = openpyxl.Workbook()
    assert book.active is not None
    for row in (["text", "at"], ["Shares rise", MOMENT], ["Profit falls", datetime.date(2024, 1, 31)]):
        book.active.append(row)
    book.save(tmp_path / "a.xlsx")
    assert whole(tmp_path / "a.xlsx")["at"].to_pylist() == [MOMENT, datetime.datetime(2024, 1, 31)]


def test_large_numbers_in_json(tmp_path: Path) -> None:
    """Numbers that a float cannot hold stay whole, or become text beside fractions."""
    for other, expected in ((1, [2**53 + 1, 1]), (0.5, [str(2**53 + 1), "0.5"])):
        lines = [{"text": "Shares rise", "n": 2**53 + 1}, {"text": "Profit falls", "n": other}]
        (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, lines)))
        assert whole(tmp_path / "a.jsonl")["n"].to_pylist() == expected


def test_csv_stays_text_as_written(tmp_path: Path) -> None:
    """Numbers, dates and white space are not touched; a short row has no cell."""
    (tmp_path / "a.csv").write_text("text,n,day\nShares rise, 007,2024-01-31\nProfit falls,1.50\n", encoding="utf-8")
    rows = whole(tmp_path / "a.csv")
    assert set(rows.schema.types) == {pa.string()}
    assert rows["n"].to_pylist() == [" 007", "1.50"]
    assert rows["day"].to_pylist() == ["2024-01-31", None]


def test_json_lines(tmp_path: Path) -> None:
    """Numbers keep their type, lists and objects become JSON, and a column that only a late row has stays."""
    lines = [{"text": "Shares rise", "n": n, "tags": ["a", {"b": n}]} for n in range(1500)]
    lines += [{"text": "Half a pair", "n": 2**70, "late": "\ud800!"}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    source = Source.open(ScoreConfig(table=str(tmp_path / "a.jsonl")))
    survey = source.survey()
    reader = source.reader(survey.schema)
    reader.skip(1499)
    assert reader.take(5).to_pylist() == [
        {"text": "Shares rise", "n": "1499", "tags": '["a", {"b": 1499}]', "late": None},
        {"text": "Half a pair", "n": str(2**70), "tags": None, "late": "\ufffd!"},
    ]


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_rows_are_taken_and_skipped_in_order(tmp_path: Path, ending: str) -> None:
    """Any sequence of takes and skips gives the rows of the table, also across the batches of a file."""
    table = pa.table({"text": [f"Shares rise {n}" for n in range(2500)]})
    path = tmp_path / f"a.{ending}"
    if ending == "csv":
        path.write_text("\n".join(["text", *table["text"].to_pylist()]), encoding="utf-8")
    else:
        parquet.write_table(table, path)
    source = Source.open(ScoreConfig(table=str(path)))
    reader = source.reader(source.survey().schema)
    first = reader.take(7)["text"].to_pylist()
    reader.skip(1990)
    middle = reader.take(10)["text"].to_pylist()
    rest = reader.take(10_000)["text"].to_pylist()
    assert first + middle == [f"Shares rise {n}" for n in (*range(7), *range(1997, 2007))]
    assert rest == [f"Shares rise {n}" for n in range(2007, 2500)]
    assert len(reader.take(1)) == 0


def test_a_bad_row_is_found_before_any_work(tmp_path: Path) -> None:
    """The survey names the row."""
    path = tmp_path / "a.csv"
    path.write_text("text,n\n" + "Shares rise,1\n" * 3000 + "too,many,cells\n", encoding="utf-8")
    with pytest.raises(UserError, match="line 3002: more fields than columns"):
        Source.open(ScoreConfig(table=str(path))).survey()
    parquet.write_table(pa.table({"text": [["a", "list"]]}), tmp_path / "a.parquet")
    with pytest.raises(UserError, match="text is a list in row 0"):
        Source.open(ScoreConfig(table=str(tmp_path / "a.parquet"))).survey()


def test_a_table_without_headlines_is_refused(tmp_path: Path) -> None:
    """The sentence names the columns and the flag; with the flag it is read."""
    path = tmp_path / "a.csv"
    path.write_text("date,what\n2024-01-31,Shares rise\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"has no column 'text' but date, what; name it by --text-column"):
        Source.open(ScoreConfig(table=str(path)))
    assert whole(path, text_column="what")["what"].to_pylist() == ["Shares rise"]


def test_the_name_of_a_table_depends_on_its_content(tmp_path: Path) -> None:
    """For a folder too, all of its files count."""
    for folder in ("one", "two"):
        data = datasets.DatasetDict({"train": datasets.Dataset.from_dict({"text": [f"Shares rise {folder}"]})})
        data.save_to_disk(str(tmp_path / folder / "saved"))
    names = {Source.open(ScoreConfig(table=str(tmp_path / folder / "saved"))).name for folder in ("one", "two")}
    assert len(names) == 2 and all(name.startswith("saved@") for name in names)
