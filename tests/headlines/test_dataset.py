"""Headlines: every source, cleaning and splits by the rules, the built-in sample, bad input."""

import csv
import io
import json
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sae_pipeline.config import LABELS, HeadlinesConfig
from sae_pipeline.errors import UserError
from sae_pipeline.headlines.dataset import Headlines, Split, load_headlines
from sae_pipeline.headlines.sample import CLASS_SIZES, sample_headlines
from sae_pipeline.headlines.text import headline_id, link_spans, normalise

Rows = Sequence[tuple[Any, Any]]
ROWS: Rows = [(f"Café “{i}” says,\nprofit € {i % 7}", i % 3) for i in range(90)]


def csv_text(rows: Rows, delimiter: str = ",", header: Sequence[str] = ("text", "label")) -> str:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter)
    writer.writerows([header, *rows])
    return out.getvalue()


def jsonl_text(rows: Rows) -> str:
    return "".join(json.dumps({"text": t, "label": y}, ensure_ascii=False) + "\n" for t, y in rows)


def parquet_bytes(rows: Rows) -> bytes:
    import pyarrow as pa
    from pyarrow import parquet

    out = pa.BufferOutputStream()
    parquet.write_table(pa.table({"text": [t for t, _ in rows], "label": [y for _, y in rows]}), out)
    return bytes(out.getvalue())


def load(folder: Path, name: str, data: bytes | str, **config: Any) -> Headlines:
    path = folder / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return load_headlines(HeadlinesConfig(source=str(path), **config))


def pairs(split: Split) -> list[tuple[str, int]]:
    return list(zip(split.texts, split.labels, strict=True))


def everything(headlines: Headlines) -> dict[str, int]:
    return dict(pairs(headlines.train) + pairs(headlines.dev) + pairs(headlines.test))


# --- sources -------------------------------------------------------------------------------------------


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
        ("named.csv", csv_text([(t, f" {LABELS[y].upper()} ") for t, y in ROWS]).encode()),
        ("floats.csv", csv_text([(t, float(y)) for t, y in ROWS]).encode()),
        ("a.jsonl", jsonl_text(ROWS).encode()),
        ("a.json", ("\n" + jsonl_text(ROWS)).encode("utf-8-sig")),
        ("a.parquet", parquet_bytes(ROWS)),
        ("named.parquet", parquet_bytes([(t, LABELS[y]) for t, y in ROWS])),
    ],
)
def test_every_kind_of_file_reads_the_same(tmp_path: Path, name: str, data: bytes) -> None:
    """Format, encoding, delimiter, column order and spelling of labels change nothing."""
    headlines = load(tmp_path, name, data)
    assert {t.replace("\r\n", "\n"): y for t, y in everything(headlines).items()} == dict(ROWS)
    assert bool(headlines.report.notes) == (name == "windows.csv")


def test_columns_and_label_map(tmp_path: Path) -> None:
    """Other columns and labels are named by flags; a numbering of the user's replaces ours whole."""
    rows = [(t, ("down", -1, "1.0")[y]) for t, y in ROWS]
    label_map = "down=bearish, -1 = Bullish,1=Neutral"
    config = {"text_column": "headline", "label_column": "mood", "label_map": label_map}
    table = csv_text(rows, header=("headline", "mood"))
    assert set(everything(load(tmp_path, "a.csv", table, **config)).values()) == {0, 1, 2}
    assert everything(load(tmp_path, "a.csv", table, **config)) == dict(ROWS)
    with pytest.raises(UserError, match="unknown label '2'"):
        load(tmp_path, "b.csv", table + "One more,2\n", **config)


def test_test_source_and_strip_links(tmp_path: Path) -> None:
    """A test file of the user's is read whole; the sample can be the training data for it."""
    (tmp_path / "test.jsonl").write_text(jsonl_text(ROWS), encoding="utf-8")
    headlines = load_headlines(HeadlinesConfig(source="sample", test_source=str(tmp_path / "test.jsonl")))
    assert pairs(headlines.test) == list(ROWS)
    assert len(headlines.train) + len(headlines.dev) == sum(CLASS_SIZES)


# --- cleaning and splits -------------------------------------------------------------------------------


def cleaned_slowly(rows: list[tuple[str, int]], in_test: set[str]) -> list[tuple[str, int]]:
    """The rules of headlines.py, one look at all rows per row."""
    kept = []
    for i, (text, label) in enumerate(rows):
        same = [(j, y) for j, (t, y) in enumerate(rows) if normalise(t) == normalise(text)]
        if (
            normalise(text)
            and all(y == label for _, y in same)
            and i == min(same)[0]
            and normalise(text) not in in_test
        ):
            kept.append((text, label))
    return kept


