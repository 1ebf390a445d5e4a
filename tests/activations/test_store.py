"""The store holds each counted token once, survives interruptions, and reads like the stream."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from sae_pipeline.activations.extraction import Extraction, extract
from sae_pipeline.activations.store import ActivationStore, open_store
from sae_pipeline.activations.stream import ActivationStream
from sae_pipeline.classifier.classifier import Classifier
from sae_pipeline.classifier.hooks import resolve_hookpoint
from sae_pipeline.classifier.pretrained import load_pretrained
from sae_pipeline.config import ExtractConfig
from sae_pipeline.errors import UserError
from sae_pipeline.headlines.sample import sample_headlines
from tests.conftest import SmallStudy

TEXTS = [text for text, _ in sample_headlines()[:12]]


def test_store_holds_every_word_token_once(study: SmallStudy, classifier: Classifier) -> None:
    """Mean and scale are those of the stored numbers: mean ‖x_norm‖² = d_in."""
    store = open_store(next((study.root / "finbert_sae" / "activations").iterdir()))
    acts = store.load().double()
    assert acts.shape == (store.manifest.n_tokens, 384)
    np.testing.assert_allclose(store.mean.double(), acts.mean(0), atol=1e-5)
    x_norm = (acts - acts.mean(0)) / store.scale
    assert (x_norm.square().sum(1).mean() / 384).item() == pytest.approx(1, rel=1e-5)
    assert store.manifest.hookpoint.module.endswith("encoder.layer.3")
    assert store.manifest.classifier_hash == classifier.hash


def test_damaged_store_and_broken_activations(tmp_path: Path, classifier: Classifier) -> None:
    """Damage is named, and extraction mends it; activations that are not finite stop it and leave nothing."""
    headlines = classifier.tokenize(TEXTS)
    wanted = Extraction(classifier.model, headlines, 0, ExtractConfig(layer=1), "c", "d")
    store = extract(wanted, tmp_path, tmp_path / "unfinished")
    (store.folder / next(iter(store.manifest.files))).unlink()
    with pytest.raises(UserError, match=r"acts-00000\.safetensors is missing"):
        open_store(store.folder)
    with pytest.raises(UserError, match="There are no activations in"):
        open_store(tmp_path / "nowhere")
    shard = _with_a_flipped_bit(extract(wanted, tmp_path, tmp_path / "unfinished").folder / "acts-00000.safetensors")
    with pytest.raises(UserError, match=r"acts-00000\.safetensors has changed .*extract` makes them again"):
        open_store(store.folder)
    manifest = store.folder / "manifest.json"
    manifest.write_bytes(manifest.read_bytes().replace(b'"scale": ', b'"scale": 1'))
    with pytest.raises(UserError, match=r"manifest\.json has changed"):
        open_store(store.folder)
    again = extract(wanted, tmp_path, tmp_path / "unfinished")
    assert torch.equal(again.load(), store_of(wanted, tmp_path / "fresh").load())
    aside = [path for path in tmp_path.glob(".damaged-*") if (path / shard.name).exists()]
    assert len(aside) == 1, "the damaged store is kept"

    broken = load_pretrained("minilm", 3).network
    with torch.no_grad():
        broken.bert.encoder.layer[0].output.LayerNorm.bias[3] = float("nan")
    with pytest.raises(UserError, match="not finite"):
        extract(replace(wanted, model=broken, data_hash="e"), tmp_path / "broken", tmp_path / "unfinished")
    assert not (tmp_path / "broken").exists() and list((tmp_path / "unfinished").iterdir()) == []


def store_of(wanted: Extraction, root: Path) -> ActivationStore:
    """The store of an extraction, made in a folder of its own."""
    return extract(wanted, root, root / "unfinished")


def _with_a_flipped_bit(path: Path) -> Path:
    """Flip the lowest bit of a file's last byte."""
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("damaged", [False, True])
def test_interrupted_extraction_keeps_its_shards(
    tmp_path: Path, classifier: Classifier, monkeypatch: pytest.MonkeyPatch, damaged: bool
) -> None:
    """Shards that are whole are not computed again, and the store is the one of an uninterrupted extraction.

    A shard that is damaged meanwhile is computed again.
    """
    monkeypatch.setattr("sae_pipeline.activations.extraction.SHARD_TOKENS", 40)
    headlines = classifier.tokenize(TEXTS * 3)
    wanted = Extraction(classifier.model, headlines, 0, ExtractConfig(layer=1, tokens_per_batch=128), "c", "d")
    expected = extract(wanted, tmp_path / "whole", tmp_path / "unfinished")
    assert len(expected.manifest.files) >= 3
    module = resolve_hookpoint(classifier.model, 1)[0].module
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1
        if calls == limit:
            raise KeyboardInterrupt

    handle = module.register_forward_hook(count)
    try:
        limit = 3
        with pytest.raises(KeyboardInterrupt):
            extract(wanted, tmp_path / "again", tmp_path / "unfinished")
        done, limit = len(list((tmp_path / "unfinished").rglob("*.safetensors"))), 0
        assert done >= 1
        if damaged:
            _with_a_flipped_bit(next((tmp_path / "unfinished").rglob("acts-00000.safetensors")))
        calls = 0
        found = extract(wanted, tmp_path / "again", tmp_path / "unfinished")
        assert calls < len(expected.manifest.files) * 2
    finally:
        handle.remove()
    assert torch.equal(found.load(), expected.load())
    assert (found.manifest.mean, found.manifest.scale) == (expected.manifest.mean, expected.manifest.scale)
    assert list((tmp_path / "unfinished").iterdir()) == []


def test_store_and_stream_read_the_same(
    tmp_path: Path, classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any spans of rows, over the shards' borders, from disk and straight from the classifier."""
    monkeypatch.setattr("sae_pipeline.activations.extraction.SHARD_TOKENS", 40)
    config = ExtractConfig(layer=2, tokens_per_batch=128)
    wanted = Extraction(classifier.model, classifier.tokenize(TEXTS), 0, config, "c", "d")
    store = extract(wanted, tmp_path, tmp_path / "unfinished")
    stream = ActivationStream.open(wanted)
    assert (stream.name, stream.n_tokens, stream.d_in) == (store.name, store.n_tokens, 384)
    assert len(store.manifest.files) >= 2
    spans = [(100, 131), (3, 9), (0, 50), (store.n_tokens - 5, store.n_tokens)]
    rows = store.read(spans)
    assert torch.equal(rows, torch.cat([store.load()[a:b] for a, b in spans]))
    torch.testing.assert_close(stream.read(spans).float(), rows.float(), rtol=0.05, atol=0.05)
    assert torch.equal(store.read([(0, 9)]).float().norm(dim=1), store.load()[:9].float().norm(dim=1))
