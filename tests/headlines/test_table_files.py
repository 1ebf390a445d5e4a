"""Every kind of file is read, and a bad one is refused in one sentence."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sae_pipeline.config import HeadlinesConfig
from sae_pipeline.errors import UserError
from sae_pipeline.headlines.labels import FINANCIAL
from sae_pipeline.headlines.dataset import load_headlines
from tests.support.tables import ROWS, csv_text, everything, jsonl_text, load, parquet_bytes


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.csv", csv_text(ROWS).encode()),
        ("bom.csv", csv_text(ROWS).encode("utf-8-sig")),
        ("semicolon.csv", csv_text(ROWS, ";").encode()),
        ("a.tsv", csv_text(ROWS, "\t").encode()),
        ("utf16.csv", csv_text(ROWS).encode("utf-16")),
        ("utf16.tsv", csv_text(ROWS, "\t").encode("utf-16")),
        ("windows.csv", csv_text(ROWS).encode("cp1252")),
        ("more.csv", csv_text([(y, i, t) for i, (t, y) in enumerate(ROWS)], header=("label", "n", "text")).encode()),
        ("named.csv", csv_text([(t, f" {FINANCIAL[y].upper()} ") for t, y in ROWS]).encode()),
        ("floats.csv", csv_text([(t, float(y)) for t, y in ROWS]).encode()),
        ("a.jsonl", jsonl_text(ROWS).encode()),
        ("a.json", ("\n" + jsonl_text(ROWS)).encode("utf-8-sig")),
        ("a.parquet", parquet_bytes(ROWS)),
        ("named.parquet", parquet_bytes([(t, FINANCIAL[y]) for t, y in ROWS])),
    ],
)
def test_every_kind_of_file_reads_the_same(tmp_path: Path, name: str, data: bytes) -> None:
    """Format, encoding, delimiter, column order and spelling of labels change nothing."""
    headlines = load(tmp_path, name, data)
    assert {t.replace("\r\n", "\n"): y for t, y in everything(headlines).items()} == dict(ROWS)
    assert bool(headlines.report.notes) == (name == "windows.csv")


GOOD = csv_text(ROWS)
BAD: list[tuple[str, bytes | str, str]] = [
    ("empty.csv", "", "is empty"),
    ("spaces.csv", " \n \n", "is empty"),
    ("header.csv", "text,label\n", "no rows below its header"),
    ("columns.csv", "title,score\nA,1\n", "no column 'text' but title, score .*--text-column"),
    ("column.csv", "text,score\nA,1\n", "no column 'label' but text, score .*--label-column"),
    ("label.csv", GOOD + "Odd one,positive\n", "line 182: unknown label 'positive'.*--label-map"),
    ("nolabel.csv", "text,label\nA,0\nB\n", "line 3: unknown label 'None'"),
    ("comma.csv", "text,label\nUp, up and away,1\n", "line 2: more fields than columns"),
    ("quote.csv", GOOD + '"Never closed,1\n', "line 182: not a readable row.*closing quote"),
    ("same.csv", "text,label\n" + "Same,1\n" * 50, "no Bearish and no Neutral headline.*49 duplicates|49 duplicates"),
    ("conflict.csv", "text,label\n" + "Same,1\nSame,2\n" * 9, "18 with conflicting labels|conflicting"),
    ("two.csv", csv_text([r for r in ROWS if r[1]]), "no Bearish headline to train on"),
    ("few.csv", "text,label\nA,0\nB,1\nC,2\n", "leaves no"),
    ("huge.csv", csv_text([*ROWS, ("x" * 2_000_001, 1)]), "closing quote missing"),
    ("null.csv", GOOD + "nu\0ll,1\n", "line 182: a null byte"),
    ("nomark16.csv", csv_text([("Up", 1)] * 9).encode("utf-16-le"), "null byte.*UTF-8"),
    ("cyrillic.csv", csv_text([("Нефть дорожает", 1)] * 9).encode("cp1251"), "neither UTF-8 nor.*save it as UTF-8"),
    ("japanese.csv", csv_text([("株価が上昇", 1)] * 9).encode("shift-jis"), "neither UTF-8 nor"),
    ("damaged.csv", csv_text(ROWS).encode() + b"cut \xe2\x80,1\n", "neither UTF-8 nor"),
    ("cut16.csv", csv_text(ROWS).encode("utf-16")[:-1], "does not fit utf-16"),
    ("broken.jsonl", '{"text": "A", "label": 1}\n\n{"text": \n', "line 3: not valid JSON"),
    ("list.jsonl", '[{"text": "A", "label": 1}]', "line 1: not a JSON object"),
    ("deep.jsonl", "[" * 200_000, "line 1: not valid JSON"),
    ("missing.jsonl", '{"text": "A", "label": 1}\n{"text": "B"}\n', "no column 'label' but text .line 2"),
    ("surrogate.jsonl", '{"text": "\\ud800", "label": 1}\n', "line 1: the headline holds"),
    ("null.jsonl", '{"text": "A\\u0000", "label": 1}\n', "line 1: the headline holds a null byte"),
    ("bool.jsonl", '{"text": "A", "label": true}\n', "unknown label 'True'"),
    ("junk.parquet", b"PAR1 not at all", "not a readable Parquet"),
    ("none.parquet", parquet_bytes([]), "is empty"),
    ("book.xlsx", b"PK\3\4", "no file that can be read here"),
]


@pytest.mark.parametrize(("name", "data", "message"), BAD, ids=[name for name, _, _ in BAD])
def test_bad_files_are_refused_in_one_sentence(tmp_path: Path, name: str, data: bytes | str, message: str) -> None:
    """Each names what is wrong, and where."""
    with pytest.raises(UserError, match=message) as caught:
        load(tmp_path, name, data)
    assert "\n" not in str(caught.value).strip()
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("source", ["none.csv", "none.jsonl", "./none", "~/none/x.parquet", "a/b/c"])
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


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    noise=st.one_of(st.binary(max_size=60), st.text(max_size=60).map(lambda t: t.encode("utf-8", "surrogatepass"))),
    name=st.sampled_from(["x.csv", "x.tsv", "x.jsonl", "x.parquet"]),
    where=st.integers(0, 400),
    whole=st.booleans(),
)
def test_any_bytes_give_headlines_or_a_sentence(
    tmp_path: Path, noise: bytes, name: str, where: int, whole: bool
) -> None:
    """Random damage to a good file of any kind never ends in another exception."""
    good = {"x.csv": GOOD.encode(), "x.tsv": csv_text(ROWS, "\t").encode(), "x.jsonl": jsonl_text(ROWS).encode()}
    data = good.get(name) or parquet_bytes(ROWS)
    try:
        headlines = load(tmp_path, name, noise if whole else data[:where] + noise + data[where:])
    except UserError as error:
        assert "\n" not in str(error).strip()
    else:
        assert len(headlines.train) and len(headlines.dev) and len(headlines.test)
