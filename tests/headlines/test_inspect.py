"""What `inspect` shows of a table."""

from pathlib import Path

import pytest

from sae_pipeline.__main__ import main
from sae_pipeline.config import HeadlinesConfig
from sae_pipeline.errors import UserError
from sae_pipeline.headlines import inspect as inspection
from sae_pipeline.headlines.inspect import inspect
from tests.support.tables import csv_text

TABLE = "\n".join(
    [
        ";date;Headline;mood",
        "0;2024-01-01;Shares rise;up",
        "1;2024-01-02;Shares fall sharply;down",
        "2;2024-01-03;SHARES  rise www.example.com/a;up",
        "3;2024-01-04;;up",
        "4;2024-01-05;Nothing;",
        "5;2024-01-06;Café opens;up",
    ]
)


def written(folder: Path, data: str, name: str = "a.csv") -> str:
    """The path of a file with this content in Windows-1252."""
    (folder / name).write_bytes(data.encode("cp1252"))
    return str(folder / name)


def test_all_that_is_understood(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The verb prints it and leaves nothing behind."""
    path = written(tmp_path, TABLE)
    assert main(["inspect", path, "--label-column", "mood"]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert printed.out.splitlines() == [
        "table       a.csv: CSV",
        "encoding    Windows-1252",
        "delimiter   semicolon",
        "columns     date, Headline (headline), mood (label)",
        "note        a.csv is not UTF-8; it was read as Windows-1252.",
        "note        a.csv: the first column has no name, so it was taken for an index and left out.",
        "note        a.csv: the headlines are in column 'Headline'.",
        "rows        6, of these 1 with an empty headline, 1 without a label",
        "duplicates  1",
        "characters  median 11, 95 % up to 30, longest 30",
        "words       median 2, 95 % up to 3, longest 3",
        "label       down → down (1), e.g. “Shares fall sharply”",
        "label       up → up (3), e.g. “Shares rise”, “SHARES rise www.example.com/a”",
        "line 2      [up] Shares rise",
        "line 3      [down] Shares fall sharply",
        "line 4      [up] SHARES rise www.example.com/a",
        "line 5      [up]",
        "line 6      [] Nothing",
    ]
    assert [file.name for file in tmp_path.iterdir()] == ["a.csv"]


def test_tables_without_labels_and_without_headlines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Labels are not needed; where no headline is found, the columns and rows are shown, and then what to do."""
    assert main(["inspect", written(tmp_path, "id,text\n1,Up\n")]) == 0
    assert "columns     id, text (headline)\n" in capsys.readouterr().out
    assert main(["inspect", written(tmp_path, "a,b\nUp,x\n")]) == 2
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [
        "table       a.csv: CSV", "encoding    UTF-8", "delimiter   comma", "columns     a, b", "line 2      Up | x",
    ]  # fmt: skip
    assert printed.err == "error: a.csv has no column 'text' but a, b; name it by --text-column.\n"


def test_half_surrogates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They cannot be printed, so a sign stands for them, and a label with one is refused in a sentence."""
    row = r'{"text": "Up", "label": "\ud800", "a\udc00": 1}'
    assert main(["inspect", written(tmp_path, row, "a.jsonl")]) == 2
    printed = capsys.readouterr()
    assert "columns     text (headline), label (label), a\ufffd\n" in printed.out
    assert "line 1      [\ufffd] Up\n" in printed.out
    assert printed.err == "error: a.jsonl, line 1: the label holds half a surrogate pair.\n"
    assert main(["inspect", str(tmp_path / "a.jsonl"), "--label-column", ""]) == 0
    assert "columns     text (headline), label, a\ufffd\n" in capsys.readouterr().out


def test_labels_that_are_no_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Free text as a label is counted up to a limit, and the sentence of a study says that these are no classes."""
    rows = [(f"Headline {i}", f"Word {i // 2}") for i in range(400)]
    path = written(tmp_path, csv_text(rows))
    found = inspect(HeadlinesConfig(source=path))
    assert found.problem is not None and "200 different labels" in found.problem
    assert "label       Word 0 (2)" in found.lines() and "label       and 180 more" in found.lines()
    monkeypatch.setattr(inspection, "MAX_LABELS", 160)
    found = inspect(HeadlinesConfig(source=path))
    assert "label       and at least 140 more" in found.lines()
    assert len(found.labels.counts) == 160 and found.more_labels == 80


def test_duplicates_are_looked_for_in_bounded_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Among the first headlines alone where there are very many, and this is said."""
    texts = [f"Headline {i % 60}" for i in range(120)]
    path = written(tmp_path, "\n".join(["text", *texts]))
    assert "duplicates  60" in inspect(HeadlinesConfig(source=path)).lines()
    monkeypatch.setattr(inspection, "MAX_KEYS", 50)
    assert "duplicates  50 (among the first 50 different headlines)" in inspect(HeadlinesConfig(source=path)).lines()


def test_a_bad_row_ends_the_counting(tmp_path: Path) -> None:
    """Its sentence is the problem; counts that would be of a part are not shown."""
    found = inspect(HeadlinesConfig(source=written(tmp_path, "text,label\n" + "Up,1\n" * 600 + "Up, up,1\n")))
    assert found.problem == "a.csv, line 602: more fields than columns; put quotes round the headline."
    assert not any(line.startswith(("rows", "label ")) for line in found.lines())
    with pytest.raises(UserError, match="does not exist"):
        inspect(HeadlinesConfig(source="gone.csv"))
