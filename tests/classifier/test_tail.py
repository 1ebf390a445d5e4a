"""Shorter ways to a classifier's logits: compared with the whole model, values and gradients."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import AlbertConfig, AutoModelForSequenceClassification, BartConfig

from sae_pipeline.classifier.hooks import hooked, resolve_hookpoint
from sae_pipeline.classifier.tail import Tail, logits_only
from tests.support.cases import LAYER, Case


class TestLogitsOnly:
    """A last layer of one position says and learns the same."""

    def test_logits_and_gradients_are_the_whole_models(self, case: Case) -> None:
        """Of every parameter, where the loss reaches it."""
        found = []
        for model in (case.model, logits_only(case.model)):
            case.model.zero_grad()
            logits = model(input_ids=case.input_ids, attention_mask=case.mask).logits
            logits.logsumexp(1).sum().backward()
            grads = {name: p.grad.clone() for name, p in case.model.named_parameters() if p.grad is not None}
            found.append({"logits": logits.detach(), **grads})
        assert found[0].keys() == found[1].keys()
        for name, whole in found[0].items():
            torch.testing.assert_close(found[1][name], whole, rtol=1e-3, atol=1e-5, msg=name)

    def test_a_model_in_training_is_shortened_too(self, case: Case) -> None:
        """Dropout hides no agreement, and stays on."""
        short = logits_only(case.model.train())
        flags = [part.training for part in case.model.modules()]
        case.model.eval()
        assert short is not case.model and all(flags)

    def test_other_families_stay_whole(self) -> None:
        """Shared layers (ALBERT) and decoders (BART) are left as they are."""
        small = {"vocab_size": 60, "num_labels": 3}
        albert = AlbertConfig(
            hidden_size=16, embedding_size=8, num_attention_heads=2, intermediate_size=16, num_hidden_layers=3, **small
        )
        bart = BartConfig(
            d_model=16, encoder_layers=2, decoder_layers=2, encoder_ffn_dim=16, decoder_ffn_dim=16, **small
        )
        for config in (albert, bart):
            model = AutoModelForSequenceClassification.from_config(config)
            assert logits_only(model) is model

    @pytest.mark.parametrize("ours", [logits_only, lambda model: Tail(model, LAYER)], ids=["from input", "tail"])
    def test_precision_that_others_allow_misleads_no_check(self, bert: Case, ours: Callable[[Any], object]) -> None:
        """The comparison's own products keep all bits, and afterwards what a program has allowed holds again."""
        seen: set[str] = set()
        handle = bert.model.register_forward_hook(lambda *_: seen.add(torch.backends.cuda.matmul.fp32_precision))
        torch.set_float32_matmul_precision("medium")
        try:
            ours(bert.model)
            after = torch.backends.cuda.matmul.fp32_precision, torch.get_float32_matmul_precision()
        finally:
            torch.set_float32_matmul_precision("highest")
            handle.remove()
        assert seen == {"ieee"} and after == ("tf32", "medium")

    def test_a_kept_layer_is_whole(self, case: Case) -> None:
        """A hook on any layer sees all positions, on the last one too."""
        for layer in (1, 2, 3):
            seen: list[torch.Tensor] = []
            with torch.no_grad(), hooked(resolve_hookpoint(case.model, layer)[0], seen.append):
                short = logits_only(case.model, keep=layer)
                seen.clear()
                short(input_ids=case.input_ids, attention_mask=case.mask)
            assert seen[0].shape[:2] == case.input_ids.shape

    def test_dropout_is_the_same(self, case: Case) -> None:
        """In training mode too: over many draws the mean logits agree, and they differ from draw to draw."""
        short = logits_only(case.model)
        drawn = []
        with torch.no_grad():
            for model in (case.model.train(), short.train()):
                torch.manual_seed(0)
                logits = [model(input_ids=case.input_ids[:1], attention_mask=case.mask[:1]).logits for _ in range(400)]
                drawn.append(torch.cat(logits).double())
        case.model.eval()
        error = ((drawn[0].var(0) + drawn[1].var(0)) / 400).sqrt()
        assert (drawn[1].std(0) > 0).all()
        assert ((drawn[0].mean(0) - drawn[1].mean(0)).abs() < 5 * error).all()
        assert torch.allclose(drawn[0].std(0), drawn[1].std(0), rtol=0.25)


class TestTail:
    """Rerunning from the hookpoint equals the whole model."""

    @pytest.mark.parametrize("layer", [1, 2, 3])
    def test_equals_the_whole_model(self, case: Case, layer: int) -> None:
        """At every layer of every family, padding included."""
        seen: list[torch.Tensor] = []
        with torch.no_grad():
            with hooked(resolve_hookpoint(case.model, layer)[0], seen.append):
                whole = case.model(input_ids=case.input_ids, attention_mask=case.mask).logits
            torch.testing.assert_close(
                Tail(case.model, layer)(seen[0], case.input_ids, case.mask), whole, rtol=1e-4, atol=1e-5
            )
        assert torch.equal(case.logits(), whole), "the model itself is untouched"

    @pytest.mark.parametrize("layer", [1, 2])
    def test_gradients_are_the_whole_models(self, case: Case, layer: int) -> None:
        """Of every logit with respect to the hidden states, in float64."""
        model, seen = copy.deepcopy(case.model).double(), list[torch.Tensor]()
        site, given = resolve_hookpoint(model, layer)[0], {"input_ids": case.input_ids, "attention_mask": case.mask}
        with torch.no_grad(), hooked(site, seen.append):
            model(**given)
        hidden = seen[0].clone().requires_grad_()
        with hooked(site, lambda _: hidden):
            whole = model(**given).logits
        ours = Tail(model, layer)(hidden, case.input_ids, case.mask)
        for n in range(whole.shape[1]):
            expected, found = (
                torch.autograd.grad(logits[:, n].sum(), hidden, retain_graph=True)[0] for logits in (whole, ours)
            )
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)

    def test_a_head_that_reads_all_positions(self, bert: Case) -> None:
        """The short last layer is dropped where it would be wrong."""

        class MeanPooler(torch.nn.Module):
            def forward(self, hidden: torch.Tensor) -> torch.Tensor:
                return hidden.mean(1)

        pooler = bert.model.bert.pooler
        bert.model.bert.pooler = MeanPooler()
        try:
            seen: list[torch.Tensor] = []
            with torch.no_grad(), hooked(resolve_hookpoint(bert.model, LAYER)[0], seen.append):
                whole = bert.logits()
                torch.testing.assert_close(
                    Tail(bert.model, LAYER)(seen[0], bert.input_ids, bert.mask), whole, rtol=1e-4, atol=1e-5
                )
            assert logits_only(bert.model) is bert.model
        finally:
            bert.model.bert.pooler = pooler
