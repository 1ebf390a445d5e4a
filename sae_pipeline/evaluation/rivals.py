"""The SAE and its controls under one judge."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification

from sae_pipeline.activations.batches import HeldTokens
from sae_pipeline.activations.reading import read_activations
from sae_pipeline.classifier.classifier import Classifier
from sae_pipeline.config import TrainConfig
from sae_pipeline.evaluation import controls
from sae_pipeline.evaluation.held_out import HeldOut, code_quality
from sae_pipeline.headlines.dataset import Split
from sae_pipeline.kernels import Lists
from sae_pipeline.sae.autoencoder import SparseAutoencoder
from sae_pipeline.sae.training import Job, train_saes
from sae_pipeline.schema.common import PositionKind
from sae_pipeline.schema.controls import Control

_CHUNK = 4096  # tokens


@torch.no_grad()
def live(sae: SparseAutoencoder, acts: Tensor) -> Tensor:
    """bool [d_sae]: which features fire on acts [n, d_in]."""
    fired = torch.zeros(sae.config.d_sae, dtype=torch.bool, device=sae.W_dec.device)
    for chunk in acts.split(_CHUNK):
        fired[sae.encode_lists(chunk.float()).cols.long()] = True
    return fired


class _Bench:
    """The same judgement for the SAE and for every control."""

    def __init__(
        self, classifier: Classifier, judge: HeldOut, train: Split, test: Split, positions: PositionKind,
        probe_sizes: Sequence[int],
    ) -> None:  # fmt: skip
        self.classifier, self.judge, self.train, self.test = classifier, judge, train, test
        self.positions, self.probe_sizes = positions, probe_sizes

    def read(self, classifier: Classifier, split: Split) -> tuple[Tensor, Tensor]:
        """Activations [n_tokens, d_in] at the counted positions and every token's headline [n_tokens]."""
        parts = list(
            read_activations(
                classifier.model, classifier.tokenize(split.texts), classifier.tokenizer.pad_token_id,
                self.judge.layer, self.positions, precision="auto",
            )
        )  # fmt: skip
        return torch.cat([p.acts for p in parts]), torch.cat([p.headlines for p in parts])

    def control(
        self, name: Any, sae: SparseAutoencoder, train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor],
        spliced: bool,
    ) -> Control:  # fmt: skip
        """Code quality on test, predictions where they can be compared, and probes."""
        maxima = [
            controls.headline_maxima(sae, *part, len(split)) for part, split in ((train, self.train), (test, self.test))
        ]
        return Control(
            name=name,
            code=code_quality(sae, "test", test[0].split(_CHUNK), len(test[0])),
            spliced=self.judge.splice_report(sae, "words") if spliced else None,
            probing=controls.probe_scores(maxima[0], self.train.labels, maxima[1], self.test.labels, self.probe_sizes),
        )

    def random_model(self, sae: SparseAutoencoder, config: TrainConfig) -> Control:
        """An SAE trained in the same way on the same layer of the same network with random weights."""
        device = sae.W_dec.device
        torch.manual_seed(config.seed)
        network: Any = AutoModelForSequenceClassification.from_config(self.classifier.model.config).to(device).eval()
        blank = replace(self.classifier, model=network)
        train, test = self.read(blank, self.train), self.read(blank, self.test)
        mean = train[0].mean(0)
        scale = (train[0] - mean).square().mean().sqrt()
        template = sae.config.model_copy(update={"classifier_hash": "random"})
        (trained,) = train_saes(HeldTokens(train[0]), mean, scale, [Job("random model", template, config)], device)
        return self.control("random model", trained.sae, train, test, spliced=False)


def _lists(sae: SparseAutoencoder, acts: Tensor) -> Lists:
    return sae.encode_lists(acts.float())