@pytest.mark.parametrize("seed", range(5))
def test_cleaning_follows_the_rules(tmp_path: Path, seed: int) -> None:
    """Random rows full of duplicates, conflicts, empties and leaks: as a slow reading of the rules."""
    rng = random.Random(seed)

    def draw(count: int) -> list[tuple[str, int]]:
        rows = []
        for _ in range(count):
            n = rng.randrange(150)
            text = rng.choice(["deal {}", " DEAL  {}", "Deal {} https://t.co/x", "deal\n{}"]).format(n)
            if rng.random() < 0.05:
                text = rng.choice(["", "  ", "https://t.co/only"])
            rows.append((text, n % 3 if rng.random() < 0.95 else rng.randrange(3)))
        return rows

    train, test = draw(250), draw(40)
    (tmp_path / "test.csv").write_text(csv_text(test), encoding="utf-8")
    headlines = load(tmp_path, "train.csv", csv_text(train), test_source=str(tmp_path / "test.csv"))
    expected_test = cleaned_slowly(test, set())
    assert pairs(headlines.test) == expected_test
    expected = cleaned_slowly(train, {normalise(t) for t, _ in expected_test})
    assert sorted(pairs(headlines.train) + pairs(headlines.dev)) == sorted(expected)
    for counts, rows, kept in ((headlines.report.train, train, expected), (headlines.report.test, test, expected_test)):
        dropped = counts.empty + counts.conflicting + counts.duplicates + counts.in_test
        assert (counts.read, counts.kept) == (len(rows), len(kept)) == (counts.read, counts.read - dropped)
        assert counts.empty == sum(not normalise(t) for t, _ in rows)
    assert headlines.report.train.in_test
    assert headlines.report.classes["test"] == tuple(Counter(y for _, y in expected_test)[k] for k in range(3))


def test_a_headlines_split_depends_on_its_text_alone(tmp_path: Path) -> None:
    """Shares are 20 % and 10 % of the rest; more data, another order or case or a link move no headline."""
    rows = [(f"headline number {i}", i % 3) for i in range(3000)]
    whole = load(tmp_path, "a.csv", csv_text(rows))
    part = load(tmp_path, "b.csv", csv_text([(t.upper() + " www.x.org/1", y) for t, y in rows[:1000][::-1]]))
    for name in ("train", "dev", "test"):
        of_whole = {normalise(t) for t in getattr(whole, name).texts}
        assert {normalise(t) for t in getattr(part, name).texts} <= of_whole
    assert len(whole.test) / 3000 == pytest.approx(0.2, abs=0.03)
    assert len(whole.dev) / (3000 - len(whole.test)) == pytest.approx(0.1, abs=0.025)
    assert len(everything(whole)) == 3000


def test_hash_and_ids_follow_the_content(tmp_path: Path) -> None:
    """The same content has the same hash under any file name; one changed label has another."""
    first = load(tmp_path, "a.csv", csv_text(ROWS))
    assert load(tmp_path, "b.csv", csv_text(ROWS)).data_hash == first.data_hash
    assert load(tmp_path, "c.csv", csv_text([*ROWS[:-1], (ROWS[-1][0], 0)])).data_hash != first.data_hash
    assert re.fullmatch(r"[0-9a-f]{12}", first.data_hash)
    assert first.train.ids == [headline_id(t) for t in first.train.texts]
    assert len(first.train) == len(first.train.labels) == len(first.train.ids)


def test_links_are_told_from_words() -> None:
    """Spans in code points, without the punctuation that follows a link."""
    text = "📈 Up (see https://t.co/aB1?x=1), www.example.com/a. HTTP://X.ORG… awww.no"
    assert [text[a:b] for a, b in link_spans(text)] == ["https://t.co/aB1?x=1", "www.example.com/a", "HTTP://X.ORG"]
    assert normalise("  A\u00a0B\n https://t.co/x c ") == "a b c"


def test_real_headlines_are_cleaned_as_counted(real_data: Path) -> None:
    """The real files: counts of empties, duplicates, conflicts and leaks."""
    headlines = load_headlines(
        HeadlinesConfig(source=str(real_data / "sent_train.csv"), test_source=str(real_data / "sent_valid.csv"))
    )
    train, test = headlines.report.train, headlines.report.test
    assert (train.read, train.empty, train.conflicting, train.duplicates, train.in_test) == (9543, 3, 4, 104, 32)
    assert (test.read, test.kept) == (2388, 2377)
    lines = headlines.report.lines()
    assert any(line.split() == ["train+dev", "9,543", "3", "4", "104", "32", "9,400"] for line in lines)


# --- the built-in sample -------------------------------------------------------------------------------


def test_sample_is_the_same_everywhere() -> None:
    """Deterministic to the letter. A changed sample.txt changes the hash: measure it, then pin the new one."""
    headlines = load_headlines(HeadlinesConfig(source="sample"))
    assert headlines.data_hash == "ee52a92e474b"
    assert headlines.report.train.kept + headlines.report.test.kept == sum(CLASS_SIZES) >= 4000
    counts = Counter(label for _, label in sample_headlines())
    assert [counts[k] / sum(CLASS_SIZES) for k in range(3)] == pytest.approx([0.15, 0.2, 0.65], abs=0.01)


