"""Every kind of file is read, in whatever shape people have it."""

import gzip
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import openpyxl
import pandas
import pyarrow
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from sae_pipeline.config import HeadlinesConfig
from sae_pipeline.errors import UserError
from sae_pipeline.headlines.dataset import load_headlines
from sae_pipeline.headlines.labels import FINANCIAL
from sae_pipeline.headlines.table_files import Table, open_table
from tests.support.tables import (
    ROWS,
    csv_text,
    everything,
    frame_json,
    jsonl_text,
    load,
    parquet_bytes,
    workbook_bytes,
    written,
    zip_bytes,
)

FRAME = pandas.DataFrame(ROWS, columns=["text", "label"])


def cells(table: Table) -> list[dict[str, Any]]:
    """The rows of a table, without where they stand."""
    return [row for _, row in table.rows()]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.csv", csv_text(ROWS).encode()),
        ("bom.csv", csv_text(ROWS).encode("utf-8-sig")),
        ("semicolon.csv", csv_text(ROWS, ";").encode()),
        ("bar.csv", csv_text(ROWS, "|").encode()),
        ("tab.csv", csv_text(ROWS, "\t").encode()),
        ("a.tsv", csv_text(ROWS, "\t").encode()),
        ("tab.txt", csv_text(ROWS, "\t").encode()),
        ("utf16.csv", csv_text(ROWS).encode("utf-16")),
        ("utf16.tsv", csv_text(ROWS, "\t").encode("utf-16")),
        ("windows.csv", csv_text(ROWS).encode("cp1252")),
        ("more.csv", csv_text([(y, i, t) for i, (t, y) in enumerate(ROWS)], header=("label", "n", "text")).encode()),
        ("named.csv", csv_text([(t, f" {FINANCIAL[y].upper()} ") for t, y in ROWS]).encode()),
        ("floats.csv", csv_text([(t, float(y)) for t, y in ROWS]).encode()),
        ("blank.csv", ("\n\n" + csv_text(ROWS)).encode()),
        ("a.csv.gz", gzip.compress(csv_text(ROWS).encode())),
        ("packed.csv", gzip.compress(csv_text(ROWS).encode())),
        ("a.zip", zip_bytes({"a.csv": csv_text(ROWS).encode()})),
        ("mac.zip", zip_bytes({"a.csv": csv_text(ROWS).encode(), "__MACOSX/._a.csv": b"\0\5"})),
        ("a.jsonl", jsonl_text(ROWS).encode()),
        ("a.ndjson", jsonl_text(ROWS).encode()),
        ("a.jsonl.gz", gzip.compress(jsonl_text(ROWS).encode())),
        ("a.json", ("\n" + jsonl_text(ROWS)).encode("utf-8-sig")),
        ("indented.json", json.dumps([{"text": t, "label": y} for t, y in ROWS], indent=1).encode()),
        *((f"{orient}.json", frame_json(orient)) for orient in ("columns", "index", "records", "split", "table")),
        ("lists.json", json.dumps(FRAME.to_dict(orient="list")).encode()),
        ("a.parquet", parquet_bytes(ROWS)),
        ("named.parquet", parquet_bytes([(t, FINANCIAL[y]) for t, y in ROWS])),
        ("a.xlsx", workbook_bytes(ROWS)),
        ("renamed.csv", workbook_bytes(ROWS)),
        ("renamed.txt", parquet_bytes(ROWS)),
    ],
)
def test_every_kind_of_file_reads_the_same(tmp_path: Path, name: str, data: bytes) -> None:
    """Format, encoding, delimiter, packing, column order and spelling of labels change nothing."""
    headlines = load(tmp_path, name, data)
    assert {t.replace("\r\n", "\n"): y for t, y in everything(headlines).items()} == dict(ROWS)
    assert bool(headlines.report.notes) == (name == "windows.csv")


def test_phrase_bank_and_plain_lines(tmp_path: Path) -> None:
    """The last @ of a line parts sentence and label; lines without a delimiter are headlines without labels."""
    phrases = "Sales at me@example.com rose , EUR 1 mn @positive\n\nNot so@neutral\n"
    table = open_table(written(tmp_path, "a.txt", phrases.encode("latin-1")))
    assert (table.format, table.delimiter, table.columns) == ("sentence@label", None, ("text", "label"))
    assert list(table.rows()) == [
        ("line 1", {"text": "Sales at me@example.com rose , EUR 1 mn", "label": "positive"}),
        ("line 3", {"text": "Not so", "label": "neutral"}),
    ]
    table = open_table(written(tmp_path, "b.txt", "Up, up\nand away\n"))
    assert (table.format, cells(table)) == ("plain lines", [{"text": "Up, up"}, {"text": "and away"}])
    with pytest.raises(UserError, match=r"c.txt, line 501: no @label at the end"):
        cells(open_table(written(tmp_path, "c.txt", "Up@positive\n" * 500 + "Down\n")))


