"""Columns and labels that are named by the user."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from sae_pipeline.config import HeadlinesConfig
from sae_pipeline.errors import UserError
from sae_pipeline.headlines.dataset import load_headlines
from sae_pipeline.headlines.labels import FINANCIAL
from tests.support.tables import ROWS, csv_text, everything, load


def test_columns_and_label_map(tmp_path: Path) -> None:
    """Other columns and labels are named by flags; a numbering of the user's replaces ours whole."""
    rows = [(t, ("down", -1, "1.0")[y]) for t, y in ROWS]
    label_map = "down=bearish, -1 = Bullish,1=Neutral"
    config = {"text_column": "headline", "label_column": "mood", "label_map": label_map}
    table = csv_text(rows, header=("headline", "mood"))
    assert set(everything(load(tmp_path, "a.csv", table, **config)).values()) == {0, 1, 2}
    assert everything(load(tmp_path, "a.csv", table, **config)) == dict(ROWS)
    with pytest.raises(UserError, match=r"unknown label '2'; .* --label-map=2=NAME"):
        load(tmp_path, "b.csv", table + "One more,2\n", **config)
    with pytest.raises(UserError, match="gives a meaning to 'upp', which is not a label of"):
        load(tmp_path, "c.csv", table, **{**config, "label_map": f"{label_map},upp=Bullish"})


@pytest.mark.parametrize("label_map", ["negative", "=Bearish", "a=Bearish,a=Bullish", "a=Bearish,"])
def test_bad_label_maps(label_map: str) -> None:
    with pytest.raises(UserError, match="the label map"):
        load_headlines(HeadlinesConfig(source="sample", label_map=label_map))


def labelled(labels: Sequence[object]) -> str:
    """A table of 90 headlines that take the labels in turn."""
    return csv_text([(text, labels[n % len(labels)]) for n, (text, _) in enumerate(ROWS)])


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ((" Positive ", "NEGATIVE", "neutral"), ("Bearish", "Bullish", "Neutral")),
        (("bullish", "neutral", "negative"), ("Bearish", "Bullish", "Neutral")),
        (("positive", "negative"), ("negative", "positive")),
        (("True", "False"), ("False", "True")),
        (("hawkish", "dovish", "neutral"), ("dovish", "hawkish", "neutral")),
        (("10 stars", "2 stars", "1 star"), ("1 star", "2 stars", "10 stars")),
        (("2.0", "0.0", "1.0"), ("Bearish", "Bullish", "Neutral")),
    ],
)
def test_classes_are_named_by_the_data(tmp_path: Path, labels: Sequence[str], names: Sequence[str]) -> None:
    """Synonyms and the numbers of the default data set are known; other words are classes in natural order."""
    headlines = load(tmp_path, "a.csv", labelled(labels))
    assert headlines.names == tuple(names)
    lines = headlines.report.mapping
    for label in labels:
        assert any(line.startswith(f"{label.strip()} → ") and "(" in line and "e.g. “" in line for line in lines)


@pytest.mark.parametrize(
    ("labels", "shown"),
    [((-1, 0, 1), "-1, 0, 1"), ((1, 2, 3), "1, 2, 3"), ((0, 1), "0, 1"), ((0, 1, 2, 3), "0, 1, 2, 3"),
     (("LABEL_0", "LABEL_1", "LABEL_2"), "LABEL_0, LABEL_1, LABEL_2"), ((1, "Bearish"), "1")],
)  # fmt: skip
def test_numbers_that_could_mean_anything_are_asked_about(tmp_path: Path, labels: Sequence[object], shown: str) -> None:
    """The flags that the message names work: the map when NAME is filled in, and names where numbers count from 0."""
    with pytest.raises(UserError, match=rf"has the labels {shown}, whose meaning is not known.*--label-map=") as caught:
        load(tmp_path, "a.csv", labelled(labels))
    template = str(caught.value).partition("--label-map=")[2].partition(" ")[0].rstrip(".,")
    for name in ("Bullish",) if "Bearish" in labels else ("down", "up", "flat", "other"):
        template = template.replace("NAME", name, 1)
    assert len(load(tmp_path, "a.csv", labelled(labels), label_map=template).names) == len(labels)
    counts_from_0 = shown in ("0, 1", "0, 1, 2, 3", "LABEL_0, LABEL_1, LABEL_2")
    assert ("--label-names" in str(caught.value)) == counts_from_0


def test_a_map_names_classes_of_its_own(tmp_path: Path) -> None:
    """Its names are classes in the order of the map, unless they are those of the default data set."""
    table = labelled((1, 2, 3))
    assert load(tmp_path, "a.csv", table, label_map="1=negative,2=positive,3=neutral").names == (
        "negative", "positive", "neutral",
    )  # fmt: skip
    assert load(tmp_path, "a.csv", table, label_map="1=neutral,2=bearish,3=Bullish").names == FINANCIAL


def test_a_name_that_is_no_path(tmp_path: Path) -> None:
    """A single name that is too long for a path is one sentence."""
    with pytest.raises(UserError, match="--label-names"):
        load(tmp_path, "a.csv", labelled((0, 1, 2)), label_names=("a" * 300,))


