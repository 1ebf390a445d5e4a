"""Every kind of file is read, and a bad one is refused in one sentence."""

import gzip
import json
import subprocess
import sys
import tracemalloc
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
    jsonl_text,
    load,
    parquet_bytes,
    workbook_bytes,
    zip_bytes,
)

FRAME = pandas.DataFrame(ROWS, columns=["text", "label"])


def frame_json(orient: Any) -> bytes:
    """ROWS as pandas writes them."""
    return FRAME.to_json(orient=orient).encode()


def written(folder: Path, name: str, data: bytes | str) -> Path:
    """A file with this content."""
    path = folder / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


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


GOOD = csv_text(ROWS)
PADDING = b"\0" * 2000
LOCKED = bytearray(zip_bytes({"a.csv": GOOD.encode()}))
for signature, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
    LOCKED[LOCKED.index(signature) + offset] |= 1  # the flag of a member with a password
BAD: list[tuple[str, bytes | str, str]] = [
    ("empty.csv", "", "is empty"),
    ("empty.xlsx", workbook_bytes([], header=None), "is empty"),
    ("empty.json", "[]", "is empty"),
    ("empty.csv.gz", gzip.compress(b""), "is empty"),
    ("spaces.csv", " \n \n", "is empty"),
    ("header.csv", "text,label\n", "no rows below its header"),
    ("header.xlsx", workbook_bytes([]), "no rows below its header"),
    ("columns.csv", "words,score\nA,1\n", "no column 'text' but words, score; name it by --text-column"),
    ("column.csv", "text,score\nA,1\n", "no column 'label' but text, score; name it by --label-column"),
    ("twice.csv", "text,label,text\nA,1,B\n", "two columns named 'text'"),
    ("comma.csv", "text,label\nUp, up and away,1\n", "line 2: more fields than columns"),
    ("quote.csv", GOOD + '"Never closed,1\n', "line 182: not a readable row.*closing quote"),
    ("same.csv", "text,label\n" + "Same,1\n" * 50 + "A,0\nB,2\n", "49 duplicates"),
    ("conflict.csv", "text,label\n" + "A,0\n" + "Same,1\nSame,2\n" * 9, "18 with conflicting labels"),
    ("few.csv", "text,label\nA,0\nB,1\nC,2\n", "leaves no"),
    ("huge.csv", csv_text([*ROWS, ("x" * 2_000_001, 1)]), "closing quote missing"),
    ("line.csv", GOOD + "x" * 17_000_000, "line 182: more than 16,000,000 characters without a line end"),
    ("null.csv", GOOD + "nu\0ll,1\n", "line 182: a null byte"),
    ("nomark16.csv", csv_text([("Up", 1)] * 9).encode("utf-16-le"), "null byte.*UTF-8"),
    ("cyrillic.csv", csv_text([("Нефть дорожает", 1)] * 9).encode("cp1251"), "neither UTF-8 nor.*save it as UTF-8"),
    ("japanese.csv", csv_text([("株価が上昇", 1)] * 9).encode("shift-jis"), "neither UTF-8 nor"),
    ("damaged.csv", csv_text(ROWS).encode() + b"cut \xe2\x80,1\n", "neither UTF-8 nor"),
    ("late.csv", b"text,label\n" + b"words,1\n" * 400_000 + b"cut \x81,1\n", r"byte 3,200,015 does not fit utf-8"),
    ("cut16.csv", csv_text(ROWS).encode("utf-16")[:-1], "does not fit utf-16"),
    ("broken.jsonl", '{"text": "A", "label": 1}\n\n{"text": \n', "line 3: not valid JSON"),
    ("list.jsonl", '[{"text": "A", "label": 1}]', "line 1: not a JSON object"),
    ("deep.jsonl", "[" * 200_000, "line 1: not valid JSON"),
    ("missing.jsonl", '{"text": "A", "label": 1}\n{"label": 2}\n', "line 2: the row has no 'text'"),
    ("keys.jsonl", '{"text": "A", "label": 1}\n{"text": "B", "text ": "C"}\n', "line 2 has two columns named 'text'"),
    ("keys.json", '[{"text": "A", " text": "B"}]', "entry 1 has two columns named 'text'"),
    ("twice.json", '{"columns": ["text", "text"], "data": [["A", "B"]]}', "two columns named 'text'"),
    ("half.jsonl", '{"text": "A", "label": "\\ud800"}\n', "line 1: the label holds half a surrogate pair"),
    ("nested.jsonl", '{"text": ["A"], "label": 1}\n', "text is a list in line 1"),
    ("nested.json", '[{"text": "A", "label": {"v": 1}}]', "label is an object in entry 1"),
    ("surrogate.jsonl", '{"text": "\\ud800", "label": 1}\n', "line 1: the headline holds"),
    ("null.jsonl", '{"text": "A\\u0000", "label": 1}\n', "line 1: the headline holds a null byte"),
    ("cut.json", '[{"text": "A", "label": 1},', "cut.json: not valid JSON"),
    ("deep.json", "[" * 200_000, "deep.json: not valid JSON"),
    ("number.json", "17", "holds JSON that is no table; a list of objects"),
    ("values.json", '[["A", 1], ["B", 2]]', "entry 1: not a JSON object"),
    ("uneven.json", '{"text": ["A", "B"], "label": [1]}', "holds JSON that is no table"),
    ("split.json", '{"columns": ["text", "label"], "data": [["A", 1], ["B"]]}', "one cell for each of its columns"),
    ("junk.parquet", b"PAR1 not at all", "not a readable Parquet"),
    ("text.parquet", GOOD, "not a readable Parquet"),
    ("none.parquet", parquet_bytes([]), "is empty"),
    ("book.ods", b"PK\3\4", "no file that can be read here"),
    ("book.xlsx", b"PK\3\4", "not a readable Excel workbook"),
    ("renamed.csv", b"PK\3\4" + PADDING, "renamed.csv is not a readable Excel workbook"),
    ("cut.xlsx", workbook_bytes(ROWS)[:-400], "not a readable Excel workbook"),
    ("other.xlsx", zip_bytes({"[Content_Types].xml": b"<a/>"}), "not a readable Excel workbook"),
    ("old.xls", bytes.fromhex("d0cf11e0a1b11ae1") + PADDING, "the old format .*save it as .xlsx or CSV"),
    (
        "secret.xlsx",
        bytes.fromhex("d0cf11e0a1b11ae1") + b"\0" * (1 << 20) + "EncryptedPackage".encode("utf-16-le") + PADDING,
        "protected by a password; save a copy without one",
    ),
    ("two.zip", zip_bytes({"a.csv": GOOD.encode(), "b.csv": b""}), r"holds 2 files \(a.csv, b.csv\); unpack it"),
    ("none.zip", zip_bytes({}), "holds 0 files"),
    ("locked.zip", bytes(LOCKED), "protected by a password; unpack it"),
    ("cut.zip", zip_bytes({"a.csv": GOOD.encode()})[:-9], "no .zip file, or a damaged one"),
    ("plain.csv.gz", GOOD, "no .gz file, or a damaged one"),
    ("cut.csv.gz", gzip.compress(GOOD.encode())[:-30], "cut.csv.gz is damaged or cut off"),
    ("twice.zip", zip_bytes({"a.csv.gz": gzip.compress(GOOD.encode())}), "no file that can be read here"),
    ("book.zip", zip_bytes({"a.xlsx": workbook_bytes(ROWS)}), "unpack it, as Parquet and Excel are not read from"),
]


