"""The reading of a run's headlines, in blocks that fit into memory."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sae_pipeline.activations.reading import HiddenBatch, read_batches
from sae_pipeline.analysis.words import word_texts
from sae_pipeline.arrays import Floats, Ints, run_starts
from sae_pipeline.classifier.classifier import Classifier
from sae_pipeline.classifier.tail import logits_only
from sae_pipeline.headlines.dataset import Split
from sae_pipeline.headlines.tokens import TokenizedHeadline
from sae_pipeline.machine.device import in_float64
from sae_pipeline.sae.autoencoder import SparseAutoencoder
from sae_pipeline.sae.encoding import active_entries
from sae_pipeline.sae.firings import Firings
from sae_pipeline.schema.common import Cell, PositionKind, statistics_positions

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
    positions: PositionKind  # where the features are read: "words", or one vector per headline
    firings: Firings  # at these positions; `headline` is the index in the run
    neurons: NDArray[np.float16]  # [n_headlines, 2 · d_in] the largest x_norm of each coordinate and of its negative


def read_blocks(
    classifier: Classifier, sae: SparseAutoencoder, split: Split, share: range, tokens_per_batch: int
) -> Iterator[Block]:
    """Read the headlines of `share`, in order. The active entries of a block decide the size of the next one."""
    model = logits_only(classifier.model, keep=sae.config.hookpoint.layer)
    start, size = share.start, _SMALLEST
    while start < share.stop:
        end = min(start + size, share.stop)
        headlines = classifier.tokenize(split.texts[start:end])
        probabilities, firings, neurons = _read(
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
            positions=statistics_positions(sae.config.positions),
            firings=firings,
            neurons=neurons,
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
) -> tuple[Floats, Firings, NDArray[np.float16]]:
    """Class probabilities [n_headlines, n_classes], the active entries, and the neurons' maxima.

    The first of `headlines` is headline `first` of the run.
    """
    probabilities = np.zeros((len(headlines), model.config.num_labels))
    neurons = np.zeros((len(headlines), 2 * sae.config.d_in), np.float16)
    entries: list[tuple[Ints, Ints, Ints, Floats]] = []
    place = sae.config.hookpoint.layer, statistics_positions(sae.config.positions)
    for batch in read_batches(model, headlines, pad_id, *place, tokens_per_batch=tokens_per_batch, with_logits=True):
        assert batch.logits is not None
        probabilities[batch.rows] = in_float64(batch.logits).softmax(-1).cpu().numpy()
        headline, position, feature, value = active_entries(sae, batch)
        entries.append((first + headline, position, feature, value))
        rows, maxima = _neuron_maxima(sae, batch)
        neurons[rows] = maxima
    firings = Firings.collect(*(np.concatenate(column) for column in zip(*entries, strict=True)))
    return probabilities, firings, neurons


def _neuron_maxima(sae: SparseAutoencoder, batch: HiddenBatch) -> tuple[Ints, Floats]:
    """The headlines of a batch that have words, and the largest x_norm of each coordinate and of its negative."""
    x_norm = sae.normalise(batch.acts).cpu().numpy()
    headline = batch.headlines.cpu().numpy()
    start = run_starts(headline)
    maxima = [np.maximum.reduceat(signed, start, axis=0) if len(start) else signed for signed in (x_norm, -x_norm)]
    return headline[start], np.concatenate(maxima, axis=1)