def test_label_names_are_what_numbers_count(tmp_path: Path) -> None:
    """Names are given in order, in the command or in a file; a class that never occurs is missed."""
    names = ["Negative", "Neutral", "Positive"]
    table = labelled((0, 1, 2))
    for given in (names, [str(tmp_path / "names.txt")]):
        (tmp_path / "names.txt").write_text("\n".join(names))
        headlines = load(tmp_path, "a.csv", table, label_names=given)
        assert headlines.names == tuple(names) and everything(headlines) == {t: n % 3 for n, (t, _) in enumerate(ROWS)}
    with pytest.raises(UserError, match="no Angry headline to train on"):
        load(tmp_path, "a.csv", table, label_names=[*names, "Angry"])
    with pytest.raises(UserError, match=r"--label-names has 'same' twice"):
        load(tmp_path, "a.csv", table, label_names=["Same", "same"])


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (labelled((0.25, 0.5, 1.0)), "the label 0.25, a number with decimals"),
        (csv_text([(text, f"a{n}") for n, (text, _) in enumerate(ROWS)]), "no a"),
        (
            csv_text([(f"{text} {n}", n) for n, (text, _) in enumerate(ROWS * 2)]),
            "180 different labels, and at most 150",
        ),
        (labelled(("one",)), "the class one alone, and a classifier needs at least two classes"),
        (labelled(("",)), "a column of labels without any label"),
        (labelled(("0,5", "1,5")), "the label 0,5, a number with decimals"),
        (labelled(("1e-05", "0.1")), "a number with decimals"),
        (labelled(("a", "b" * 101)), "too long for the name of a class"),
        (labelled(("a", "b")) + "One of a kind.,c\n", "no c headline|a single headline of the class c"),
    ],
)
def test_labels_that_are_no_classes(tmp_path: Path, table: str, message: str) -> None:
    """Scores, free text, a single class, none, and classes with one headline are refused in one sentence."""
    with pytest.raises(UserError, match=message) as caught:
        load(tmp_path, "a.csv", table)
    assert "\n" not in str(caught.value)


def test_rows_without_a_label_are_counted(tmp_path: Path) -> None:
    """They leave, and the report says how many."""
    headlines = load(tmp_path, "a.csv", csv_text(ROWS) + "Shares leap,\nShares fall, \n")
    assert headlines.report.train.without_label == 2 and everything(headlines) == dict(ROWS)


def test_other_columns_stay(tmp_path: Path) -> None:
    """They follow their headline into its split, as numbers where all of a column are."""
    rows = [(text, label, f"2024-01-{n % 28 + 1:02}", f"{n}", f"0{n}") for n, (text, label) in enumerate(ROWS)]
    headlines = load(tmp_path, "a.csv", csv_text(rows, header=("text", "label", "date", "number", "code")))
    expected = {text: (date, int(number), code) for text, _, date, number, code in rows}
    for split in (headlines.train, headlines.dev, headlines.test):
        assert list(split.columns) == ["date", "number", "code"]
        for n, text in enumerate(split.texts):
            assert tuple(cells[n] for cells in split.columns.values()) == expected[text]


def test_many_other_columns(tmp_path: Path) -> None:
    """The first 100 stay, and the one that dates the split before them; that is said."""
    names = [f"c{n}" for n in range(120)]
    rows = [(text, label, *(f"2024-{n % 12 + 1:02}-01" for _ in names)) for n, (text, label) in enumerate(ROWS)]
    headlines = load(tmp_path, "a.csv", csv_text(rows, header=("text", "label", *names)), split_by="c119")
    assert list(headlines.test.columns) == ["c119", *names[:99]]
    assert "a.csv has 120 other columns; 100 of them are kept." in headlines.report.notes


def test_split_by_date(tmp_path: Path) -> None:
    """The latest fifth is the test split; headlines of one day stay together."""
    rows = [(text, label, f"2024-{n % 12 + 1:02}-01") for n, (text, label) in enumerate(ROWS)]
    table = csv_text(rows, header=("text", "label", "date"))
    headlines = load(tmp_path, "a.csv", table, split_by="date")
    assert set(headlines.test.columns["date"]) == {f"2024-{month}-01" for month in ("10", "11", "12")}
    assert max(map(str, headlines.train.columns["date"])) < "2024-10"
    assert load(tmp_path, "a.csv", table, split_by=" Date").test == headlines.test
    for bad in ("when", "label"):
        with pytest.raises(UserError, match=rf"has no column '{bad}' to split by but date"):
            load(tmp_path, "a.csv", table, split_by=bad)
    with pytest.raises(UserError, match="give one of them"):
        load(tmp_path, "a.csv", table, split_by="date", test_source=str(tmp_path / "a.csv"))
    with pytest.raises(UserError, match=r"dates are read as 2024-01-31"):
        load(tmp_path, "a.csv", table.replace("2024-03-01", "13/03/2024"), split_by="date")
    with pytest.raises(UserError, match=r"cannot be split by 'date': .*dates are read as 2024-01-31"):
        load(tmp_path, "a.csv", table.replace("2024-03-01", "in March"), split_by="date")