@pytest.mark.parametrize(("name", "data", "message"), BAD, ids=[name for name, _, _ in BAD])
def test_bad_files_are_refused_in_one_sentence(tmp_path: Path, name: str, data: bytes | str, message: str) -> None:
    """Each names what is wrong, and where."""
    with pytest.raises(UserError, match=message) as caught:
        load(tmp_path, name, data)
    assert "\n" not in str(caught.value).strip()
    assert len(str(caught.value)) < 400


def test_a_damaged_member_of_a_zip(tmp_path: Path) -> None:
    data = bytearray(zip_bytes({"a.csv": GOOD.encode()}))
    data[200] ^= 255
    with pytest.raises(UserError, match=r"a.zip is damaged or cut off"):
        load(tmp_path, "a.zip", bytes(data))


def test_what_would_have_to_be_held_in_memory_is_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A workbook by its unpacked size, and JSON that is one value by its length; JSON lines are not."""
    monkeypatch.setattr("sae_pipeline.headlines.tables.workbooks.MAX_UNPACKED", 5000)
    with pytest.raises(UserError, match=r"a\.xlsx unpacks to [\d,]+ bytes \(at most 5,000\); save it as CSV"):
        load(tmp_path, "a.xlsx", workbook_bytes(ROWS))
    monkeypatch.setattr("sae_pipeline.headlines.tables.json_files.MAX_WHOLE", 500)
    with pytest.raises(UserError, match=r"one JSON value of over 500 characters; save it as JSON lines"):
        load(tmp_path, "a.json", frame_json("columns"))
    assert len(everything(load(tmp_path, "b.json", jsonl_text(ROWS)))) == len(ROWS)


@pytest.mark.parametrize("source", ["none.csv", "none.jsonl", "none.csv.gz", "./none", "~/none/x.parquet", "a/b/c"])
def test_missing_files(source: str) -> None:
    """What looks like a file and is not there is said to be missing, not looked for on the hub."""
    with pytest.raises(UserError, match="does not exist"):
        load_headlines(HeadlinesConfig(source=source))


def test_folders_are_no_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no file that can be read"):
        load_headlines(HeadlinesConfig(source=str(tmp_path)))


def test_a_headline_of_one_megabyte_is_read(tmp_path: Path) -> None:
    """It is kept as written; the tokenizer cuts it."""
    for name, write in (("a.csv", csv_text), ("a.jsonl", jsonl_text)):
        headlines = load(tmp_path, name, write([*ROWS, ("rally " * 170_000, 1)]))
        assert max(len(t) for t in everything(headlines)) == 1_020_000


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    noise=st.one_of(st.binary(max_size=60), st.text(max_size=60).map(lambda t: t.encode("utf-8", "surrogatepass"))),
    name=st.sampled_from(["x.csv", "x.tsv", "x.jsonl", "x.parquet", "x.json", "x.xlsx", "x.csv.gz", "x.zip", "x.txt"]),
    where=st.integers(0, 400),
    whole=st.booleans(),
)
def test_any_bytes_give_headlines_or_a_sentence(
    tmp_path: Path, noise: bytes, name: str, where: int, whole: bool
) -> None:
    """Random damage to a good file of any kind never ends in another exception."""
    data = DAMAGED[name]
    try:
        headlines = load(tmp_path, name, noise if whole else data[:where] + noise + data[where:])
    except UserError as error:
        assert "\n" not in str(error).strip()
    else:
        assert len(headlines.train) and len(headlines.dev) and len(headlines.test)


DAMAGED = {
    "x.csv": GOOD.encode(),
    "x.tsv": csv_text(ROWS, "\t").encode(),
    "x.txt": b"".join(f"Shares rise {i}@{FINANCIAL[i % 3]}\n".encode() for i in range(90)),
    "x.jsonl": jsonl_text(ROWS).encode(),
    "x.json": frame_json("records"),
    "x.parquet": parquet_bytes(ROWS),
    "x.xlsx": workbook_bytes(ROWS),
    "x.csv.gz": gzip.compress(GOOD.encode()),
    "x.zip": zip_bytes({"x.csv": GOOD.encode()}),
}


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.zip", "a.jsonl", "a.txt"])
def test_large_files_are_streamed(tmp_path: Path, name: str) -> None:
    """A file of 20 MB, read to its end, takes a fraction of it."""
    text, n_rows = "Shares rise again. " * 100, 10_000
    lines = {"a.jsonl": f'{{"text": "{text}", "label": 1}}\n', "a.txt": f"{text}@positive\n"}
    data = ("" if name in lines else "text,label\n") + lines.get(name, f"{text},1\n") * n_rows
    packed = {"a.csv.gz": gzip.compress, "a.zip": lambda content: zip_bytes({"a.csv": content})}.get(name, bytes)
    path = written(tmp_path, name, packed(data.encode()))
    tracemalloc.start()
    found = sum(1 for _ in open_table(path).rows())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found == n_rows
    assert peak < 10_000_000 < len(data) / 1.5


@pytest.mark.full
def test_a_csv_file_of_200_mb_adds_20_mb_to_the_process(tmp_path: Path) -> None:
    """The whole process is measured, with what the system's libraries take."""
    row = "2024-01-31,Shares of the company rise after its report,1\n"
    path = written(tmp_path, "a.csv", "date,text,label\n" + row * (200_000_000 // len(row)))
    code = (
        "import resource, sys; from pathlib import Path; from sae_pipeline.headlines.table_files import open_table\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "n = sum(1 for _ in open_table(Path(sys.argv[1])).rows())\n"
        "print(n, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    n_rows, mebibytes = map(int, done.stdout.split())
    assert n_rows == 200_000_000 // len(row)
    assert mebibytes < 20
