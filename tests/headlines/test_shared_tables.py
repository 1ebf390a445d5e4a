"""Tables as people have them: what is right for each stands in the README beside them."""

import re
from pathlib import Path

import pytest

from sae_pipeline.config import HeadlinesConfig
from sae_pipeline.errors import UserError
from sae_pipeline.headlines.dataset import load_headlines
from sae_pipeline.headlines.inspect import inspect
from sae_pipeline.headlines.labels import FINANCIAL
from tests.support.tables import everything

Expected = tuple[tuple[str, ...], int, str, str]
"""The classes, the number of headlines, the class of the first one, and a line of the report."""

NUMBERED = (FINANCIAL, 120, "Bullish", "The numbers 0, 1 and 2 were read as Bearish, Bullish, Neutral")
NUMBERED_FILES = (
    "floats.csv", "bom.csv", "utf16.csv", "semi.csv", "crlf.csv", "cr.csv", "nl.csv", "odd.csv", "emptylabel.csv",
    "arr.json", "lines.json", "cols.json", "plain.csv.gz",
)  # fmt: skip
SENTIMENTS = ("negative", "neutral", "positive", "very negative", "very positive")
READ: dict[str, Expected] = {
    **dict.fromkeys(NUMBERED_FILES, NUMBERED),
    "names.csv": (FINANCIAL, 120, "Bullish", "positive → Bullish (40)"),
    "names2.csv": (FINANCIAL, 120, "Bullish", "Positive → Bullish (40)"),
    "Sentences_AllAgree.txt": (FINANCIAL, 120, "Bullish", "read as Windows-1252"),
    "all-data.csv": (FINANCIAL, 120, "Bullish", "has no header; its columns were taken as label, text"),
    "headerless.csv": (FINANCIAL, 120, "Bullish", "has no header; its columns were taken as text, label"),
    "train.csv": (FINANCIAL, 120, "Bullish", "the first column has no name"),
    "extra.csv": (FINANCIAL, 120, "Bullish", "the first column has no name"),
    "na.csv": (FINANCIAL, 125, "Bullish", "2 → Neutral (41)"),
    "caps.csv": (FINANCIAL, 120, "Bullish", "headlines are in column 'Text' and the labels are in column 'Label'"),
    "ss.csv": (FINANCIAL, 120, "Bullish", "in column 'Sentence' and the labels are in column 'Sentiment'"),
    "two.csv": (("negative", "positive"), 80, "positive", "positive → positive (40)"),
    "five.csv": (SENTIMENTS, 120, "very negative", "very negative → very negative (24)"),
    "fomc.csv": (("dovish", "hawkish", "neutral"), 120, "hawkish", "hawkish → hawkish (40)"),
    "tf.csv": (("False", "True"), 120, "True", "False → False (80)"),
}
REFUSED = {
    "m101.csv": "the labels -1, 0, 1, whose meaning is not known: say it by --label-map",
    "123.csv": "the labels 1, 2, 3, whose meaning is not known: say it by --label-map",
    "labelx.csv": "the labels LABEL_0, LABEL_1, LABEL_2, whose meaning is not known.*--label-names",
    "nest.jsonl": "label is an object in line 1",
    "workbook_named.csv": "workbook_named.csv is not a readable Excel workbook",
    "one.csv": "no column 'label' but text; name it by --label-column",
}


def config(shared_tables: Path, name: str, **changes: str) -> HeadlinesConfig:
    """One of the tables as a source."""
    return HeadlinesConfig.model_validate({"source": str(shared_tables / name), **changes})


def test_every_table_is_tried(shared_tables: Path) -> None:
    assert {path.name for path in shared_tables.iterdir()} - {"README.md"} == READ.keys() | REFUSED.keys()


@pytest.mark.parametrize("name", READ)
def test_tables_that_are_read(shared_tables: Path, name: str) -> None:
    """As headlines, and in what `inspect` shows."""
    names, n_headlines, first, line = READ[name]
    headlines = load_headlines(config(shared_tables, name))
    labels = everything(headlines)
    assert (headlines.names, len(labels)) == (names, n_headlines)
    assert names[next(label for text, label in labels.items() if text.startswith("Company 0 "))] == first
    assert line in "\n".join(headlines.report.lines())
    found = inspect(config(shared_tables, name))
    assert line in "\n".join(found.lines()) and found.problem is None
    assert found.rows - found.without_label == n_headlines
    assert (found.empty, found.duplicates, found.without_label) == (0, 0, 2 * (name == "emptylabel.csv"))


def test_letters_are_intact(shared_tables: Path) -> None:
    """Accents, emoji, invisible marks, entities and line breaks stay as written."""
    for name, part in (
        ("Sentences_AllAgree.txt", "mn äö"),
        ("all-data.csv", "£ é"),
        ("odd.csv", "AT&amp;T \u200b🚀 \u202e"),
        ("nl.csv", '0\nsecond "line", done'),
    ):
        texts = everything(load_headlines(config(shared_tables, name)))
        assert all(part in text for text in texts if text.startswith("Company 0 ")), name


def test_other_columns_stay(shared_tables: Path) -> None:
    assert load_headlines(config(shared_tables, "extra.csv")).train.columns.keys() == {"date", "ticker"}


@pytest.mark.parametrize("name", REFUSED)
def test_tables_that_are_refused(shared_tables: Path, name: str) -> None:
    """One sentence says what is wrong, or which flag to use."""
    with pytest.raises(UserError, match=REFUSED[name]):
        load_headlines(config(shared_tables, name))
    if name == "workbook_named.csv":
        with pytest.raises(UserError, match=REFUSED[name]):
            inspect(config(shared_tables, name))
    elif name == "one.csv":
        assert inspect(config(shared_tables, name)).problem is None
        assert len(everything(load_headlines(config(shared_tables, name), ("down", "up")))) == 120
    else:
        assert re.search(REFUSED[name], inspect(config(shared_tables, name)).problem or "")


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("m101.csv", {"label_map": "-1=Bearish,0=Neutral,1=Bullish"}),
        ("123.csv", {"label_map": "1=Bearish,2=Bullish,3=Neutral"}),
        ("labelx.csv", {"label_names": FINANCIAL}),
        ("all-data.csv", {"columns": ("label", "text")}),
    ],
)
def test_flags_answer_what_is_asked(shared_tables: Path, name: str, changes: dict[str, str]) -> None:
    """With the flag that the sentence names, the table is read."""
    headlines = load_headlines(config(shared_tables, name, **changes))
    labels = everything(headlines)
    assert (headlines.names, len(labels)) == (FINANCIAL, 120)
    assert all(label == ("rise" in text) + 2 * ("unchanged" in text) for text, label in labels.items())
    assert inspect(config(shared_tables, name, **changes)).problem is None
