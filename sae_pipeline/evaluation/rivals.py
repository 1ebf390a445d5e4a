"""The SAE and its baselines, judged in the same way on the same splits."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification

from sae_pipeline.activations.batches import HeldTokens
from sae_pipeline.activations.reading import read_activations
from sae_pipeline.arrays import Floats
from sae_pipeline.classifier.classifier import Classifier
from sae_pipeline.config import TrainConfig
from sae_pipeline.evaluation.baselines import bag_of_words, pooled
from sae_pipeline.evaluation.bootstrap import Figure, ProbeFigures, probe_figures, share_unexplained
from sae_pipeline.evaluation.code_quality import code_quality
from sae_pipeline.evaluation.held_out import HeldOut
from sae_pipeline.evaluation.probing import Probe, SplitLabels, SplitUnits, fit_probes, headline_maxima
from sae_pipeline.headlines.dataset import Headlines, Split
from sae_pipeline.headlines.text import in_testing_half
from sae_pipeline.machine.device import in_float64
from sae_pipeline.naming.names import NamedHeadlines, find_names
from sae_pipeline.naming.sample import Peaks, SampledHeadline, read_words
from sae_pipeline.sae.autoencoder import SparseAutoencoder
from sae_pipeline.sae.training import Job, train_saes
from sae_pipeline.schema.common import PositionKind, statistics_positions
from sae_pipeline.schema.controls import Control, ProbeScore, RivalName

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

    def pooled(self) -> Any:
        """The mean activation of each headline, [n_headlines, d_in]."""
        return pooled(self.acts, self.headlines, len(self.labels))


@dataclass(frozen=True, eq=False)
class ScoredProbe:
    """A probe and its figures on test."""

    probe: Probe
    figures: ProbeFigures

    def record(self) -> ProbeScore:
        """The figures with their intervals."""
        auroc, f1, accuracy = self.figures.auroc, self.figures.macro_f1, self.figures.accuracy
        return ProbeScore(
            k=self.probe.k,
            auroc=auroc.value,
            auroc_interval=auroc.interval(),
            macro_f1=f1.value,
            macro_f1_interval=f1.interval(),
            accuracy=accuracy.value,
            accuracy_interval=accuracy.interval(),
            ridge=self.probe.ridge,
        )


@dataclass(frozen=True, eq=False)
class Judged:
    """A rival's record, and its figures on every resample of the test headlines."""

    control: Control
    probes: dict[int | None, ScoredProbe]  # by units per class; None: all units
    fvu: Figure | None


@dataclass(frozen=True)
class Comparison:
    """The splits as one classifier sees them, and what is asked of each rival."""

    train: SplitActivations
    dev: SplitActivations
    test: SplitActivations
    named: NamedHeadlines  # the headlines of test, as names are found on them
    sizes: Sequence[int | None]  # units per class of each probe; None: all units

    @classmethod
    def read(
        cls, classifier: Classifier, headlines: Headlines, sae: SparseAutoencoder, probe_sizes: Sequence[int]
    ) -> "Comparison":
        """Read the splits at the layer and the positions of `sae`."""
        place = sae.config.hookpoint.layer, sae.config.positions
        return cls(
            train=SplitActivations.read(classifier, headlines.train, *place),
            dev=SplitActivations.read(classifier, headlines.dev, *place),
            test=SplitActivations.read(classifier, headlines.test, *place),
            named=named_headlines(classifier, headlines.test),
            sizes=(*probe_sizes, None),
        )

    def judge(self, name: RivalName, sae: SparseAutoencoder, held_out: HeldOut | None) -> Judged:
        """Measure codes and probes on test; predictions too where `held_out` can splice the rival in."""
        units, acts = self._maxima(sae), self.test.acts
        probes = self._scored(units, self.sizes)
        fvu = share_unexplained(*self._errors(sae))
        kind: Any = "names" if name == "sae" else name
        control = Control(
            name=name,
            n_units=sae.config.d_sae,
            code=code_quality(sae, "test", acts.split(_CHUNK), len(acts)),
            fvu_interval=fvu.interval(),
            spliced=held_out.splice_report(sae, statistics_positions(sae.config.positions)) if held_out else None,
            probing=[one.record() for one in probes.values()],
            names=find_names(self.named, units.test).summaries(kind),
        )
        return Judged(control, probes, fvu)

    def probes(self, sae: SparseAutoencoder) -> dict[int | None, ScoredProbe]:
        """The probes of another SAE of the same activations."""
        return self._scored(self._maxima(sae), self.sizes)

    def without_sae(self, headlines: Headlines) -> list[Judged]:
        """Probes on the mean activations and on the words of headlines."""
        activations = SplitUnits(*(split.pooled() for split in (self.train, self.dev, self.test)))
        return [
            self._plain("activations", activations, (None,)),
            self._plain("bag of words", bag_of_words(headlines), self.sizes),
        ]

    def _plain(self, name: RivalName, units: SplitUnits, sizes: Sequence[int | None]) -> Judged:
        probes = self._scored(units, sizes)
        records = [one.record() for one in probes.values()]
        control = Control(name=name, n_units=units.test.shape[1], code=None, spliced=None, probing=records)
        return Judged(control, probes, None)

    def _scored(self, units: SplitUnits, sizes: Sequence[int | None]) -> dict[int | None, ScoredProbe]:
        labels = SplitLabels(*(np.asarray(split.labels) for split in (self.train, self.dev, self.test)))
        found = fit_probes(units, labels, sizes)
        return {one.k: ScoredProbe(one, probe_figures(one.scores, labels.test, labels.classes())) for one in found}

    def _maxima(self, sae: SparseAutoencoder) -> SplitUnits:
        parts = (self.train, self.dev, self.test)
        return SplitUnits(*(headline_maxima(sae, one.acts, one.headlines, len(one.labels)) for one in parts))

    @torch.no_grad()
    def _errors(self, sae: SparseAutoencoder) -> tuple[Floats, Floats]:
        """The sums of ‖x − x̂‖² and of ‖x − m‖² of each test headline, where m is the mean of all their tokens."""
        acts, device = self.test.acts, sae.W_dec.device
        mean = in_float64(acts).mean(0).float().to(acts.device)
        parts = [x.to(device) - sae.decode_lists(sae.encode_lists(x.to(device))) for x in acts.split(_CHUNK)]
        errors = torch.cat([in_float64(part).square().sum(1) for part in parts]).cpu().numpy()
        squares = in_float64(acts - mean).square().sum(1).cpu().numpy()
        of_token, n = self.test.headlines.cpu().numpy(), len(self.test.labels)
        summed: list[Floats] = [np.bincount(of_token, column, n).astype(np.float64) for column in (errors, squares)]
        return summed[0], summed[1]


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
) -> Judged:
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
