"""The how-to of scores: its Python blocks run one after the other on the made-up table that they write."""

import re
from pathlib import Path

import pytest

from sae_pipeline.__main__ import main
from tests.conftest import SmallStudy

PAGE = Path(__file__).parent.parent.parent / "docs" / "score.md"


def test_the_regression_of_the_page(
    study: SmallStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The table is written, scored and read, and each regression prints an R² before or after the cut-off."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    reading, in_polars, table, *regressions = blocks
    assert "polars" in in_polars and "news.csv" in table and len(regressions) == 2
    monkeypatch.chdir(tmp_path)
    exec(table, {})
    flags = ("--root", str(study.root), "--sae-size", "2k", "--device", "cpu", "--features", "12,345")
    assert main(["score", "news.csv", "--out", "scores", *flags]) == 0
    names: dict[str, object] = {}
    exec(reading, names)
    assert len(names["rows"]) == 600 and set(names["features"]["feature"]) <= {12, 345}  # type: ignore[arg-type,index]
    capsys.readouterr()
    for block in regressions:
        exec(block, {})
        assert "R² " in capsys.readouterr().out
