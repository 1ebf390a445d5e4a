"""Tokenised headlines with their words and offsets, the positions that count, and padded batches."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sae_pipeline.headlines.text import link_spans
from sae_pipeline.machine.transfers import to_device
from sae_pipeline.schema.common import PER_HEADLINE, PositionKind, n_vectors

# A word is a ticker, a number with its sign and unit, letters with the marks among them, or a single mark.
_WORD = re.compile(r"\$[A-Za-z][\w.]*\b|[+-]?[$€£]?\d+(?:[.,]\d+)*%?|\w+(?:['’.&-]\w+)*|\S")


@dataclass(frozen=True)
class TokenizedHeadline:
    """One headline as the classifier reads it. All lists have one entry per token, special tokens included."""

    text: str
    input_ids: list[int]
    tokens: list[str]
    starts: list[int]  # code points into `text`, half open; 0, 0 for special tokens
    ends: list[int]
    words: list[int]  # 0-based word, -1 for special tokens
    is_cut: bool = False  # whether the text goes on after the last token

    def word_at(self, position: int) -> str:
        """The whole word, as written, of the token at `position`; the token itself where it is special."""
        word = self.words[position]
        if word < 0:
            return self.tokens[position]
        members = [i for i, w in enumerate(self.words) if w == word]
        return self.text[self.starts[members[0]] : self.ends[members[-1]]]

    def fired_on(self, position: int, positions: PositionKind) -> tuple[str, str]:
        """The token and the word of a firing at `position`; both empty where it is one of the headline as a whole."""
        if positions in PER_HEADLINE:
            return "", ""
        return self.tokens[position], self.word_at(position)

    def counted(self, positions: PositionKind) -> list[int]:
        """The 0-based positions that are read: those of words (also for `mean`), all of them, or the first one."""
        if positions == "all":
            return list(range(len(self.words)))
        if positions == "cls":
            return [0]
        return [i for i, word in enumerate(self.words) if word >= 0]

    def n_vectors(self, positions: PositionKind) -> int:
        """The number of vectors that an SAE trained on `positions` reads in this headline."""
        return n_vectors(self.words, positions)


def tokenize(tokenizer: Any, texts: Sequence[str], max_length: int, strip_links: bool) -> list[TokenizedHeadline]:
    """Tokenise headlines with a fast Hugging Face tokenizer, each cut to `max_length` tokens.

    With `strip_links` the tokenizer does not see links; offsets still point into the text as written. The white space
    that GPT-2's and Llama's tokens begin with is no part of a word. A text in which such a tokenizer finds nothing is
    read as its end of text. Where a text itself holds the name of a special token, such as </s>, it is read as text.
    """
    if not texts:
        return []
    stripped, sources = zip(*(_without_links(text) if strip_links else (text, None) for text in texts), strict=True)
    encoded = tokenizer(
        list(stripped),
        truncation=True,
        max_length=max_length,
        return_offsets_mapping=True,
        return_special_tokens_mask=True,
        return_attention_mask=False,
        return_token_type_ids=False,
        split_special_tokens=True,
    )
    result = []
    for i, text in enumerate(texts):
        ids, special = encoded["input_ids"][i], encoded["special_tokens_mask"][i]
        read, source = stripped[i], sources[i]
        starts, ends = [], []
        for (start, end), is_special in zip(encoded["offset_mapping"][i], special, strict=True):
            while start < end and read[start].isspace():
                start += 1
            if is_special or start == end:
                start, end = 0, 0
            elif source is not None:
                start, end = source[start], source[end - 1] + 1
            starts.append(start)
            ends.append(end)
        if not ids:
            ids, starts, ends = [tokenizer.eos_token_id], [0], [0]
        tokens = tokenizer.convert_ids_to_tokens(ids)
        words = _words(text, starts, ends)
        is_cut = bool(encoded.encodings[i].overflowing)
        result.append(TokenizedHeadline(text, ids, tokens, starts, ends, words, is_cut))
    return result


def length_batches(
    lengths: Sequence[int], tokens_per_batch: int, equal_lengths: bool = False
) -> list[NDArray[np.int64]]:
    """Group headlines, as indices, into batches of similar length, longest first.

    A batch with its padding stays within `tokens_per_batch`, unless a single headline is longer. With `equal_lengths`
    a batch holds headlines of one length, so that there is no padding.
    """
    known = np.asarray(lengths, dtype=np.int64)
    order = np.argsort(-known, kind="stable")
    batches, start = [], 0
    while start < len(order):
        longest = known[order[start]]
        size = max(1, tokens_per_batch // max(1, longest))
        if equal_lengths:
            size = min(size, int(np.searchsorted(-known[order], -longest, side="right")) - start)
        batches.append(order[start : start + size])
        start += size
    return batches


def shuffled_batches(lengths: Sequence[int], batch_size: int, seed: Sequence[int]) -> list[NDArray[np.int64]]:
    """Group all headlines, as indices, into random batches of similar length; the same seed gives the same batches.

    Pools of 50 batches are drawn at random and each is sorted by length, so that little is padded. Then the batches are
    shuffled.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(lengths))
    known = np.asarray(lengths)
    batches = []
    for start in range(0, len(order), 50 * batch_size):
        pool = order[start : start + 50 * batch_size]
        pool = pool[np.argsort(-known[pool], kind="stable")]
        batches += [pool[i : i + batch_size] for i in range(0, len(pool), batch_size)]
    return [batches[i] for i in rng.permutation(len(batches))]


