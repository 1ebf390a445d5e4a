"""Bad files are refused in one sentence, damaged bytes too, and large ones are streamed."""

import gzip
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sae_pipeline.config import HeadlinesConfig
from sae_pipeline.errors import UserError
from sae_pipeline.headlines.dataset import load_headlines
from sae_pipeline.headlines.labels import FINANCIAL
from sae_pipeline.headlines.table_files import open_table
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
