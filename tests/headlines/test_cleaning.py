"""Cleaning follows the rules, on random rows and on the real headlines."""

import random
from collections import Counter
from pathlib import Path

import pytest

from sae_pipeline.config import HeadlinesConfig
from sae_pipeline.headlines.dataset import load_headlines
from sae_pipeline.headlines.text import normalise
from tests.support.tables import csv_text, load, pairs


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


def test_real_headlines_are_cleaned_as_counted(real_data: Path) -> None:
    """The real files: counts of empties, duplicates, conflicts and leaks."""
    headlines = load_headlines(
        HeadlinesConfig(source=str(real_data / "sent_train.csv"), test_source=str(real_data / "sent_valid.csv"))
    )
    train, test = headlines.report.train, headlines.report.test
    assert (train.read, train.empty, train.conflicting, train.duplicates, train.in_test) == (9543, 3, 4, 104, 32)
    assert (test.read, test.kept) == (2388, 2377)
    lines = headlines.report.lines()
    assert any(line.split() == ["train+dev", "9,543", "0", "3", "4", "104", "32", "9,400"] for line in lines)
