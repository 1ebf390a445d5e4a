"""The SAE and its controls, judged in the same way on the same splits."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification

from sae_pipeline.activations.batches import HeldTokens
from sae_pipeline.activations.reading import read_activations
from sae_pipeline.classifier.classifier import Classifier
from sae_pipeline.config import TrainConfig
from sae_pipeline.evaluation.code_quality import code_quality
from sae_pipeline.evaluation.held_out import HeldOut
from sae_pipeline.evaluation.probing import headline_maxima, probe_scores
from sae_pipeline.headlines.dataset import Headlines, Split
from sae_pipeline.headlines.text import in_testing_half
from sae_pipeline.naming.names import NamedHeadlines, find_names
from sae_pipeline.naming.sample import Peaks, SampledHeadline, read_words
from sae_pipeline.sae.autoencoder import SparseAutoencoder
from sae_pipeline.sae.training import Job, train_saes
from sae_pipeline.schema.common import PositionKind
from sae_pipeline.schema.controls import Control

_CHUNK = 4096  # tokens that are encoded at a time


@dataclass(frozen=True)
class SplitActivations:
    """A split's activations at the counted positions."""

    acts: Tensor  # float32 [n_tokens, d_in]
    headlines: Tensor  # int64 [n_tokens], the headline of each token
    labels: Sequence[int]  # [n_headlines]

    @classmethod
    def read(cls, classifier: Classifier, split: Split, layer: int, positions: PositionKind) -> "SplitActivations":
        """Read a split with any classifier, in bf16 where the chip has it."""
        model, tokenized, pad_id = classifier.model, classifier.tokenize(split.texts), classifier.tokenizer.pad_token_id
        acts, headlines = read_activations(model, tokenized, pad_id, layer, positions, precision="auto")
        return cls(acts, headlines, split.labels)


@dataclass(frozen=True)
class Comparison:
    """Train and test as one classifier sees them, and what is asked of each rival."""

    train: SplitActivations
    test: SplitActivations
    named: NamedHeadlines  # the headlines of test, as names are found on them
    probe_sizes: Sequence[int]

    @classmethod
    def read(
        cls, classifier: Classifier, headlines: Headlines, sae: SparseAutoencoder, probe_sizes: Sequence[int]
    ) -> "Comparison":
        """Read both splits at the layer and the positions of `sae`."""
        place = sae.config.hookpoint.layer, sae.config.positions
        train, test = (SplitActivations.read(classifier, split, *place) for split in (headlines.train, headlines.test))
        return cls(train, test, named_headlines(classifier, headlines.test), probe_sizes)

    def judge(self, name: Any, sae: SparseAutoencoder, held_out: HeldOut | None) -> Control:
        """Measure code quality on test and probes; predictions too where `held_out` can splice the rival in."""
        maxima = [headline_maxima(sae, s.acts, s.headlines, len(s.labels)) for s in (self.train, self.test)]
        acts, labels = self.test.acts, self.test.labels
        return Control(
            name=name,
            code=code_quality(sae, "test", acts.split(_CHUNK), len(acts)),
            spliced=held_out.splice_report(sae, "words") if held_out else None,
            probing=probe_scores(maxima[0], self.train.labels, maxima[1], labels, self.probe_sizes),
            names=find_names(self.named, maxima[1]).summaries("names" if name == "sae" else name),
        )


def named_headlines(classifier: Classifier, split: Split) -> NamedHeadlines:
    """A split as names are found on it, with the true label in place of the predicted class."""
    words = [read_words(tokens) for tokens in classifier.tokenize(split.texts)]
    nothing = Peaks(np.zeros(0, np.int32), np.zeros(0, np.float32))
    headlines = [
        SampledHeadline(text, read, label, nothing, np.zeros(0, np.float16))
        for text, read, label in zip(split.texts, words, split.labels, strict=True)
    ]
    return NamedHeadlines.read(headlines, in_testing_half(split.ids), classifier.record.labels)


def random_model(
    classifier: Classifier,
    headlines: Headlines,
    sae: SparseAutoencoder,
    config: TrainConfig,
    probe_sizes: Sequence[int],
) -> Control:
    """Judge an SAE that is trained like `sae`, on the same layer of the same network with random weights."""
    torch.manual_seed(config.seed)
    network: Any = AutoModelForSequenceClassification.from_config(classifier.model.config)
    device = sae.W_dec.device
    blank = replace(classifier, model=network.to(device).eval())
    comparison = Comparison.read(blank, headlines, sae, probe_sizes)
    acts = comparison.train.acts
    mean = acts.mean(0)
    scale = (acts - mean).square().mean().sqrt()
    template = sae.config.model_copy(update={"classifier_hash": "random"})
    (trained,) = train_saes(HeldTokens(acts), mean, scale, [Job("random model", template, config)], device)
    return comparison.judge("random model", trained.sae, held_out=None)


@torch.no_grad()
def live_features(sae: SparseAutoencoder, acts: Tensor) -> Tensor:
    """Which features fire on acts [n_tokens, d_in], bool [d_sae]."""
    fired = torch.zeros(sae.config.d_sae, dtype=torch.bool, device=sae.W_dec.device)
    for chunk in acts.split(_CHUNK):
        fired[sae.encode_lists(chunk.float()).cols.long()] = True
    return fired
