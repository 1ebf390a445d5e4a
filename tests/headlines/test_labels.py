"""Columns and labels that are named by the user."""

from pathlib import Path

import pytest

from sae_pipeline.config import HeadlinesConfig
from sae_pipeline.errors import UserError
from sae_pipeline.headlines.dataset import load_headlines
from tests.support.tables import ROWS, csv_text, everything, load


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


@pytest.mark.parametrize("label_map", ["negative", "negative=Sad", "=Bearish", "a=Bearish,a=Bullish", "a=Bearish,"])
def test_bad_label_maps(label_map: str) -> None:
    with pytest.raises(UserError, match="the label map"):
        load_headlines(HeadlinesConfig(source="sample", label_map=label_map))
