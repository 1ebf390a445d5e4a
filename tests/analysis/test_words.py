"""Counts of words against brute force over a dense array."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sae_pipeline.analysis.words import WordCounts, word_texts
from tests.analysis.dense import D_SAE, DENSE, N_HEADLINES, N_POSITIONS, firings_of


@given(DENSE, st.integers(1, N_HEADLINES - 1))
@settings(max_examples=50, deadline=None)
def test_words_of_a_feature(dense: np.ndarray, cut: int) -> None:
    """Counts of words, not of their pieces, equal brute force, and merge."""
    texts = ["Up UP, down", "up we go", "down, down a", "no up no", "Go up go", "x up y"]
    spans = [
        ([0, 3, 5, 7], [2, 5, 6, 11], [0, 1, 2, 3]),
        ([0, 3, 6, 7], [2, 5, 7, 8], [0, 1, 2, 2]),
        ([0, 4, 6, 11], [4, 5, 10, 12], [0, 1, 2, 3]),
        ([0, 3, 6, 0], [2, 5, 8, 0], [0, 1, 2, -1]),
        ([0, 3, 6, 0], [2, 5, 8, 0], [0, 1, 2, -1]),
        ([0, 2, 3, 5], [1, 3, 4, 6], [0, 1, 1, 2]),
    ]
    numbers = [span[2] for span in spans]
    words = [word_texts(text, *span) for text, span in zip(texts, spans, strict=True)]
    assert words[1] == ["up", "we", "go", "go"] and words[3][3] == ""
    whole, first, second = WordCounts(D_SAE), WordCounts(D_SAE), WordCounts(D_SAE)
    whole.add(firings_of(dense), 0, numbers, words)
    first.add(firings_of(dense[:cut]), 0, numbers[:cut], words[:cut])
    second.add(firings_of(dense[cut:], cut), cut, numbers[cut:], words[cut:])
    occurrences = [
        (words[h][positions[0]].casefold(), dense[h, positions].max(0) > 0)
        for h in range(N_HEADLINES)
        for word in sorted({*numbers[h]} - {-1})
        if (positions := [p for p in range(N_POSITIONS) if numbers[h][p] == word])
    ]
    fired = sum(f.astype(int) for _, f in occurrences)
    merged = (first + second).typical(np.arange(D_SAE), 50)
    for f, found in enumerate(whole.typical(np.arange(D_SAE), 50)):
        expected = {}
        for word in {w for w, _ in occurrences}:
            total = sum(w == word for w, _ in occurrences)
            count = sum(bool(fires[f]) for w, fires in occurrences if w == word)
            lift = count / total / (fired[f] / len(occurrences)) if count else 0
            if lift > 1 + 1e-9:
                expected[word] = (count, total, pytest.approx(lift, rel=1e-5))
        for records in (found, merged[f]):
            assert {r["word"]: (r["count"], r["total"], r["lift"]) for r in records} == expected
