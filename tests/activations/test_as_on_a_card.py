"""Extraction as a card does it, here on a CPU: large batches, moments on the device, files written beside."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from sae_pipeline.activations.extraction import Extraction, extract_layers
from sae_pipeline.activations.manifest import Moments, moment_sums
from sae_pipeline.activations.store import ActivationStore
from sae_pipeline.activations.stream import ActivationStream
from sae_pipeline.classifier.classifier import Classifier
from sae_pipeline.classifier.pretrained import load_pretrained
from sae_pipeline.config import ExtractConfig, Precision
from sae_pipeline.errors import UserError
from sae_pipeline.headlines.sample import sample_headlines
from sae_pipeline.machine import device

TEXTS = [text for text, _ in sample_headlines()[:60]]


@pytest.fixture
def as_a_card(monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU is treated like a card, but without streams."""
    monkeypatch.setattr(device, "_CPU", device._CARD)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_store_is_that_of_a_cpu(
    tmp_path: Path, classifier: Classifier, monkeypatch: pytest.MonkeyPatch, precision: Precision
) -> None:
    """Each shard holds the same tokens, whose numbers differ by rounding; mean and scale are those of its numbers."""
    monkeypatch.setattr("sae_pipeline.activations.extraction.SHARD_TOKENS", 200)
    config = ExtractConfig(layer=3, precision=precision, tokens_per_batch=128)
    wanted = Extraction(classifier.model, classifier.tokenize(TEXTS), 0, config, "c", "d")
    expected = extract_layers(wanted, (2, 3), tmp_path / "cpu", tmp_path / "unfinished")
    sizes: list[int] = []
    handle = wanted.model.register_forward_pre_hook(
        lambda _model, _args, inputs: sizes.append(inputs["input_ids"].numel()), with_kwargs=True
    )
    monkeypatch.setattr(device, "_CPU", device._CARD)
    monkeypatch.setattr(device, "TOKENS_PER_BATCH", 128)  # the settings leave the budget open
    try:
        found = extract_layers(wanted.of_layer(3), (2, 3), tmp_path / "card", tmp_path / "unfinished")
    finally:
        handle.remove()
    assert len(sizes) == len(wanted.plan) >= 3 and len(wanted.plan[0]) > 1, "the batches of a shard are read at once"
    for ours, theirs in zip(found, expected, strict=True):
        _assert_alike(ours, theirs, 0.06 if precision == "bf16" else 2e-3)
    stream = ActivationStream.open(wanted.of_layer(3))
    np.testing.assert_allclose(stream.manifest.mean, found[1].manifest.mean, atol=5e-3)
    assert stream.manifest.scale == pytest.approx(found[1].manifest.scale, rel=1e-3)


def _assert_alike(ours: ActivationStore, theirs: ActivationStore, bound: float) -> None:
    assert ours.name == theirs.name and ours.manifest.files.keys() == theirs.manifest.files.keys()
    for name in theirs.manifest.files:
        one, other = load_file(ours.folder / name), load_file(theirs.folder / name)
        torch.testing.assert_close(one.pop("acts").float(), other.pop("acts").float(), rtol=bound, atol=bound)
        assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)
    acts = ours.load().double()
    np.testing.assert_allclose(ours.manifest.mean, acts.mean(0), atol=1e-9)
    assert ours.manifest.scale == pytest.approx(float((acts - acts.mean(0)).square().mean().sqrt()), rel=1e-9)


@pytest.mark.usefixtures("as_a_card")
def test_activations_that_are_not_finite(tmp_path: Path, classifier: Classifier) -> None:
    """What a thread beside finds ends the extraction with its sentence, and nothing is left."""
    broken = load_pretrained("minilm", 3).network
    with torch.no_grad():
        broken.bert.encoder.layer[0].output.LayerNorm.bias[3] = float("nan")
    wanted = Extraction(broken, classifier.tokenize(TEXTS[:5]), 0, ExtractConfig(layer=1), "c", "e")
    with pytest.raises(UserError, match="not finite"):
        extract_layers(wanted, (1, 2), tmp_path / "store", tmp_path / "unfinished")
    assert not (tmp_path / "store").exists() and list((tmp_path / "unfinished").iterdir()) == []


def test_moments_of_parts() -> None:
    """Moments from a device's sums are those of the numbers, also where a part is empty."""
    acts = (torch.randn(500, 7, generator=torch.Generator().manual_seed(0)) * 3 + 40).half()
    found, expected = Moments(), Moments()
    for part in acts.split([100, 0, 399, 1]):
        found.add_sums(len(part), moment_sums(part))
    expected.add(acts)
    np.testing.assert_allclose(found.finish()[0], expected.finish()[0], rtol=1e-13)
    assert found.finish()[1] == pytest.approx(expected.finish()[1], rel=1e-13)
