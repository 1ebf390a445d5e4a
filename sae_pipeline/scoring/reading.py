"""Texts read by a classifier and an SAE: class probabilities, and how strongly each feature fires in each text."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from sae_pipeline.activations.reading import read_batches
from sae_pipeline.arrays import Floats, Ints
from sae_pipeline.classifier.classifier import Classifier
from sae_pipeline.classifier.tail import logits_only
from sae_pipeline.headlines.tokens import TokenizedHeadline
from sae_pipeline.machine.device import in_float64
from sae_pipeline.sae.autoencoder import SparseAutoencoder
from sae_pipeline.sae.encoding import active_entries
from sae_pipeline.sae.firings import Firings
from sae_pipeline.schema.common import statistics_positions

_BLOCK = 1 << 18  # characters of a block, about; bounds the memory that its tokens and active features take


@dataclass(frozen=True)
class TextFeatures:
    """The features that fire in some texts, sorted by text, then feature. Each array is [n_entries]."""

    text: Ints  # 0-based index of the text
    feature: Ints
    max: Floats  # float32: the largest activation f in the text
    mean: Floats  # float32: Σ f / vectors of the text, silent ones included
    count: Ints  # vectors (tokens of words, or the text's one vector) on which the feature fires

    @classmethod
    def of(cls, firings: Firings, n_vectors: Ints) -> "TextFeatures":
        """Summarise the active entries of texts that have `n_vectors` [n_texts]."""
        text = firings.group_headline
        total = np.add.reduceat(firings.value.astype(np.float64), firings.group_start)
        mean = (total / n_vectors[text]).astype(np.float32)
        return cls(text, firings.group_feature, firings.group_max, mean, firings.group_length)

    @classmethod
    def joined(cls, parts: Iterable["TextFeatures"]) -> "TextFeatures":
        """The features of different texts, in the order of texts."""
        parts = [cls.of(Firings.chain([]), np.zeros(0, np.int64)), *parts]
        order = np.argsort(np.concatenate([part.text for part in parts]), kind="stable")
        return cls(*(np.concatenate([getattr(part, f.name) for part in parts])[order] for f in fields(cls)))

    def maxima(self, features: Sequence[int], n_texts: int) -> Floats:
        """The largest activation of chosen features in each text, float32 [n_texts, n_features]; 0 where silent."""
        order = np.argsort(features)
        known = np.asarray(features)[order]
        found = np.flatnonzero(np.isin(self.feature, known))
        dense = np.zeros((n_texts, len(features)), np.float32)
        dense[self.text[found], order[np.searchsorted(known, self.feature[found])]] = self.max[found]
        return dense


@dataclass(frozen=True)
class ReadTexts:
    """Some neighbouring texts, as classifier and SAE see them."""

    probabilities: Floats  # float64 [n_texts, n_classes]
    n_tokens: Ints  # [n_texts] counted tokens: those of words
    is_cut: Ints  # bool [n_texts]: whether the text is longer than the classifier reads
    features: TextFeatures  # `text` counts from the first text of these


class TextReader:
    """Reads texts through a classifier and an SAE, in fp32."""

    def __init__(self, classifier: Classifier, sae: SparseAutoencoder, tokens_per_batch: int) -> None:
        self._classifier, self._sae, self._tokens_per_batch = classifier, sae, tokens_per_batch
        self._model: Any = logits_only(classifier.model, keep=sae.config.hookpoint.layer)

    def read(self, texts: Sequence[str]) -> Iterator[ReadTexts]:
        """Read texts in order, in blocks of about `_BLOCK` characters. The texts of a block are batched by length."""
        ends = np.cumsum([len(text) for text in texts])
        for block in range(int(ends[-1] // _BLOCK) + 1 if len(ends) else 0):
            start, end = np.searchsorted(ends, [block * _BLOCK, (block + 1) * _BLOCK])
            if start < end:
                yield self._read(self._classifier.tokenize(texts[start:end]))

    def _read(self, headlines: Sequence[TokenizedHeadline]) -> ReadTexts:
        pad_id, layer = self._classifier.tokenizer.pad_token_id, self._sae.config.hookpoint.layer
        positions = statistics_positions(self._sae.config.positions)
        n_vectors = np.array([headline.n_vectors(positions) for headline in headlines], np.int64)
        n_tokens = np.array([len(headline.counted("words")) for headline in headlines], np.int64)
        probabilities = np.zeros((len(headlines), self._model.config.num_labels))
        features: list[TextFeatures] = []
        for batch in read_batches(
            self._model,
            headlines,
            pad_id,
            layer,
            positions,
            tokens_per_batch=self._tokens_per_batch,
            with_logits=True,
        ):
            assert batch.logits is not None
            probabilities[batch.rows] = in_float64(batch.logits).softmax(-1).cpu().numpy()
            features.append(TextFeatures.of(Firings.collect(*active_entries(self._sae, batch)), n_vectors))
        is_cut = np.array([headline.is_cut for headline in headlines])
        return ReadTexts(probabilities, n_tokens, is_cut, TextFeatures.joined(features))