@pytest.mark.parametrize("name", ["a.csv", "a.xlsx"])
def test_tables_without_a_header(tmp_path: Path, name: str) -> None:
    """A first row with a number, a known label or a value that comes again holds no names; this is said."""

    def opened(rows: Sequence[Sequence[Any]], columns: Sequence[str] = ()) -> Table:
        data = workbook_bytes(rows, header=None) if name == "a.xlsx" else csv_text(rows[1:], header=rows[0])
        return open_table(written(tmp_path, name, data), columns)

    for label in ("1", "positive", "hawkish"):
        rows = [(label, "Shares rise again", "x1"), ("2", "Shares fall again", "x2"), (label, "Unchanged", "x3")]
        rows = [(label, text, f"x{n}") for n, (label, text, _) in enumerate(rows * 2)]
        table = opened(rows)
        assert table.columns == ("label", "text", "column 3")
        assert f"{name} has no header; its columns were taken as label, text, column 3" in table.notes[0]
        assert cells(table) == [dict(zip(table.columns, row, strict=True)) for row in rows]
    named = opened(rows, ("mood", "words", "id"))
    assert (named.columns, named.notes, len(cells(named))) == (("mood", "words", "id"), (), 6)
    header = opened([("mood", "words", "id"), *rows])
    assert header.columns == ("mood", "words", "id") and not header.notes
    assert len(cells(opened([("Label", "Text"), *ROWS], ("label", "text")))) == len(ROWS)
    with pytest.raises(UserError, match=r"--columns names 2 columns, but a.* has 3"):
        opened(rows, ("label", "text"))
    with pytest.raises(UserError, match=r"a file without a header, but a.* has its own: text, mood"):
        opened([("text", "mood"), *rows], ("label", "text"))


def test_more_than_one_column_without_a_header_may_be_the_label(tmp_path: Path) -> None:
    """Labels that are known come before a source that has fewer values; of others none is taken, and this is said."""
    for labels, found, unclear in (
        (("positive", "negative", "neutral"), ("text", "label", "column 3"), False),
        (("0", "1", "2"), ("text", "label", "column 3"), False),
        (("hawkish", "dovish", "calm"), ("text", "column 2", "column 3"), True),
    ):
        rows = [(f"Shares rise {n} %", labels[n % 3], ("Reuters", "BBC")[n % 2]) for n in range(12)]
        table = open_table(written(tmp_path, "a.csv", csv_text(rows[1:], header=rows[0])))
        assert table.columns == found
        assert ("More than one of them may hold the label, so name it by --columns." in table.notes[0]) == unclear


def test_columns_that_pandas_numbers(tmp_path: Path) -> None:
    """They are not taken for a headline: ,0,1 above the rows."""
    frame = pandas.DataFrame([("Shares rise", "up"), ("Shares fall", "down")] * 3)
    for index in (True, False):
        frame.to_csv(tmp_path / "a.csv", index=index)
        table = open_table(tmp_path / "a.csv")
        assert "has numbers for names of columns" in table.notes[0]
        assert cells(table)[:2] == [{"text": "Shares rise", "label": "up"}, {"text": "Shares fall", "label": "down"}]


def test_columns_are_named_for_files_without_a_header_alone(tmp_path: Path) -> None:
    for name, data in (
        ("a.jsonl", jsonl_text(ROWS)),
        ("a.json", frame_json("columns")),
        ("a.parquet", parquet_bytes(ROWS)),
    ):
        path = written(tmp_path, name, data)
        assert open_table(path, ("text", "label")).columns == ("text", "label")
        with pytest.raises(UserError, match=f"--columns .* but {name} has its own: text, label"):
            open_table(path, ("label", "text"))


def test_names_of_columns(tmp_path: Path) -> None:
    """White space around is stripped; columns without a name are left out, and this is said."""
    table = open_table(written(tmp_path, "a.csv", ",Text , Label,\n0,Up,1,\n1,Down,0,x\n2,Odd\n"))
    assert table.columns == ("Text", "Label")
    assert table.notes == ("a.csv: columns without a name were left out (1, 4).",)
    assert cells(table)[1:] == [{"Text": "Down", "Label": "0"}, {"Text": "Odd", "Label": None}]
    frame = FRAME.set_index(FRAME.index + 7)
    frame.to_parquet(tmp_path / "a.parquet", index=True)
    frame.to_csv(tmp_path / "b.csv")
    for name in ("a.parquet", "b.csv"):
        assert open_table(tmp_path / name).columns == ("text", "label")
    assert open_table(tmp_path / "b.csv").notes == (
        "b.csv: the first column has no name, so it was taken for an index and left out.",
    )


