"""Comparing layers: what a probe finds at each, where the decision is, and how well an SAE describes the layer.

One pass over train and dev gives the vectors that the probes read, and two means of each layer: that of its output at
words, and that at the first token, `[CLS]`. One pass over test gives the rest. There the rest of the classifier runs
twice after each layer: once with all words ablated, that is, replaced by their mean, and once with `[CLS]` ablated.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm.auto import tqdm

from sae_pipeline.activations.reading import HiddenBatch, read_layers
from sae_pipeline.activations.sites import Sites
from sae_pipeline.arrays import Flags, Floats, Ints
from sae_pipeline.classifier.classifier import Classifier
from sae_pipeline.classifier.tail import Tail
from sae_pipeline.config import Precision
from sae_pipeline.errors import UserError
from sae_pipeline.evaluation.probing import SplitLabels, SplitUnits, fit_probes
from sae_pipeline.evaluation.splicing import MIN_HEADLINES_FOR_INTERVAL
from sae_pipeline.headlines.dataset import Headlines, Split
from sae_pipeline.headlines.tokens import TokenizedHeadline, counted_mask
from sae_pipeline.intervals import ratio_interval, share_interval
from sae_pipeline.sae.autoencoder import SparseAutoencoder
from sae_pipeline.schema.layers import LayerFigures, Measured

MAX_TRAIN = 10_000  # headlines of train that are read; where there are more, they are drawn at random


@dataclass(frozen=True)
class LayersFound:
    """The layers side by side."""

    accuracy: float  # of the unchanged classifier on test
    majority: float  # accuracy of always predicting the most frequent class of train
    n_train: int  # train headlines that were read
    n_headlines: int  # of test
    layers: dict[int, LayerFigures]  # without their SAEs
    codes: dict[int, tuple[Measured, Measured]]  # L0 and FVU of the layers that have an SAE


def compare_layers(
    classifier: Classifier,
    headlines: Headlines,
    layers: Sequence[int],
    saes: Mapping[int, SparseAutoencoder],
    tokens_per_batch: int = 4096,
) -> LayersFound:
    """Measure `layers`; `saes` has the SAEs of those that have one.

    Train is read in bf16 where the chip has it, test in fp32. Raises UserError for layers that do not exist, and where
    there are too few headlines or classes for a probe.
    """
    test = headlines.test
    if not test.texts:
        raise UserError("There are no test headlines to compare the layers on.")
    train, reader = _some(headlines.train), LayerReader(classifier, layers, tokens_per_batch)
    pooled = {
        "train": reader.pooled(train, "train"),
        "dev": reader.pooled(headlines.dev, "dev"),
        "test": reader.room(len(test)),
    }
    judges = {layer: _Judge(classifier, layer, pooled["train"], saes.get(layer), len(test)) for layer in layers}
    clean = np.zeros(len(test), np.int64)
    for tokenized, batches in reader.batches(test, "test", "fp32", with_logits=True):
        logits, rows = batches[layers[0]].logits, batches[layers[0]].rows
        assert logits is not None
        clean[rows] = logits.argmax(-1).cpu().numpy()
        pooled["test"].put(tokenized, batches)
        for layer, batch in batches.items():
            judges[layer].take(tokenized, batch)
    labels = SplitLabels(*(np.asarray(split.labels) for split in (train, headlines.dev, test)))
    figures = {}
    for layer in tqdm(layers, desc="probes", unit="layer"):
        words, cls = (_probe(pooled, labels, layer, where) for where in ("words", "cls"))
        figures[layer] = judges[layer].figures(words, cls, clean)
    return LayersFound(
        accuracy=float((clean == labels.test).mean()),
        majority=float((labels.test == np.bincount(labels.train).argmax()).mean()),
        n_train=len(train),
        n_headlines=len(test),
        layers=figures,
        codes={layer: judge.code.finish() for layer, judge in judges.items() if judge.code},
    )


def _some(split: Split) -> Split:
    """At most MAX_TRAIN headlines of a split, in their order."""
    if len(split) <= MAX_TRAIN:
        return split
    rows = np.sort(np.random.default_rng(0).choice(len(split), MAX_TRAIN, replace=False))
    return Split([split.texts[i] for i in rows], [split.labels[i] for i in rows], [split.ids[i] for i in rows], {})


# --- reading and probes --------------------------------------------------------------------------------


class Pooled(NamedTuple):
    """What probes read of a split: float16 [n_headlines, d_in] of each layer."""

    words: dict[int, NDArray[np.float16]]  # the mean over a headline's words
    cls: dict[int, NDArray[np.float16]]  # the first token
    n_words: Ints  # [n_headlines] tokens of words

    def put(self, tokenized: Sequence[TokenizedHeadline], batches: Mapping[int, HiddenBatch]) -> None:
        """Take in a batch of the split."""
        is_word = counted_mask(tokenized, "words")
        for layer, batch in batches.items():
            hidden = batch.hidden.float()
            weights = is_word.to(hidden.device).float()
            weights = weights / weights.sum(1, keepdim=True).clamp_min(1)
            self.words[layer][batch.rows] = torch.einsum("hpd,hp->hd", hidden, weights).cpu().numpy()
            self.cls[layer][batch.rows] = hidden[:, 0].cpu().numpy()
            self.n_words[batch.rows] = is_word.sum(1).numpy()

    def means(self, layer: int) -> tuple[Floats, Floats]:
        """The mean word and the mean first token, float64 [d_in]."""
        total = max(int(self.n_words.sum()), 1)
        return (self.n_words @ self.words[layer].astype(np.float64)) / total, self.cls[layer].mean(0, np.float64)


class LayerReader(NamedTuple):
    """Reads splits through a classifier, several layers at once."""

    classifier: Classifier
    layers: Sequence[int]
    tokens_per_batch: int

    def batches(
        self, split: Split, name: str, precision: Precision, with_logits: bool = False
    ) -> Iterator[tuple[list[TokenizedHeadline], dict[int, HiddenBatch]]]:
        """The headlines of each batch of a split and their hidden states by layer, with progress."""
        tokenized = self.classifier.tokenize(split.texts)
        read = read_layers(
            self.classifier.model,
            tokenized,
            self.classifier.tokenizer.pad_token_id,
            self.layers,
            "all",
            tokens_per_batch=self.tokens_per_batch,
            precision=precision,
            with_logits=with_logits,
        )
        total = sum(len(h.input_ids) for h in tokenized)
        with tqdm(total=total, desc=f"read {name}", unit="tok", unit_scale=True) as bar:
            for batches in read:
                yield [tokenized[i] for i in batches[0].rows], dict(zip(self.layers, batches, strict=True))
                bar.update(int(batches[0].mask.sum()))

    def room(self, n: int) -> Pooled:
        """Room for n headlines."""
        shape = n, self.classifier.model.config.hidden_size
        words, first = ({layer: np.zeros(shape, np.float16) for layer in self.layers} for _ in range(2))
        return Pooled(words, first, np.zeros(n, np.int64))

    def pooled(self, split: Split, name: str) -> Pooled:
        """What probes read of a split, read in bf16 where the chip has it."""
        pooled = self.room(len(split))
        for tokenized, batches in self.batches(split, name, "auto"):
            pooled.put(tokenized, batches)
        return pooled


def _probe(pooled: Mapping[str, Pooled], labels: SplitLabels, layer: int, where: str) -> Flags:
    """Whether a dense probe on the first tokens or on the means over words is right, bool [n_test]."""
    train, dev, test = (getattr(pooled[name], where)[layer].astype(np.float32) for name in ("train", "dev", "test"))
    (probe,) = fit_probes(SplitUnits(train, dev, test), labels, [None])
    right: Flags = np.asarray(labels.classes())[probe.scores.argmax(1)] == labels.test
    return right


# --- predictions and SAEs ------------------------------------------------------------------------------


class _Judge:
    """Ablates one layer batch by batch, and sums up per headline how well its SAE reconstructs."""

    def __init__(
        self, classifier: Classifier, layer: int, train: Pooled, sae: SparseAutoencoder | None, n_headlines: int
    ) -> None:
        self._layer, self._tail = layer, Tail(classifier.model, layer)
        means = (torch.from_numpy(mean).float().to(classifier.device) for mean in train.means(layer))
        self._mean_word, self._mean_cls = means
        self._without_words, self._without_cls = (np.zeros(n_headlines, np.int64) for _ in range(2))
        self.code = None if sae is None else _Code(sae, n_headlines)

    @torch.inference_mode()
    def take(self, tokenized: Sequence[TokenizedHeadline], batch: HiddenBatch) -> None:
        """Take in a batch of test."""
        hidden = batch.hidden.float()
        is_word = counted_mask(tokenized, "words").to(hidden.device)
        is_first = torch.zeros_like(is_word)
        is_first[:, 0] = True
        for predictions, place, mean in (
            (self._without_words, is_word, self._mean_word),
            (self._without_cls, is_first, self._mean_cls),
        ):
            ablated = torch.where(place[..., None], mean, hidden)
            predictions[batch.rows] = self._tail(ablated, batch.input_ids, batch.mask).argmax(-1).cpu().numpy()
        if self.code is not None:
            self.code.take(tokenized, batch.rows, hidden)

    def figures(self, words: Flags, cls: Flags, clean: Ints) -> LayerFigures:
        """The figures of the layer, given on which headlines the probes are right and what the classifier predicts."""
        return LayerFigures(
            layer=self._layer,
            probe_words=_share(words),
            probe_cls=_share(cls),
            changed_words=_share(self._without_words != clean),
            changed_cls=_share(self._without_cls != clean),
            sae=None,
        )


class _Code:
    """Sums of an SAE's code over test, by headline."""

    def __init__(self, sae: SparseAutoencoder, n_headlines: int) -> None:
        self._sae = sae
        self._n, self._active, self._error, self._square = (np.zeros(n_headlines) for _ in range(4))
        self._total = np.zeros((n_headlines, sae.config.d_in), np.float32)  # Σ (x − mean)

    def take(self, tokenized: Sequence[TokenizedHeadline], rows: Ints, hidden: Tensor) -> None:
        """Take in hidden states [n_headlines, n_positions, d_in]."""
        sae, positions = self._sae, self._sae.config.positions
        sites = Sites.of_mask(counted_mask(tokenized, positions).to(hidden.device), positions)
        x = sites.read(hidden)
        lists = sae.encode_lists(x)
        centred, error = x - sae.mean, x - sae.decode_lists(lists)
        active = torch.bincount(lists.rows, minlength=len(x)).float()
        n_sites = torch.bincount(sites.headline, minlength=len(rows))
        for sums, values in (
            (self._n, torch.ones_like(active)),
            (self._active, active),
            (self._error, error.square().sum(1)),
            (self._square, centred.square().sum(1)),
            (self._total, centred),
        ):
            sums[rows] = torch.segment_reduce(values, "sum", lengths=n_sites, initial=0, unsafe=True).cpu().numpy()

    def finish(self) -> tuple[Measured, Measured]:
        """L0 and FVU; x are compared with the mean of these very vectors, as in `code_quality`."""
        mean = self._total.sum(0, np.float64) / self._n.sum()
        power = self._square - 2 * self._total @ mean + self._n * (mean @ mean)
        return _ratio(self._active, self._n), _ratio(self._error, power)


def _share(hits: Flags) -> Measured:
    """The share of headlines, with Wilson's interval."""
    n, k = len(hits), int(hits.sum())
    if n < MIN_HEADLINES_FOR_INTERVAL:
        return Measured(value=k / n)
    low, high = share_interval(k, n)
    return Measured(value=k / n, low=low, high=high)


def _ratio(numerators: Floats, denominators: Floats) -> Measured:
    """The ratio of two sums over headlines, with its interval."""
    value = float(numerators.sum() / max(denominators.sum(), 1e-30))
    if len(numerators) < MIN_HEADLINES_FOR_INTERVAL:
        return Measured(value=value)
    low, high = ratio_interval(numerators, denominators)
    return Measured(value=value, low=low, high=high)
