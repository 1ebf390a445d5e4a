"""The trained classifier and SAE of the small study, as a probe, and what it read."""

import pytest

from sae_pipeline.causal.attribution import Attribution, attribute
from sae_pipeline.causal.probe import Probe, Reading
from sae_pipeline.classifier.classifier import Classifier
from sae_pipeline.headlines.sample import sample_headlines
from sae_pipeline.sae.autoencoder import SparseAutoencoder
from tests.conftest import SmallStudy

TEXTS = [text for text, _ in sample_headlines()[700:740]]


@pytest.fixture(scope="module")
def probe(study: SmallStudy, classifier: Classifier) -> Probe:
    """The trained classifier and SAE."""
    sae = SparseAutoencoder.load(study.root / "finbert_sae" / "layer_4_2k.pt")
    return Probe.of(classifier.model, sae, classifier.tokenizer.pad_token_id, tokens_per_batch=512)


@pytest.fixture(scope="module")
def reading(probe: Probe, classifier: Classifier) -> Reading:
    """Forty headlines."""
    return probe.read(classifier.tokenize(TEXTS))


@pytest.fixture(scope="module")
def attribution(probe: Probe, reading: Reading) -> Attribution:
    """Both estimates."""
    return attribute(probe, reading, steps=8)