def test_sample_reads_like_headlines() -> None:
    """No remains of the grammar, no bad spacing, and variety: few headlines begin alike."""
    texts = [text for text, _ in sample_headlines()]
    assert not [t for t in texts if re.search(r"[\[\]{}<>|]|\s\s|\s[,.;?!](\s|$)|\s$|^[a-z]|#(\w+) #\1\b", t)]
    assert all(12 < len(t) < 220 for t in texts)
    starts = Counter(" ".join(normalise(t).split()[:3]) for t in texts)
    assert starts.most_common(1)[0][1] < len(texts) / 50


def test_sample_holds_no_real_headline(real_data: Path) -> None:
    """It was written, not copied."""
    real = set()
    for name in ("sent_train.csv", "sent_valid.csv"):
        with (real_data / name).open(encoding="utf-8", newline="") as file:
            real |= {bare(row["text"]) for row in csv.DictReader(file)}
    assert not {bare(text) for text, _ in sample_headlines()} & real


def bare(text: str) -> str:
    """A headline without links, tags, tickers in front and punctuation."""
    return " ".join(re.findall(r"\w+", re.sub(r"^\$\w+( -|:)|#\w+", "", normalise(text))))


# --- the hub -------------------------------------------------------------------------------------------


def hub_of(**splits: Any) -> Callable[[str], Any]:
    from datasets import DatasetDict

    return lambda name: DatasetDict(splits)


def rows_of(rows: Rows, names: list[str] | None = None) -> Any:
    from datasets import ClassLabel, Dataset, Features, Value

    features = Features({"text": Value("string"), "label": ClassLabel(names=names) if names else Value("int64")})
    return Dataset.from_dict({"text": [t for t, _ in rows], "label": [y for _, y in rows]}, features=features)


@pytest.fixture
def reachable(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub that answers."""

    class Session:
        def head(self, *args: Any, **kwargs: Any) -> None: ...

    monkeypatch.setattr("huggingface_hub.get_session", Session)


def test_hub_splits_and_named_classes(monkeypatch: pytest.MonkeyPatch, reachable: None) -> None:
    """'train' and 'validation' are read; numbers of named classes mean their names, not our order."""
    hub = hub_of(train=rows_of(ROWS[:60]), validation=rows_of(ROWS[60:]))
    monkeypatch.setattr("datasets.load_dataset", hub)
    headlines = load_headlines(HeadlinesConfig())
    assert pairs(headlines.test) == list(ROWS[60:])
    assert everything(headlines) == dict(ROWS)
    names = ["Neutral", "Bullish", "negative"]
    turned = [(t, names.index((["negative", "Bullish", "Neutral"])[y])) for t, y in ROWS]
    hub = hub_of(train=rows_of(turned[:60], names), validation=rows_of(turned[60:], names))
    monkeypatch.setattr("datasets.load_dataset", hub)
    assert everything(load_headlines(HeadlinesConfig(label_map="negative=Bearish"))) == dict(ROWS)


def test_hub_without_the_split_or_the_columns(monkeypatch: pytest.MonkeyPatch, reachable: None) -> None:
    """A sentence that names what is there."""
    monkeypatch.setattr("datasets.load_dataset", hub_of(train=rows_of(ROWS), testing=rows_of(ROWS)))
    with pytest.raises(UserError, match="no split 'validation' but train, testing"):
        load_headlines(HeadlinesConfig())
    monkeypatch.setattr("datasets.load_dataset", hub_of(train=rows_of(ROWS), validation=rows_of(ROWS)))
    with pytest.raises(UserError, match="no column 'title' but text, label"):
        load_headlines(HeadlinesConfig(text_column="title"))


def test_missing_hub_fails_fast_and_names_the_ways_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """No network: one sentence within seconds, naming the offline preset and the flag for a file."""

    def no_network(*args: Any, **kwargs: Any) -> None:
        raise OSError("no route")

    class Session:
        head = no_network

    monkeypatch.setattr("huggingface_hub.get_session", Session)
    started = time.perf_counter()
    with pytest.raises(UserError, match=r"cannot be reached.*--preset demo.*--source FILE") as caught:
        load_headlines(HeadlinesConfig(source="someone/no-such-data-set"))
    assert time.perf_counter() - started < 10
    assert "\n" not in str(caught.value)


# --- bad input -----------------------------------------------------------------------------------------

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


@pytest.mark.parametrize("label_map", ["negative", "negative=Sad", "=Bearish", "a=Bearish,a=Bullish", "a=Bearish,"])
def test_bad_label_maps(label_map: str) -> None:
    with pytest.raises(UserError, match="the label map"):
        load_headlines(HeadlinesConfig(source="sample", label_map=label_map))


def test_a_headline_of_one_megabyte_is_read(tmp_path: Path) -> None:
    """It is kept as written; the tokenizer cuts it."""
    for name, write in (("a.csv", csv_text), ("a.jsonl", jsonl_text)):
        started = time.perf_counter()
        headlines = load(tmp_path, name, write([*ROWS, ("rally " * 170_000, 1)]))
        assert max(len(t) for t in everything(headlines)) == 1_020_000
        assert time.perf_counter() - started < 5


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
