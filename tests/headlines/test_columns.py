"""Columns that are found by their usual names, or named by the user."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sae_pipeline.errors import UserError
from sae_pipeline.headlines.columns import LABEL_NAMES, TEXT_NAMES, Columns, find_columns
from tests.support.tables import ROWS, csv_text, everything, load

Named = tuple[str | None, str | None]


@pytest.mark.parametrize(
    ("columns", "named", "found", "note"),
    [
        (("text", "label"), (None, None), ("text", "label", ()), None),
        (("label", "id", "text"), (None, None), ("text", "label", ("id",)), None),
        (("id", "News_Data", "STANCE"), (None, None), ("News_Data", "STANCE", ("id",)), "column 'News_Data' and"),
        (
            ("title", "content", "class"),
            (None, None),
            ("title", "class", ("content",)),
            "are in column 'title'",
        ),
        (("Text", "text", "label"), (None, None), ("text", "label", ("Text",)), None),
        (
            ("tweet", "rating", "target"),
            (None, None),
            ("tweet", "target", ("rating",)),
            "labels are in column 'target'",
        ),
        (("text", "label", "mood"), (None, "mood"), ("text", "mood", ("label",)), None),
        (("Body", "Mood"), ("body", "mood"), ("Body", "Mood", ()), "column 'Body' and the labels are in column 'Mood'"),
        (("label", "target"), ("label", None), ("label", "target", ()), "labels are in column 'target'"),
    ],
)
def test_columns_are_found(
    columns: tuple[str, ...], named: Named, found: tuple[str, str, tuple[str, ...]], note: str | None
) -> None:
    """The user's name first, then usual names in order of preference; another name than asked for is said."""
    result = find_columns(columns, "a.csv", *named)
    assert (result.text, result.label, result.others) == found
    assert [note is not None and note in line for line in result.notes] == [True] * (note is not None)


@pytest.mark.parametrize(
    ("columns", "named", "message"),
    [
        (("a", "b"), (None, None), "has no column 'text' but a, b; name it by --text-column."),
        (("text", "b"), (None, None), "has no column 'label' but text, b; name it by --label-column."),
        (("text", "label"), ("x", None), "has no column 'x' but text, label; name it by --text-column."),
        (("text", "label"), (None, "x"), "has no column 'x' but text, label; name it by --label-column."),
        (
            tuple(f"c{n}" for n in range(300)),
            (None, None),
            f"has no column 'text' but {', '.join(f'c{n}' for n in range(20))} and 280 more; name it by --text-column.",
        ),
        (("text", "label"), (None, ""), "needs labels for this command; name their column by --label-column."),
        ((), (None, None), "has no column 'text' but none; name it by --text-column."),
    ],
)
def test_missing_columns(columns: tuple[str, ...], named: Named, message: str) -> None:
    """The message names the columns there are, and the flag."""
    with pytest.raises(UserError) as caught:
        find_columns(columns, "a.csv", *named)
    assert str(caught.value) == f"a.csv {message}"


def test_tables_without_labels() -> None:
    """They are read where no label is needed; a label column that is named must be there."""
    assert find_columns(("id", "text"), "a.csv", need_label=False) == Columns("text", None, ("id",), ())
    assert find_columns(("text", "Label"), "a.csv", need_label=False).label == "Label"
    assert find_columns(("text", "label"), "a.csv", None, "", need_label=False) == Columns("text", None, ("label",), ())
    with pytest.raises(UserError, match="no column 'mood'"):
        find_columns(("id", "text"), "a.csv", label_column="mood", need_label=False)


@given(st.sampled_from(TEXT_NAMES), st.sampled_from(LABEL_NAMES), st.sampled_from([str.upper, str.title, str.lower]))
def test_case_and_underscores_do_not_matter(text: str, label: str, spelt: Callable[[str], str]) -> None:
    columns = ("id", spelt(label), spelt(text).replace(" ", "_"))
    found = find_columns(columns, "a.csv")
    assert (found.text, found.label) == (columns[2], columns[1])


def test_columns_of_a_file(tmp_path: Path) -> None:
    """What was found is in the report, and nothing else changes."""
    headlines = load(tmp_path, "a.csv", csv_text([(y, t) for t, y in ROWS], header=(" Sentiment", "Sentence ")))
    assert {t.replace("\r\n", "\n"): y for t, y in everything(headlines).items()} == dict(ROWS)
    assert headlines.report.notes == (
        "a.csv: the headlines are in column 'Sentence' and the labels are in column 'Sentiment'.",
    )