def collate(headlines: Sequence[TokenizedHeadline], pad_id: int) -> tuple[Tensor, Tensor]:
    """Pad headlines to `input_ids` and `attention_mask`, both int64 [n_headlines, longest]."""
    longest = max(len(h.input_ids) for h in headlines)
    input_ids = np.full((len(headlines), longest), pad_id, dtype=np.int64)
    mask = np.zeros_like(input_ids)
    for row, headline in enumerate(headlines):
        n = len(headline.input_ids)
        input_ids[row, :n] = headline.input_ids
        mask[row, :n] = 1
    return torch.from_numpy(input_ids), torch.from_numpy(mask)


PaddedBatch: TypeAlias = tuple[NDArray[np.int64], list[TokenizedHeadline], Tensor, Tensor]
"""Indices [n_headlines], the headlines, and `input_ids` and `attention_mask`, both int64 [n_headlines, longest]."""


def padded_batches(
    headlines: Sequence[TokenizedHeadline],
    batches: Iterable[NDArray[np.int64]],
    pad_id: int,
    device: torch.device,
) -> Iterator[PaddedBatch]:
    """Yield each batch of headlines, given as indices, ready for the model on `device`."""
    for rows in batches:
        members = [headlines[i] for i in rows]
        input_ids, mask = collate(members, pad_id)
        yield rows, members, to_device(input_ids, device), to_device(mask, device)


def counted_mask(headlines: Sequence[TokenizedHeadline], positions: PositionKind) -> Tensor:
    """The positions that are read, bool [n_headlines, longest]; padding never is."""
    longest = max(len(h.input_ids) for h in headlines)
    mask = np.zeros((len(headlines), longest), dtype=bool)
    for row, headline in enumerate(headlines):
        mask[row, headline.counted(positions)] = True
    return torch.from_numpy(mask)


def _without_links(text: str) -> tuple[str, list[int] | None]:
    """The text without its links, and the index in the text as written of each code point that remains.

    There are no indices (None) where the text has no links.
    """
    spans = link_spans(text)
    if not spans:
        return text, None
    kept: list[int] = []
    start = 0
    for link_start, link_end in spans:
        kept.extend(range(start, link_start))
        start = link_end
    kept.extend(range(start, len(text)))
    return "".join(text[i] for i in kept), kept


def _words(text: str, starts: Sequence[int], ends: Sequence[int]) -> list[int]:
    """The 0-based word of each token; tokens that cover no text (specials) get -1."""
    word_ends = _word_ends(text)
    number_of: dict[int, int] = {}  # words without tokens, such as links that were left out, get no number
    words = []
    for start, end in zip(starts, ends, strict=True):
        if start == end:
            words.append(-1)
            continue
        word = int(np.searchsorted(word_ends, start, side="right"))
        words.append(number_of.setdefault(word, len(number_of)))
    return words


def _word_ends(text: str) -> list[int]:
    """The end of each word of `text`, ascending, in code points. A link is one word."""
    links = iter([*link_spans(text), (len(text), len(text))])
    link_start, link_end = next(links)
    found: list[int] = []
    cursor = 0
    while cursor < len(text):
        if cursor == link_start:
            cursor = link_end
            link_start, link_end = next(links)
            found.append(cursor)
        elif match := _WORD.match(text, cursor, link_start):
            cursor = match.end()
            found.append(cursor)
        else:
            cursor += 1
    return found
