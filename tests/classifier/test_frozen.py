"""Frozen layers: the layers above give the whole model's logits, and nothing below them moves."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook
from transformers import BertForSequenceClassification
from transformers.models.bert.modeling_bert import BertIntermediate

from sae_pipeline.classifier.finetuning import finetune
from sae_pipeline.classifier.frozen import freeze, from_layer, from_tokens
from sae_pipeline.classifier.pretrained import load_for, load_pretrained
from sae_pipeline.classifier.support import check_encoder
from sae_pipeline.classifier.tail import Tail
from sae_pipeline.config import FinetuneConfig, HeadlinesConfig
from sae_pipeline.errors import UserError
from sae_pipeline.headlines.labels import FINANCIAL
from sae_pipeline.headlines.tokens import tokenize
from sae_pipeline.tracking import no_tracking
from tests.support.encoders import finbert_like
from tests.support.families import family
from tests.support.tables import ROWS, csv_text, load

TEXTS = ["Brewer cuts dividend after weak sales", "Miner soars", "Profit falls at the bank, shares sink", "Up"]
_CPU, _LOG = torch.device("cpu"), no_tracking("finetune", {})


@pytest.fixture(params=["bert", "deberta-v2", "bart", "gpt2"])  # two that are cut, and two that run whole
def some_family(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    """A small random model of a family, and its tokenizer."""
    network, tokens = family(request.param)
    check_encoder(network, tokens)  # finds a token for padding where the family has none
    return network, tokens


class TestUpperLayers:
    """Reading from what the frozen layers have made of headlines."""

    def test_logits_are_those_of_the_whole_model(self, some_family: tuple[Any, Any], tmp_path: Path) -> None:
        """Headlines of unlike lengths, in any order, some of them twice; no file is left."""
        network, tokens = some_family
        headlines = tokenize(tokens, TEXTS, 64, strip_links=True)
        freeze(network, 1)
        upper = from_layer(network, Tail(network, 1), headlines, tokens.pad_token_id, 1, "fp32", tmp_path)
        whole = from_tokens(network.eval(), headlines, tokens.pad_token_id)
        for rows in (np.array([2, 0, 3, 0]), np.array([1])):
            assert torch.allclose(upper.read(rows), whole.read(rows), atol=1e-5)
        assert not list(tmp_path.iterdir())

    def test_gradients_reach_the_upper_layers_alone(self, some_family: tuple[Any, Any], tmp_path: Path) -> None:
        """What gets a gradient in the whole model, less what the first layer's output depends on."""
        network, tokens = some_family
        headlines, rows = tokenize(tokens, TEXTS, 64, strip_links=True), np.arange(4)
        from_tokens(network, headlines, tokens.pad_token_id).read(rows).sum().backward()
        used = {name for name, weight in network.named_parameters() if weight.grad is not None}
        network.zero_grad()
        freeze(network, 1)
        trained = {name for name, weight in network.named_parameters() if weight.requires_grad}
        upper = from_layer(network, Tail(network, 1), headlines, tokens.pad_token_id, 1, "fp32", tmp_path)
        upper.module.train()
        upper.read(rows).sum().backward()
        moved = {name for name, weight in network.named_parameters() if weight.grad is not None}
        assert moved == used & trained
        assert moved < used and any(".1." in name for name in moved)


class TestFreeze:
    """What cannot be frozen."""

    def test_more_layers_than_there_are(self) -> None:
        """One sentence names the flag."""
        with pytest.raises(UserError, match=r"has 3 layers; use --freeze 3 or less"):
            freeze(family("bert")[0], 4)

    def test_layers_that_share_their_weights(self) -> None:
        """ALBERT's layers are one and the same."""
        with pytest.raises(UserError, match="share their weights"):
            freeze(family("albert")[0], 1)


@pytest.mark.parametrize("n_layers", [1, 2])
def test_fine_tuning_moves_only_what_is_above(tmp_path: Path, n_layers: int) -> None:
    """Frozen weights keep their bits in bf16 too, and steps do not run their layers; all other weights move."""
    finbert_like(tmp_path / "model", ["negative", "positive", "neutral"])
    headlines, data = load(tmp_path, "a.csv", csv_text(ROWS)), HeadlinesConfig(source="a.csv")
    config = FinetuneConfig(
        model=str(tmp_path / "model"), freeze=n_layers, epochs=2, learning_rate=0.01, precision="bf16"
    )
    in_steps: list[nn.Module] = []
    counting = register_module_forward_hook(lambda part, _in, _out: in_steps.append(part) if part.training else None)
    made = finetune(headlines, data, config, tmp_path / "store", tmp_path / "checkpoints", _CPU, _LOG)
    counting.remove()
    n_steps = sum(isinstance(part, BertForSequenceClassification) for part in in_steps)
    assert sum(isinstance(part, BertIntermediate) for part in in_steps) == n_steps * (2 - n_layers) > -1
    before = dict(load_for(config.model, FINANCIAL).network.named_parameters())
    frozen = ("bert.embeddings", "bert.encoder.layer.0", "bert.encoder.layer.1")[: 1 + n_layers]
    for name, weight in load_pretrained(str(made)).network.named_parameters():
        if name.endswith("key.bias"):  # softmax takes it away
            continue
        assert torch.equal(weight, before[name]) == name.startswith(frozen), name
    assert not list((tmp_path / "checkpoints").iterdir())
