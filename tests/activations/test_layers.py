"""Several layers in one pass: the bits of single extractions, also after a kill; one sentence for a missing layer."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from sae_pipeline.activations.extraction import Extraction, extract, extract_layers
from sae_pipeline.activations.reading import read_batches, read_layers
from sae_pipeline.activations.store import ActivationStore
from sae_pipeline.classifier.classifier import Classifier
from sae_pipeline.config import ExtractConfig
from sae_pipeline.errors import UserError
from sae_pipeline.headlines.sample import sample_headlines
from tests.support.cases import Case

TEXTS = [text for text, _ in sample_headlines()[:36]]
LAYERS = (1, 3, 4)


@pytest.fixture
def wanted(classifier: Classifier, monkeypatch: pytest.MonkeyPatch) -> Extraction:
    """Layer 3 over some headlines, in shards of 40 tokens."""
    monkeypatch.setattr("sae_pipeline.activations.extraction.SHARD_TOKENS", 40)
    config = ExtractConfig(layer=3, tokens_per_batch=128)
    return Extraction(classifier.model, classifier.tokenize(TEXTS), 0, config, "c", "d")


@pytest.fixture
def passes(classifier: Classifier) -> Iterator[list[int]]:
    """Counts the forward passes of the classifier; those after the `limit` in place 1 are interrupted."""
    counted = [0, 10**9]

    def count(*_: Any) -> None:
        counted[0] += 1
        if counted[0] > counted[1]:
            raise KeyboardInterrupt

    handle = classifier.model.register_forward_pre_hook(count)
    yield counted
    handle.remove()


def assert_same(one: ActivationStore, other: ActivationStore) -> None:
    """The same shards byte for byte, and the same manifest but for its seconds."""
    assert one.name == other.name
    for name in one.manifest.files:
        assert (one.folder / name).read_bytes() == (other.folder / name).read_bytes()
    assert one.manifest.model_copy(update={"seconds": 0}) == other.manifest.model_copy(update={"seconds": 0})


def test_one_pass_gives_the_bits_of_single_extractions(tmp_path: Path, wanted: Extraction, passes: list[int]) -> None:
    """Three layers take the passes of one, and each store is that of its layer alone."""
    alone = [extract(wanted.of_layer(layer), tmp_path / "alone", tmp_path / "unfinished") for layer in LAYERS]
    of_three, passes[0] = passes[0], 0
    together = extract_layers(wanted, LAYERS, tmp_path / "together", tmp_path / "unfinished")
    assert passes[0] == of_three // 3 > 3
    assert [store.manifest.hookpoint.layer for store in together] == list(LAYERS)
    assert len(alone[0].manifest.files) >= 3
    for one, other in zip(alone, together, strict=True):
        assert_same(one, other)
    assert list((tmp_path / "unfinished").iterdir()) == []
    passes[0] = 0
    assert extract_layers(wanted, LAYERS, tmp_path / "together", tmp_path / "unfinished") == together and not passes[0]


def test_a_killed_pass_goes_on(tmp_path: Path, wanted: Extraction, passes: list[int]) -> None:
    """Shards that are whole are kept, by layer; a single extraction goes on from them as well."""
    whole = extract_layers(wanted, LAYERS, tmp_path / "whole", tmp_path / "unfinished")
    n_shards, n_passes = len(whole[0].manifest.files), passes[0]
    root = tmp_path / "again"
    passes[:] = 0, n_passes // 2
    with pytest.raises(KeyboardInterrupt):
        extract_layers(wanted, LAYERS, root, tmp_path / "unfinished")
    kept = len([*(tmp_path / "unfinished").rglob("acts-*.safetensors")])
    assert kept % 3 == 0 < kept < 3 * n_shards and not root.exists()
    passes[:] = 0, 10**9
    assert_same(extract(wanted.of_layer(4), root, tmp_path / "unfinished"), whole[2])
    assert passes[0] < n_passes
    passes[0] = 0
    for one, other in zip(extract_layers(wanted, LAYERS, root, tmp_path / "unfinished"), whole, strict=True):
        assert_same(one, other)
    assert passes[0] < n_passes
    assert list((tmp_path / "unfinished").iterdir()) == []


def test_a_layer_that_does_not_exist_leaves_nothing(tmp_path: Path, wanted: Extraction) -> None:
    """One sentence, and no store of the layers that do exist."""
    with pytest.raises(UserError, match="Layer 9 does not exist: this model has layers 1 to 6"):
        extract_layers(wanted, (2, 9), tmp_path / "stores", tmp_path / "unfinished")
    assert list(tmp_path.iterdir()) == []


def test_every_family_reads_several_layers_at_once(case: Case) -> None:
    """Each layer has the bits that it has when it is read alone, with and without the logits."""
    alone = {layer: list(read_batches(case.model, case.headlines, case.pad_id, layer, "all")) for layer in LAYERS[:2]}
    for with_logits in (False, True):
        read = read_layers(case.model, case.headlines, case.pad_id, LAYERS[:2], "all", with_logits=with_logits)
        for n, batches in enumerate(read):
            assert all((batch.logits is not None) == with_logits for batch in batches)
            for layer, batch in zip(LAYERS, batches, strict=False):
                assert torch.equal(batch.acts, alone[layer][n].acts)