def test_commas_at_the_end_of_every_row(tmp_path: Path) -> None:
    """Blank cells beyond the header are read over where every row has them; else a comma may be the headline's."""
    rows = "a,Oil falls,x,,\nb,Oil rises,,,\n"
    table = open_table(written(tmp_path, "a.csv", "label,text,note\n" + rows))
    assert cells(table)[0] == {"label": "a", "text": "Oil falls", "note": "x"}
    for row in ("a,Oil falls, gas rises,", "a,Oil falls,x,,,"):
        with pytest.raises(UserError, match="line 4: more fields than columns"):
            cells(open_table(written(tmp_path, "b.csv", f"label,text,note\na,Up,x\nb,Down,y\n{row}\n")))
    with pytest.raises(UserError, match="line 1002: more fields than columns"):
        cells(open_table(written(tmp_path, "c.csv", "label,text,note\n" + rows * 500 + "a,Oil falls, gas rises,,,\n")))


def test_a_long_cell_does_not_hide_the_delimiter(tmp_path: Path) -> None:
    """The same file reads the same in a fresh process, whose limit of a cell is lower."""
    path = written(tmp_path, "a.csv", f"text;label\n{'word ' * 40_000};1\nShares fall;0\n")
    code = "import sys; from pathlib import Path; from sae_pipeline.headlines.table_files import open_table\n"
    code += "print(open_table(Path(sys.argv[1])).columns)"
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "('text', 'label')" == str(open_table(path).columns)


def test_a_blank_first_line_is_no_header(tmp_path: Path) -> None:
    assert open_table(written(tmp_path, "a.csv", "   \n" + csv_text(ROWS))).columns == ("text", "label")


def test_quotes_in_tsv_files(tmp_path: Path) -> None:
    """Where they enclose no cell they belong to the text, as in lists of tweets; else they may hold line ends."""
    rows = [('"Buy" says an analyst', "1"), ('5" screens', "0"), ('"unclosed', "2")]
    table = open_table(written(tmp_path, "a.tsv", "text\tlabel\n" + "".join(f"{t}\t{y}\n" for t, y in rows)))
    assert [(row["text"], row["label"]) for row in cells(table)] == rows
    assert table.notes == ("a.tsv has quotes that enclose no cell, so all quotes were taken as written.",)
    table = open_table(written(tmp_path, "b.tsv", csv_text([*rows, ("two\nlines", "1")], "\t")))
    assert (len(cells(table)), table.notes) == (4, ())


def test_typed_cells(tmp_path: Path) -> None:
    """Dates become ISO text, and what is missing becomes None, in every format that has types."""
    moments = [datetime(2024, 1, 31), datetime(2024, 1, 31, 9, 30)]
    frame = pandas.DataFrame({"text": ["Up", None], "at": moments, "n": [1.5, float("nan")], "ok": [True, False]})
    frame.to_parquet(tmp_path / "a.parquet")
    frame.to_excel(tmp_path / "a.xlsx", index=False)
    for name in ("a.parquet", "a.xlsx"):
        assert cells(open_table(tmp_path / name)) == [
            {"text": "Up", "at": "2024-01-31", "n": 1.5, "ok": True},
            {"text": None, "at": "2024-01-31T09:30:00", "n": None, "ok": False},
        ]
    table = open_table(written(tmp_path, "a.jsonl", '{"text ": "Up", "n": NaN}\n{"tags": ["a"]}\n'))
    assert table.columns == ("text", "n", "tags")
    assert cells(table) == [{"text": "Up", "n": None}, {"tags": ["a"]}]


def test_binary_columns(tmp_path: Path) -> None:
    """UTF-8 is text, and other bytes are refused as a headline alone."""
    rows = {"text": [f"Café {n}".encode() for n in range(90)], "label": [b"no", b"yes"] * 45, "key": [b"\xff"] * 90}
    parquet.write_table(pyarrow.table(rows), tmp_path / "a.parquet")
    found = load_headlines(HeadlinesConfig(source=str(tmp_path / "a.parquet")))
    assert found.names == ("no", "yes") and "Café 1" in everything(found)
    for column in ("text", "label"):
        parquet.write_table(pyarrow.table(rows | {column: [b"\xff"] * 90}), tmp_path / "b.parquet")
        with pytest.raises(UserError, match=f"{column} is binary and not UTF-8 in row 0; it must be text"):
            load_headlines(HeadlinesConfig(source=str(tmp_path / "b.parquet")))


