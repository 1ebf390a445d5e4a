"""The built-in sample: always the same, varied, and ours."""

import csv
import re
from collections import Counter
from pathlib import Path

import pytest

from sae_pipeline.config import HeadlinesConfig
from sae_pipeline.headlines.dataset import load_headlines
from sae_pipeline.headlines.sample import CLASS_SIZES, sample_headlines
from sae_pipeline.headlines.text import normalise


def test_sample_is_the_same_everywhere() -> None:
    """Deterministic to the letter. A changed sample.txt changes the hash: measure it, then pin the new one."""
    headlines = load_headlines(HeadlinesConfig(source="sample"))
    assert headlines.data_hash == "1413ef050df6"
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
