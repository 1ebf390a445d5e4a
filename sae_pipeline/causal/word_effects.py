"""Which words cause a prediction: integrated gradients and occlusion on the embeddings of words.

A gate g per word moves the embeddings e of its tokens to those of a baseline token, b. Special tokens stay:

    e(g) = b + g · (e − b)
    integrated gradients   ∫ ∂c/∂g_w dα  at g = (α, …, α)
    occlusion              c(1, …, 1) − c(1, …, 1 with 0 for w)

c is the centred logit of the predicted class. Integrated gradients add up to c(x) − c(x without any word). The baseline
is the mask token, which stands for a missing word in a model's pretraining. (Sundararajan et al. 2017, "Axiomatic
attribution for deep networks"; Zeiler and Fergus 2014, "Visualizing and understanding convolutional networks";
Enguehard 2023, "Sequential integrated gradients", for the mask token.)
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sae_pipeline.arrays import Floats, Ints
from sae_pipeline.causal.agreement import correlations
from sae_pipeline.causal.block import Block
from sae_pipeline.causal.probe import Probe
from sae_pipeline.classifier.tail import logits_only
from sae_pipeline.errors import UserError
from sae_pipeline.headlines.tokens import TokenizedHeadline, collate, length_batches
from sae_pipeline.machine.memory import for_each_batch, out_of_memory
from sae_pipeline.schema.cause_dicts import WordEffectsDict, WordSummaryDict
from sae_pipeline.schema.common import PER_HEADLINE

_BASELINES = ("mask_token", "pad_token", "unk_token")
_FEWEST = 3  # words of a headline whose rank correlation says anything
_TOLERANCE = 1e-2  # share of the largest logit by which open gates may change the logits


class NoWordEffectsError(UserError):
    """The words of a classifier of this family cannot be attributed."""


@dataclass(frozen=True)
class WordAttribution:
    """The effects of the words of one headline on the centred logit of its predicted class."""

    integrated: Floats  # [n_words]
    occlusion: Floats  # [n_words]
    base: float  # the logit without any word
    gap: float  # |logit − base − Σ integrated|


def baseline_token(tokenizer: Any) -> str:
    """The token that stands for a missing word: the mask token, else that of padding, else that of unknown words.

    Raises NoWordEffectsError for a tokenizer that has none of them.
    """
    found = next((getattr(tokenizer, name) for name in _BASELINES if getattr(tokenizer, name, None)), None)
    if found is None:
        raise NoWordEffectsError("The tokenizer has no token for a missing word, so words are not attributed.")
    return str(found)


@dataclass(frozen=True)
class WordProbe:
    """A classifier whose words can be taken out one by one."""

    network: Any
    table: nn.Module  # the embeddings of tokens
    baseline: str
    baseline_id: int
    pad_id: int
    budget: int  # tokens at a time, padding included
    equal_lengths: bool

    @classmethod
    def of(cls, probe: Probe, tokenizer: Any) -> "WordProbe":
        """Make a probe. Raises NoWordEffectsError where no token stands for a missing word."""
        baseline = baseline_token(tokenizer)
        table = probe.model.get_input_embeddings()
        baseline_id = tokenizer.convert_tokens_to_ids(baseline)
        if baseline_id >= len(table.weight):
            raise NoWordEffectsError(f"The model has no embedding of {baseline}, so words are not attributed.")
        network = logits_only(probe.model)
        return cls(network, table, baseline, baseline_id, probe.pad_id, probe.budget, probe.tail.equal_lengths)

    def attribute(self, headlines: Sequence[TokenizedHeadline], logits: Floats, steps: int) -> list[WordAttribution]:
        """Attribute the predictions of headlines, whose `logits` [n_headlines, n_classes] are known, to their words.

        The path of integrated gradients has `steps` Gauss-Legendre nodes. Raises NoWordEffectsError for a family whose
        embeddings cannot be moved.
        """
        n_words = np.array([max(headline.words) + 1 for headline in headlines])
        sizes = n_words + 2  # all words, none, and all but one
        row = np.repeat(np.arange(len(headlines)), sizes)
        version = np.arange(len(row)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        longest = int(n_words.max())
        gates = np.ones((len(row), longest), np.float32)
        gates[version == 1] = 0
        single = np.flatnonzero(version > 1)
        gates[single, version[single] - 2] = 0
        predicted = logits.argmax(1)
        try:
            found = self._centred(headlines, row, gates, predicted)
            slopes = self._mean_slopes(headlines, predicted, longest, steps)
        except (RuntimeError, TypeError, ValueError) as error:
            if out_of_memory(error):
                raise
            raise self._refused("does not take moved embeddings") from error
        whole, empty = found[version == 0], found[version == 1]
        known = logits[np.arange(len(headlines)), predicted] - logits.mean(1)
        if np.abs(whole - known).max() > _TOLERANCE * np.abs(logits).max():
            raise self._refused("does not read its embeddings as other models do")
        result = []
        for h, n in enumerate(n_words):
            integrated = slopes[h, :n]
            without = found[(row == h) & (version > 1)]
            gap = abs(whole[h] - empty[h] - integrated.sum())
            result.append(WordAttribution(integrated, whole[h] - without, float(empty[h]), float(gap)))
        return result

    def _refused(self, why: str) -> NoWordEffectsError:
        return NoWordEffectsError(f"{type(self.network).__name__} {why}, so words are not attributed.")

    @torch.no_grad()
    def _centred(self, headlines: Sequence[TokenizedHeadline], row: Ints, gates: Floats, predicted: Ints) -> Floats:
        """The centred logit of each version of a headline, [n_versions], given the gates [n_versions, n_words]."""
        found = np.zeros(len(row))

        def run(batch: Ints) -> None:
            opened = torch.from_numpy(gates[batch]).to(self._device)
            logit = self._forward([headlines[h] for h in row[batch]], opened, predicted[row[batch]])
            found[batch] = logit.cpu().double().numpy()

        for_each_batch("word effects", self._batches([len(headlines[h].input_ids) for h in row]), run)
        return found

    def _mean_slopes(self, headlines: Sequence[TokenizedHeadline], predicted: Ints, longest: int, steps: int) -> Floats:
        """∫ ∂c/∂g dα from no word to all, [n_headlines, longest]; 0 where a headline has no such word."""
        nodes, weights = np.polynomial.legendre.leggauss(steps)
        found = np.zeros((len(headlines), longest))

        def run(batch: Ints) -> None:
            members = [headlines[h] for h in batch]
            found[batch] = 0
            for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
                gates = torch.full((len(batch), longest), float(node), device=self._device, requires_grad=True)
                with torch.enable_grad():
                    total = self._forward(members, gates, predicted[batch]).sum()
                (slope,) = torch.autograd.grad(total, gates)
                found[batch] += weight * slope.cpu().double().numpy()

        for_each_batch("word effects", self._batches([len(headline.input_ids) for headline in headlines]), run)
        return found

    def _forward(self, headlines: Sequence[TokenizedHeadline], gates: Tensor, predicted: Ints) -> Tensor:
        """The centred logits [n_headlines] of the predicted classes; differentiable in the gates."""
        input_ids, mask = (tensor.to(self._device) for tensor in collate(headlines, self.pad_id))
        words = np.full(tuple(mask.shape), -1, np.int64)
        for row, headline in enumerate(headlines):
            words[row, : len(headline.words)] = headline.words
        word = torch.from_numpy(words).to(self._device)
        per_token = torch.where(word < 0, 1.0, gates.gather(1, word.clamp(min=0)))
        with self._moved(input_ids, per_token):
            logits: Tensor = self.network(input_ids=input_ids, attention_mask=mask).logits.float()
        own = logits.gather(1, torch.from_numpy(predicted).to(self._device)[:, None])[:, 0]
        return own - logits.mean(-1)

    @contextmanager
    def _moved(self, input_ids: Tensor, gates: Tensor) -> Iterator[None]:
        """Move the embeddings of tokens by their gates [n_headlines, n_positions] inside the context.

        Encoder-decoders embed their tokens twice, the second time one position later. Raises NoWordEffectsError for a
        family that embeds other tokens or none.
        """
        calls = 0

        def hook(module: Any, arguments: Any, embedded: Tensor) -> Tensor:
            nonlocal calls
            calls += 1
            baseline = module.forward(torch.tensor([self.baseline_id], device=embedded.device))
            return torch.lerp(baseline.expand_as(embedded), embedded, self._aligned(arguments[0], input_ids, gates))

        tables = [part for part in self.network.modules() if getattr(part, "weight", None) is self.table.weight]
        handles = [part.register_forward_hook(hook) for part in tables if isinstance(part, nn.Embedding)]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
        if not calls:
            raise self._refused("does not embed its tokens as other models do")

    def _aligned(self, seen: Tensor, input_ids: Tensor, gates: Tensor) -> Tensor:
        """The gates [n_headlines, n_seen, 1] of the tokens that an embedding was called with; 1 for added ones."""
        n = input_ids.shape[1]
        aligned = gates.new_ones(seen.shape)
        if seen.shape[0] == len(input_ids) and seen.shape[1] >= n and torch.equal(seen[:, :n], input_ids):
            aligned[:, :n] = gates
        elif seen.shape == input_ids.shape and torch.equal(seen[:, 1:], input_ids[:, :-1]):
            aligned[:, 1:] = gates[:, :-1]
        else:
            raise self._refused("embeds other tokens than those of the headline")
        return aligned[..., None]

    @property
    def _device(self) -> torch.device:
        return self.table.weight.device  # type: ignore[return-value]

    def _batches(self, lengths: Sequence[int]) -> Sequence[Ints]:
        return length_batches(lengths, self.budget, self.equal_lengths)


class WordAttributions:
    """Attributes the predictions of a sample of headlines to their words, beside what the features there do."""

    def __init__(self, probe: Probe, tokenizer: Any, headlines: set[int], steps: int) -> None:
        """`headlines` are numbers in the order of reading. Where words cannot be attributed, `left_out` says why."""
        self._headlines, self._steps = headlines, steps
        self._whole = probe.sae.config.positions in PER_HEADLINE
        self._probe: WordProbe | None = None
        self._baseline = ""
        self._gaps: list[float] = []
        self._agreement: list[float] = []
        self._feature_agreement: list[float] = []
        self._seconds = 0.0
        self.left_out: str | None = None
        try:
            self._probe = WordProbe.of(probe, tokenizer) if headlines else None
            self._baseline = self._probe.baseline if self._probe else ""
        except NoWordEffectsError as error:
            self.left_out = str(error)

    def add(self, block: Block) -> dict[int, WordEffectsDict]:
        """The word effects of the block's headlines in the sample, by row. Headlines without words have none."""
        tokenized, logits = block.reading.tokenized, block.reading.logits
        rows = [row for row in block.rows_in(self._headlines) if max(tokenized[row].words) >= 0]
        if self._probe is None or not rows:
            return {}
        started = time.perf_counter()
        try:
            found = self._probe.attribute([tokenized[row] for row in rows], logits[rows], self._steps)
        except NoWordEffectsError as error:
            self._probe, self.left_out = None, str(error)
            return {}
        records = {row: self._record(block, row, one) for row, one in zip(rows, found, strict=True)}
        self._seconds += time.perf_counter() - started
        return records

    def _record(self, block: Block, row: int, found: WordAttribution) -> WordEffectsDict:
        reading = block.reading
        start, stop = reading.entry_starts[row : row + 2]
        effects = block.attribution.integrated[start:stop, int(reading.logits[row].argmax())]
        if self._whole:  # features fire on none of the words
            effects = np.zeros_like(effects)
        features = by_word(reading.tokenized[row], reading.firings.position[start:stop], effects)
        agreement = rank_agreement(found.integrated, found.occlusion)
        feature_agreement = rank_agreement(found.integrated, features)
        self._gaps.append(found.gap)
        self._agreement += [agreement] if agreement is not None else []
        self._feature_agreement += [feature_agreement] if feature_agreement is not None else []
        return {
            "integrated_gradients": found.integrated,
            "occlusion": found.occlusion,
            "features": features,
            "base": found.base,
            "agreement": agreement,
            "feature_agreement": feature_agreement,
        }

    def summary(self) -> WordSummaryDict | None:
        """All headlines together; None where no word was attributed."""
        if not self._gaps:
            return None
        return {
            "baseline": self._baseline,
            "steps": self._steps,
            "n_headlines": len(self._gaps),
            "completeness_gap": float(np.median(self._gaps)),
            "agreement": float(np.mean(self._agreement)) if self._agreement else None,
            "feature_agreement": float(np.mean(self._feature_agreement)) if self._feature_agreement else None,
            "seconds": round(self._seconds, 2),
        }


def by_word(headline: TokenizedHeadline, positions: Ints, effects: Floats) -> Floats:
    """Sum effects [n] at token positions [n] over the words of a headline, [n_words], without special tokens."""
    word = np.asarray(headline.words)[positions]
    return np.bincount(word[word >= 0], effects[word >= 0], max(headline.words) + 1).astype(np.float64)


def rank_agreement(a: Floats, b: Floats) -> float | None:
    """Spearman's correlation of two attributions [n_words]; None for fewer than three words or without variation."""
    if len(a) < _FEWEST or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return correlations(a, b)[1]
