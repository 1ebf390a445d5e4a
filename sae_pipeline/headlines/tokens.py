"""From headlines to tokens: offsets into the text as written, words, and which positions count."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sae_pipeline.headlines.text import link_spans
from sae_pipeline.schema.common import PositionKind

# A word as a reader sees it: a ticker, a number with its sign and unit, a word with its inner marks, or one mark.
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

    def word_at(self, position: int) -> str:
        """The whole word, as written, that the token at `position` belongs to."""
        word = self.words[position]
        if word < 0:
            return self.tokens[position]
        members = [i for i, w in enumerate(self.words) if w == word]
        return self.text[self.starts[members[0]] : self.ends[members[-1]]]

    def counted(self, positions: PositionKind) -> list[int]:
        """0-based positions that count: those of words, or all of them."""
        if positions == "all":
            return list(range(len(self.words)))
        return [i for i, word in enumerate(self.words) if word >= 0]


def tokenize(tokenizer: Any, texts: Sequence[str], max_length: int, strip_links: bool) -> list[TokenizedHeadline]:
    """Tokenise headlines with a fast Hugging Face tokenizer.

    Links are cut out before tokenising when `strip_links`; offsets still point into the text as written.
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
    )
    result = []
    for i, text in enumerate(texts):
        ids, special = encoded["input_ids"][i], encoded["special_tokens_mask"][i]
        source = sources[i]
        starts, ends = [], []
        for (start, end), is_special in zip(encoded["offset_mapping"][i], special, strict=True):
            if is_special or start == end:
                start, end = 0, 0
            elif source is not None:
                start, end = source[start], source[end - 1] + 1
            starts.append(start)
            ends.append(end)
        tokens = tokenizer.convert_ids_to_tokens(ids)
        words = _words(text, starts, ends)
        result.append(TokenizedHeadline(text, ids, tokens, starts, ends, words))
    return result


def length_batches(lengths: Sequence[int], tokens_per_batch: int) -> list[NDArray[np.int64]]:
    """Indices grouped into batches of similar length, longest first, padding kept inside the token budget."""
    order = np.argsort(-np.asarray(lengths, dtype=np.int64), kind="stable")
    batches, start = [], 0
    while start < len(order):
        size = max(1, tokens_per_batch // max(1, lengths[order[start]]))
        batches.append(order[start : start + size])
        start += size
    return batches


def shuffled_batches(lengths: Sequence[int], batch_size: int, seed: Sequence[int]) -> list[NDArray[np.int64]]:
    """One pass over all headlines in random batches of similar length, the same for the same seed.

    50 batches' worth are drawn at random and sorted by length, so that little is padded; then batches are shuffled.
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
    """`input_ids` and `attention_mask`, both int64 [n_headlines, longest]."""
    longest = max(len(h.input_ids) for h in headlines)
    input_ids = np.full((len(headlines), longest), pad_id, dtype=np.int64)
    mask = np.zeros_like(input_ids)
    for row, headline in enumerate(headlines):
        n = len(headline.input_ids)
        input_ids[row, :n] = headline.input_ids
        mask[row, :n] = 1
    return torch.from_numpy(input_ids), torch.from_numpy(mask)


def padded_batches(
    headlines: Sequence[TokenizedHeadline],
    batches: Iterable[NDArray[np.int64]],
    pad_id: int,
    device: torch.device,
) -> Iterator[tuple[NDArray[np.int64], list[TokenizedHeadline], Tensor, Tensor]]:
    """Yield each batch of headlines, given as indices, ready for the model.

    A batch is its indices [n_headlines], its headlines, and `input_ids` and `attention_mask` on `device`, both int64
    [n_headlines, longest].
    """
    for rows in batches:
        members = [headlines[i] for i in rows]
        input_ids, mask = collate(members, pad_id)
        yield rows, members, input_ids.to(device), mask.to(device)


def counted_mask(headlines: Sequence[TokenizedHeadline], positions: PositionKind) -> Tensor:
    """bool [n_headlines, longest]: the positions that count; padding never does."""
    longest = max(len(h.input_ids) for h in headlines)
    mask = np.zeros((len(headlines), longest), dtype=bool)
    for row, headline in enumerate(headlines):
        mask[row, headline.counted(positions)] = True
    return torch.from_numpy(mask)


def _without_links(text: str) -> tuple[str, list[int] | None]:
    """The text without its links, and for each remaining code point its index in the text as written."""
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
    spans = [*link_spans(text)]
    links = iter([*spans, (len(text), len(text))])
    link_start, link_end = next(links)
    bounds: list[int] = []  # end of each word, in order
    cursor = 0
    while cursor < len(text):
        if cursor == link_start:
            bounds.append(link_end)
            cursor = link_end
            link_start, link_end = next(links)
            continue
        match = _WORD.match(text, cursor, link_start)
        if match:
            bounds.append(match.end())
            cursor = match.end()
        else:
            cursor += 1
    word_of: dict[int, int] = {}
    words = []
    for start, end in zip(starts, ends, strict=True):
        if start == end:
            words.append(-1)
            continue
        span = int(np.searchsorted(bounds, start, side="right"))
        words.append(word_of.setdefault(span, len(word_of)))
    return words
