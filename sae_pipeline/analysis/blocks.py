"""The reading of a run's headlines, in blocks that fit into memory."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sae_pipeline.activations.reading import read_batches
from sae_pipeline.analysis.words import word_texts
from sae_pipeline.arrays import Floats, Ints
from sae_pipeline.classifier.classifier import Classifier
from sae_pipeline.classifier.tail import logits_only
from sae_pipeline.headlines.dataset import Split
from sae_pipeline.headlines.tokens import TokenizedHeadline
from sae_pipeline.sae.autoencoder import SparseAutoencoder
from sae_pipeline.sae.encoding import active_entries
from sae_pipeline.sae.firings import Firings
from sae_pipeline.schema.common import Cell

_SMALLEST, _LARGEST = 256, 1024  # headlines of a block
_ENTRIES = 1 << 20  # active entries of a block, about; fixes how many headlines it has


@dataclass(frozen=True)
class Block:
    """Headlines first, first + 1, … of a run, as the classifier and the SAE see them."""

    first: int
    ids: list[str]
    labels: list[int]
    cells: list[dict[str, Cell]]  # of the table's other columns
    headlines: list[TokenizedHeadline]
    words: list[list[str]]  # the whole word at each position, "" for special tokens
    probabilities: Floats  # [n_headlines, n_classes]
    firings: Firings  # at the positions of words; `headline` is the index in the run


def read_blocks(
    classifier: Classifier, sae: SparseAutoencoder, split: Split, share: range, tokens_per_batch: int
) -> Iterator[Block]:
    """Read the headlines of `share`, in order. The active entries of a block decide the size of the next one."""
    model = logits_only(classifier.model, keep=sae.config.hookpoint.layer)
    start, size = share.start, _SMALLEST
    while start < share.stop:
        end = min(start + size, share.stop)
        headlines = classifier.tokenize(split.texts[start:end])
        probabilities, firings = _read(
            model, sae, headlines, start, tokens_per_batch, classifier.tokenizer.pad_token_id
        )
        words = [word_texts(h.text, h.starts, h.ends, h.words) for h in headlines]
        yield Block(
            first=start,
            ids=split.ids[start:end],
            labels=split.labels[start:end],
            cells=[{name: column[row] for name, column in split.columns.items()} for row in range(start, end)],
            headlines=headlines,
            words=words,
            probabilities=probabilities,
            firings=firings,
        )
        per_headline = max(1, len(firings.feature) // (end - start))
        size = int(np.clip(_ENTRIES // per_headline, _SMALLEST, _LARGEST))
        start = end


def _read(
    model: Any,
    sae: SparseAutoencoder,
    headlines: Sequence[TokenizedHeadline],
    first: int,
    tokens_per_batch: int,
    pad_id: int,
) -> tuple[Floats, Firings]:
    """Class probabilities [n_headlines, n_classes] and the active entries at word positions, computed in fp32.

    The first of `headlines` is headline `first` of the run.
    """
    probabilities = np.zeros((len(headlines), model.config.num_labels))
    entries: list[tuple[Ints, Ints, Ints, Floats]] = []
    layer = sae.config.hookpoint.layer
    for batch in read_batches(
        model, headlines, pad_id, layer, "words", tokens_per_batch=tokens_per_batch, with_logits=True
    ):
        assert batch.logits is not None
        probabilities[batch.rows] = batch.logits.double().softmax(-1).cpu().numpy()
        headline, position, feature, value = active_entries(sae, batch)
        entries.append((first + headline, position, feature, value))
    return probabilities, Firings.collect(*(np.concatenate(column) for column in zip(*entries, strict=True)))