def test_columns_of_json(tmp_path: Path) -> None:
    """They are those of all rows; a half surrogate in a name is replaced, and a row may lack its label."""
    late = '{"text": "Up", "label": 1}\n' * 1500 + '{"text": "Down", "late\\ud800": "x"}\n'
    table = open_table(written(tmp_path, "a.jsonl", late))
    assert table.columns == ("text", "label", "late\ufffd") and len(cells(table)) == 1501
    found = load(tmp_path, "b.jsonl", jsonl_text(ROWS) + '{"text": "Down"}\n')
    assert len(everything(found)) == len(ROWS) and found.report.train.without_label == 1


@pytest.mark.parametrize("index", [["r0", "r1"], ["2024-01-01", "2024-01-02"], [7, 8]])
def test_json_of_pandas_by_index(tmp_path: Path, index: list[Any]) -> None:
    """Rows and columns are told apart by the usual names of columns, whatever the index holds."""
    rows = [{"text": "Up", "label": "a"}, {"text": "Down", "label": "b"}]
    frame = pandas.DataFrame(rows, index=index)
    for orient, name in (("index", "JSON of pandas (index)"), ("columns", "JSON of pandas (columns)")):
        table = open_table(written(tmp_path, "a.json", frame.to_json(orient=orient)))
        assert (table.format, table.columns, cells(table)) == (name, ("text", "label"), rows)


def test_workbooks_with_several_sheets(tmp_path: Path) -> None:
    """The first one is read, and this is said. Empty rows do not count."""
    book = openpyxl.Workbook()
    book.active.title = "News"
    book.create_sheet("Other").append(["nothing"])
    for row in (["text", "label"], [], ["Up", 1], [None, None], ["Down"]):
        book.active.append(row)
    book.save(tmp_path / "a.xlsx")
    table = open_table(tmp_path / "a.xlsx")
    assert table.notes == ("a.xlsx has 2 sheets; the first one was read, 'News'.",)
    assert list(table.rows()) == [
        ("row 3", {"text": "Up", "label": 1}), ("row 5", {"text": "Down", "label": None}),
    ]  # fmt: skip


def test_data_sets_on_disk(tmp_path: Path) -> None:
    """Names of classes replace numbers, -1 is no label, and of several splits "train" is read."""
    features = Features({"text": Value("string"), "label": ClassLabel(names=["dovish", "hawkish"])})
    data = Dataset.from_dict({"text": ["Up", "Down", "Odd"], "label": [1, 0, -1]}, features=features)
    rows = [{"text": "Up", "label": "hawkish"}, {"text": "Down", "label": "dovish"}, {"text": "Odd", "label": None}]
    data.save_to_disk(tmp_path / "one")
    data.with_format("torch").select([2, 0, 1]).save_to_disk(tmp_path / "moved")
    DatasetDict(test=data.select([0]), train=data).save_to_disk(tmp_path / "splits")
    data.to_parquet(tmp_path / "a.parquet")
    for name in ("one", "splits", "a.parquet"):
        assert cells(open_table(tmp_path / name)) == rows
    assert cells(open_table(tmp_path / "moved")) == [rows[2], *rows[:2]]
    assert open_table(tmp_path / "splits").notes == ("splits has the splits test, train; 'train' was read.",)
    assert cells(open_table(tmp_path / "splits" / "test")) == rows[:1]
    for damaged in (tmp_path / "one").glob("*.arrow"):
        damaged.write_bytes(damaged.read_bytes()[:100])
    with pytest.raises(UserError, match="one is not a readable data set"):
        cells(open_table(tmp_path / "one"))


ROUND_TRIP: dict[str, Callable[[Sequence[Sequence[Any]]], bytes]] = {
    "a.csv": lambda rows: csv_text(rows).encode(),
    "a.tsv": lambda rows: csv_text(rows, "\t").encode(),
    "semicolon.csv": lambda rows: csv_text(rows, ";").encode("utf-16"),
    "a.csv.gz": lambda rows: gzip.compress(csv_text(rows).encode()),
    "a.zip": lambda rows: zip_bytes({"in/a.tsv": csv_text(rows, "\t").encode()}),
    "a.jsonl": lambda rows: jsonl_text(rows).encode(),
    "a.json": lambda rows: json.dumps([{"text": t, "label": y} for t, y in rows]).encode(),
    "columns.json": lambda rows: pandas.DataFrame(rows, columns=["text", "label"]).to_json().encode(),
    "a.parquet": parquet_bytes,
    "a.xlsx": workbook_bytes,
}
CELL = st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.just("\n"), min_size=1, max_size=30)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(CELL, CELL), min_size=1, max_size=8))
@pytest.mark.parametrize("name", ROUND_TRIP)
def test_rows_come_back_as_they_were_written(tmp_path: Path, name: str, rows: list[tuple[str, str]]) -> None:
    """Any text in any format, whatever delimiters and quotes it holds."""
    found = cells(open_table(written(tmp_path, name, ROUND_TRIP[name](rows))))
    assert [(row["text"], row["label"]) for row in found] == rows
