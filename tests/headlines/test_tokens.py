"""Tokens: offsets into the text as written, words, batches, counted positions."""

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import processors

from sae_pipeline.classifier.pretrained import load_pretrained
from sae_pipeline.headlines.tokens import (
    collate,
    counted_mask,
    length_batches,
    padded_batches,
    shuffled_batches,
    tokenize,
)
from tests.support.families import family


@cache
def minilm() -> Any:
    """MiniLM's tokenizer, for Hypothesis too, which takes no fixture."""
    return load_pretrained("minilm").tokenizer


@pytest.fixture
def tokenizer() -> Any:
    """MiniLM's tokenizer."""
    return minilm()


def one(tokenizer: Any, text: str, strip_links: bool = True) -> Any:
    """Tokenise one headline."""
    return tokenize(tokenizer, [text], 128, strip_links)[0]


def words_of(headline: Any) -> list[str]:
    """The words, as written, in order."""
    seen = dict.fromkeys(w for w in headline.words if w >= 0)
    return [headline.word_at(headline.words.index(w)) for w in seen]


def test_pieces_merge_to_words_as_written(tokenizer: Any) -> None:
    """Tickers, decimals, percentages and hyphenated words stay whole; marks stand alone."""
    headline = one(tokenizer, "$TSLA: Q3 EPS up +12.5% at well-known Deliveroo’s, says J.P. Morgan!")
    assert words_of(headline) == [
        "$TSLA", ":", "Q3", "EPS", "up", "+12.5%", "at", "well-known", "Deliveroo’s", ",", "says", "J.P", ".",
        "Morgan", "!",
    ]  # fmt: skip
    assert headline.tokens[0] == "[CLS]" and headline.words[0] == -1
    assert headline.tokens[-1] == "[SEP]" and headline.words[-1] == -1


def test_names_of_special_tokens_are_text(tokenizer: Any) -> None:
    """A headline cannot end itself, which would change what a classifier reads of it."""
    headline = one(tokenizer, "Oil [SEP] falls")
    assert headline.tokens.count("[SEP]") == 1 and words_of(headline) == ["Oil", "[", "SEP", "]", "falls"]


def test_tokens_that_begin_with_white_space() -> None:
    """Tokens of GPT-2's kind begin with a space, which belongs to no word; a text of nothing is an end of text."""
    _, tokens = family("gpt2")
    tokens.backend_tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)  # no token before the text
    headline, nothing = tokenize(tokens, ["Oil  prices fall", "https://t.co/a"], 64, strip_links=True)
    assert words_of(headline) == ["Oil", "prices", "fall"] and headline.tokens[0] == "O"
    assert not any(headline.text[start].isspace() for start in np.array(headline.starts)[np.array(headline.words) >= 0])
    assert nothing.tokens == ["</s>"] and nothing.words == [-1]


def test_links_leave_but_offsets_stay(tokenizer: Any) -> None:
    """A link in the middle is not tokenised; what follows it points past it in the text as written."""
    text = "Shares https://t.co/AbC123 surge"
    headline = one(tokenizer, text)
    assert headline.tokens == ["[CLS]", "shares", "surge", "[SEP]"]
    assert [text[s:e] for s, e in zip(headline.starts, headline.ends, strict=True)] == ["", "Shares", "surge", ""]
    kept = one(tokenizer, text, strip_links=False)
    assert "https://t.co/AbC123" in words_of(kept)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
@settings(max_examples=150, deadline=None)
def test_offsets_are_code_points(text: str) -> None:
    """For any text: columns are parallel, offsets ascend inside the text, words ascend from 0."""
    headline = one(minilm(), text)
    n = len(headline.input_ids)
    assert len(headline.tokens) == len(headline.starts) == len(headline.ends) == len(headline.words) == n
    spans = [(s, e) for s, e, w in zip(headline.starts, headline.ends, headline.words, strict=True) if w >= 0]
    assert all(0 <= s < e <= len(text) for s, e in spans)
    assert spans == sorted(spans)
    numbers = [w for w in headline.words if w >= 0]
    assert numbers == sorted(numbers) and set(numbers) == set(range(len(set(numbers))))


def test_position_kinds(tokenizer: Any) -> None:
    """`words` leaves special tokens and padding out; `all` leaves padding out."""
    headlines = tokenize(tokenizer, ["Shares surge", "Up"], 128, True)
    input_ids, mask = collate(headlines, tokenizer.pad_token_id)
    assert input_ids.tolist()[1][3] == tokenizer.pad_token_id and mask.tolist() == [[1, 1, 1, 1], [1, 1, 1, 0]]
    assert counted_mask(headlines, "words").tolist() == [[False, True, True, False], [False, True, False, False]]
    assert counted_mask(headlines, "all").tolist() == [[True] * 4, [True, True, True, False]]


@given(st.lists(st.integers(1, 300), max_size=80), st.integers(128, 2000))
def test_length_batches_cover_everything_within_the_budget(lengths: list[int], budget: int) -> None:
    """Every headline once; padded size within the budget unless a single headline exceeds it."""
    batches = length_batches(lengths, budget)
    assert sorted(np.concatenate(batches).tolist() if batches else []) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or max(lengths[i] for i in batch) * len(batch) <= budget


@given(st.lists(st.integers(1, 300), max_size=300), st.integers(1, 5), st.integers(0, 3))
def test_shuffled_batches_cover_everything(lengths: list[int], batch_size: int, seed: int) -> None:
    """Every headline once, in full batches but for the last one drawn; the same seed gives the same batches."""
    batches = shuffled_batches(lengths, batch_size, (seed, 0))
    assert sorted(np.concatenate(batches).tolist() if batches else []) == list(range(len(lengths)))
    assert len(batches) == -(-len(lengths) // batch_size) and all(len(batch) <= batch_size for batch in batches)
    again = shuffled_batches(lengths, batch_size, (seed, 0))
    assert [batch.tolist() for batch in again] == [batch.tolist() for batch in batches]


def test_padded_batches_hold_the_headlines_that_were_asked_for(tokenizer: Any) -> None:
    """Rows, headlines and tensors belong together, in the order of the indices."""
    headlines = tokenize(tokenizer, ["Shares surge on record profit", "Up", "Fed holds"], 128, True)
    pad, batches = tokenizer.pad_token_id, [np.array([2, 0]), np.array([1])]
    found = list(padded_batches(headlines, batches, pad, torch.device("cpu")))
    assert [rows.tolist() for rows, *_ in found] == [[2, 0], [1]]
    for rows, members, input_ids, mask in found:
        assert members == [headlines[i] for i in rows]
        for member, ids, counts in zip(members, input_ids, mask, strict=True):
            n = len(member.input_ids)
            assert ids.tolist() == member.input_ids + [pad] * (len(ids) - n)
            assert counts.tolist() == [1] * n + [0] * (len(ids) - n)


def test_long_headline_is_cut(tokenizer: Any) -> None:
    """A 1 MB headline is cut to max_length."""
    headline = one(tokenizer, "surge " * 170_000)
    assert len(headline.input_ids) == 128
