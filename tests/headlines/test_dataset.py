"""Splits, ids and the hash of a data set."""

import re
from pathlib import Path

import pytest

from sae_pipeline.config import HeadlinesConfig
from sae_pipeline.headlines.dataset import load_headlines
from sae_pipeline.headlines.sample import CLASS_SIZES
from sae_pipeline.headlines.text import headline_id, normalise
from tests.support.tables import ROWS, csv_text, everything, jsonl_text, load, pairs


def test_test_source_and_strip_links(tmp_path: Path) -> None:
    """A test file of the user's is read whole; the sample can be the training data for it."""
    (tmp_path / "test.jsonl").write_text(jsonl_text(ROWS), encoding="utf-8")
    headlines = load_headlines(HeadlinesConfig(source="sample", test_source=str(tmp_path / "test.jsonl")))
    assert pairs(headlines.test) == list(ROWS)
    assert len(headlines.train) + len(headlines.dev) == sum(CLASS_SIZES)


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
