"""A table of the user's own pairs: what is read, and a sentence for everything that is wrong."""

from pathlib import Path

import pytest

from sae_pipeline.contrast.pairs import Pair, chosen_kinds, table_pairs
from sae_pipeline.errors import UserError

LABELS = ("negative", "positive", "neutral")


def table(folder: Path, *lines: str) -> Path:
    path = folder / "pairs.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_a_table_is_read(tmp_path: Path) -> None:
    """Expectations by any name of a class, with and without a kind."""
    path = table(
        tmp_path,
        "kind,before,after,expected",
        "words,Profit is safe,Profit is not safe,Bearish",
        ",Sales up,Sales rise,same",
        "words,A gain,No gain,not  Positive",
    )
    assert table_pairs(path, LABELS) == [
        Pair("words", "table", "Profit is safe", "Profit is not safe", "toward", 0),
        Pair("your pairs", "table", "Sales up", "Sales rise", "same", None),
        Pair("words", "table", "A gain", "No gain", "away", 1),
    ]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (("before,expected", "a,same"), "has no column 'after' but before, expected"),
        (("before,after,expected", "a,b,up"), r"line 2: expected is 'up'; it must be same, one of negative, positive"),
        (("before,after,expected", "a,a,same"), "line 2: the two texts are equal"),
        (("before,after,expected", "x,y,same", "a,,same"), "line 3: after is empty"),
        (("before,after,expected", "a,b,"), "expected is ''"),
        (("before,after,expected,kind", *(f"a,b,same,{n}" for n in range(51))), "line 52: the table has more than 50"),
    ],
)
def test_a_malformed_table(tmp_path: Path, lines: tuple[str, ...], message: str) -> None:
    """The row and what to do."""
    with pytest.raises(UserError, match=message):
        table_pairs(table(tmp_path, *lines), LABELS)


def test_a_class_that_is_called_unchanged(tmp_path: Path) -> None:
    """Its name means the class; the other word still says that the prediction stays."""
    path = table(tmp_path, "before,after,expected", "a,b,unchanged", "a,b,same", "a,b,not unchanged")
    pairs = table_pairs(path, ("up", "down", "unchanged"))
    assert [(pair.expectation, pair.target) for pair in pairs] == [("toward", 2), ("same", None), ("away", 2)]


def test_no_table(tmp_path: Path) -> None:
    """A file that does not exist, and one that is none."""
    with pytest.raises(UserError, match="does not exist"):
        table_pairs(tmp_path / "none.csv", LABELS)
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(UserError, match="is empty"):
        table_pairs(tmp_path / "empty.csv", LABELS)


def test_kinds_by_name_and_by_classes() -> None:
    """Synonyms of the three classes have all kinds; other classes have those of invariance, and a sentence."""
    assert len(chosen_kinds((), LABELS)[0]) == 12 and chosen_kinds((), LABELS)[1] == []
    kinds, (sentence,) = chosen_kinds((), ("sports", "politics"))
    assert {kind.expectation for kind in kinds} == {"same"} and "Direction flipped" in sentence
    assert [kind.name for kind in chosen_kinds(("retweet", "retweet"), LABELS)[0]] == ["retweet"]
    with pytest.raises(UserError, match="no kind of change 'rt'; choose from company,"):
        chosen_kinds(("rt",), LABELS)
