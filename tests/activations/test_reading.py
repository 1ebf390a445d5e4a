"""Reading: the right layer and tokens, no later layers run, hooks are removed, batches fit into memory."""

from pathlib import Path

import numpy as np
import pytest
import torch

from sae_pipeline.activations.reading import read_activations, read_batches
from sae_pipeline.classifier.classifier import Classifier, predict
from sae_pipeline.classifier.hooks import resolve_hookpoint
from sae_pipeline.classifier.pretrained import load_pretrained
from sae_pipeline.errors import UserError
from sae_pipeline.headlines.sample import sample_headlines
from sae_pipeline.headlines.tokens import collate, tokenize
from tests.support.encoders import ENCODERS, save_encoder

TEXTS = [text for text, _ in sample_headlines()[:12]]


@pytest.mark.parametrize("name", sorted(ENCODERS))
@pytest.mark.parametrize("layer", [1, 3])
@pytest.mark.parametrize("positions", ["words", "all"])
def test_equals_hidden_states(tmp_path: Path, name: str, layer: int, positions: str) -> None:
    """Layer L is `hidden_states[L]` at the counted positions, for three families of encoder."""
    save_encoder(name, tmp_path)
    model, tokenizer, *_ = load_pretrained(str(tmp_path))
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
        resolve_hookpoint(classifier.model, layer)[0].module.register_forward_hook(lambda *_, n=layer: calls.append(n))
        for layer in range(1, 7)
    ]
    try:
        read_activations(classifier.model, classifier.tokenize(TEXTS[:3]), 0, 2, "words")
    finally:
        for handle in handles:
            handle.remove()
    assert calls == [1, 2]
    assert not any(m._forward_hooks for m in classifier.model.modules())


CUBLAS = RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasSgemm(handle)`")


class _SmallDevice(torch.nn.Module):
    """A model on a device that holds no more than `most` headlines at a time."""

    def __init__(self, model: torch.nn.Module, most: int, error: Exception | None = None) -> None:
        super().__init__()
        self.model, self.config, self.most = model, model.config, most
        self.error = error or torch.OutOfMemoryError()

    def forward(self, input_ids: torch.Tensor, **inputs: torch.Tensor) -> object:
        """Out of memory where the batch is too large."""
        if len(input_ids) > self.most:
            raise self.error
        return self.model(input_ids=input_ids, **inputs)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError(), CUBLAS], ids=["torch", "cublas"])
def test_out_of_memory_halves(classifier: Classifier, capsys: pytest.CaptureFixture[str], error: Exception) -> None:
    """Batches that do not fit are read in parts, with a message; a headline that does not fit ends with a sentence.

    cuBLAS allocates beside torch, and then the error is a RuntimeError.
    """
    headlines = classifier.tokenize(TEXTS)
    whole = read_activations(classifier.model, headlines, 0, 2, "words")[0]
    parts = read_activations(_SmallDevice(classifier.model, 4, error), headlines, 0, 2, "words")[0]
    torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-4)
    assert "out of memory, goes on with 3 at a time" in capsys.readouterr().err
    logits = predict(_SmallDevice(classifier.model, 4, error), headlines, 0)
    np.testing.assert_allclose(logits, predict(classifier.model, headlines, 0), atol=1e-4)
    with pytest.raises(UserError, match="too small for reading activations"):
        read_activations(_SmallDevice(classifier.model, 0, error), headlines, 0, 2, "words")
