"""Activations: the right layer, the right tokens, nothing run in vain, hooks gone, stores that fit."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from sae_pipeline.activations.extraction import Extraction, extract
from sae_pipeline.activations.reading import read_activations, read_batches
from sae_pipeline.activations.store import open_store
from sae_pipeline.activations.stream import ActivationStream
from sae_pipeline.classifier.classifier import Classifier
from sae_pipeline.classifier.hooks import hooked, resolve_hookpoint
from sae_pipeline.classifier.pretrained import load_base
from sae_pipeline.config import ExtractConfig
from sae_pipeline.errors import UserError
from sae_pipeline.headlines.sample import sample_headlines
from sae_pipeline.headlines.tokens import collate, tokenize
from tests.conftest import SmallStudy
from tests.support.encoders import ENCODERS, save_encoder

TEXTS = [text for text, _ in sample_headlines()[:12]]


@pytest.mark.parametrize("name", sorted(ENCODERS))
@pytest.mark.parametrize("layer", [1, 3])
@pytest.mark.parametrize("positions", ["words", "all"])
def test_equals_hidden_states(tmp_path: Path, name: str, layer: int, positions: str) -> None:
    """Layer L is `hidden_states[L]` at the counted positions, for three families of encoder."""
    save_encoder(name, tmp_path)
    model, tokenizer = load_base(str(tmp_path))
    headlines = tokenize(tokenizer, TEXTS, 64, True)
    seen = set()
    for batch in read_batches(model, headlines, tokenizer.pad_token_id, layer, positions, tokens_per_batch=128):
        for acts, headline, position in zip(
            batch.acts, batch.headlines.tolist(), batch.positions.tolist(), strict=True
        ):
            seen.add((headline, position))
            input_ids, mask = collate([headlines[headline]], tokenizer.pad_token_id)
            with torch.inference_mode():
                states = model(input_ids=input_ids, attention_mask=mask, output_hidden_states=True).hidden_states
            torch.testing.assert_close(acts, states[layer][0, position], rtol=1e-4, atol=1e-5)
    assert seen == {(i, p) for i, h in enumerate(headlines) for p in h.counted(positions)}


def test_later_layers_are_not_run(classifier: Classifier) -> None:
    """Reading layer 2 leaves layers 3 to 6 untouched, and no hook stays behind."""
    calls: list[int] = []
    handles = [
        resolve_hookpoint(classifier.model, layer)[0].register_forward_hook(lambda *_, n=layer: calls.append(n))
        for layer in range(1, 7)
    ]
    try:
        read_activations(classifier.model, classifier.tokenize(TEXTS[:3]), 0, 2, "words")
    finally:
        for handle in handles:
            handle.remove()
    assert calls == [1, 2]
    assert not any(m._forward_hooks for m in classifier.model.modules())


def test_hook_is_gone_after_an_exception(classifier: Classifier) -> None:
    """Whatever the edit raises comes through, and the hook is removed."""
    module, _ = resolve_hookpoint(classifier.model, 3)

    def fail(_: torch.Tensor) -> None:
        raise RuntimeError("inside")

    input_ids, mask = collate(classifier.tokenize(TEXTS[:1]), 0)
    with pytest.raises(RuntimeError, match="inside"), hooked(module, fail):
        classifier.model(input_ids=input_ids, attention_mask=mask)
    assert not module._forward_hooks


def test_no_such_layer(classifier: Classifier) -> None:
    """The message names the layers there are."""
    for layer in (0, 7):
        with pytest.raises(UserError, match=f"Layer {layer} does not exist: this model has layers 1 to 6"):
            resolve_hookpoint(classifier.model, layer)


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
    """A missing shard is named; activations that are not finite stop the extraction and leave nothing."""
    headlines = classifier.tokenize(TEXTS)
    wanted = Extraction(classifier.model, headlines, 0, ExtractConfig(layer=1), "c", "d")
    store = extract(wanted, tmp_path, tmp_path / "unfinished")
    (store.folder / store.manifest.shards[0]).unlink()
    with pytest.raises(UserError, match=r"acts-00000\.safetensors is missing"):
        open_store(store.folder)
    with pytest.raises(UserError, match="holds no activations"):
        open_store(tmp_path / "nowhere")

    broken, _ = load_base("minilm")
    with torch.no_grad():
        broken.bert.encoder.layer[0].output.LayerNorm.bias[3] = float("nan")
    with pytest.raises(UserError, match="not finite"):
        extract(replace(wanted, model=broken, data_hash="e"), tmp_path / "broken", tmp_path / "unfinished")
    assert not (tmp_path / "broken").exists() and list((tmp_path / "unfinished").iterdir()) == []


def test_interrupted_extraction_keeps_its_shards(
    tmp_path: Path, classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shards that are whole are not computed again, and the store is the one of an uninterrupted extraction."""
    monkeypatch.setattr("sae_pipeline.activations.extraction.SHARD_TOKENS", 40)
    headlines = classifier.tokenize(TEXTS * 3)
    wanted = Extraction(classifier.model, headlines, 0, ExtractConfig(layer=1, tokens_per_batch=128), "c", "d")
    expected = extract(wanted, tmp_path / "whole", tmp_path / "unfinished")
    assert len(expected.manifest.shards) >= 3
    module, _ = resolve_hookpoint(classifier.model, 1)
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
        calls = 0
        found = extract(wanted, tmp_path / "again", tmp_path / "unfinished")
        assert calls < len(expected.manifest.shards) * 2
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
    wanted = Extraction(classifier.model, classifier.tokenize(TEXTS), 0, ExtractConfig(layer=2), "c", "d")
    store = extract(wanted, tmp_path, tmp_path / "unfinished")
    stream = ActivationStream.open(wanted)
    assert (stream.name, stream.n_tokens, stream.d_in) == (store.name, store.n_tokens, 384)
    spans = [(100, 131), (3, 9), (0, 50), (store.n_tokens - 5, store.n_tokens)]
    rows = store.read(spans)
    assert torch.equal(rows, torch.cat([store.load()[a:b] for a, b in spans]))
    torch.testing.assert_close(stream.read(spans).float(), rows.float(), rtol=0.05, atol=0.05)
    assert torch.equal(store.read([(0, 9)]).float().norm(dim=1), store.load()[:9].float().norm(dim=1))


class _SmallDevice(torch.nn.Module):
    """A model on a device that holds no more than `most` headlines at a time."""

    def __init__(self, model: torch.nn.Module, most: int) -> None:
        super().__init__()
        self.model, self.config, self.most = model, model.config, most

    def forward(self, input_ids: torch.Tensor, **inputs: torch.Tensor) -> object:
        """Out of memory where the batch is too large."""
        if len(input_ids) > self.most:
            raise torch.OutOfMemoryError
        return self.model(input_ids=input_ids, **inputs)


def test_out_of_memory_halves(classifier: Classifier, capsys: pytest.CaptureFixture[str]) -> None:
    """Batches that do not fit are read in parts, aloud; where one headline does not fit it ends with a sentence."""
    headlines = classifier.tokenize(TEXTS)
    whole = read_activations(classifier.model, headlines, 0, 2, "words")[0]
    parts = read_activations(_SmallDevice(classifier.model, 4), headlines, 0, 2, "words")[0]
    torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-4)
    assert "out of memory, goes on with 3 at a time" in capsys.readouterr().err
    with pytest.raises(UserError, match="too small for reading activations"):
        read_activations(_SmallDevice(classifier.model, 0), headlines, 0, 2, "words")
