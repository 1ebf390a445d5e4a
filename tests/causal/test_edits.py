"""The laws of an edit inside the whole model, and edits that do not fit."""

import pytest
import torch

from sae_pipeline.causal.edits import Edit, edit_hidden, intervene
from sae_pipeline.causal.probe import Probe
from sae_pipeline.classifier.hooks import hooked, resolve_hookpoint
from sae_pipeline.errors import UserError
from tests.support.cases import LAYER, TEXTS, Case, random_sae
from tests.support.saes import drawn


class TestLaws:
    """Bit for bit within one batch of one shape."""

    def test_nothing_changes(self, case: Case) -> None:
        """No edit, ablating a silent feature, scaling by 1 and adding 0 leave the logits as they are."""
        plain = case.logits()
        live = int(case.activations().sum((0, 1)).argmax())
        for edits in ([], [Edit(0)], [Edit(live, "scale", 1.0)], [Edit(live, "add", 0.0)]):
            assert torch.equal(case.logits(edits), plain)

    def test_other_headlines_are_untouched(self, case: Case) -> None:
        """Edits of rows 1 and 2 change these rows and no other."""
        plain, live = case.logits(), int(case.activations().sum((0, 1)).argmax())
        edited = case.logits([Edit(live, "clamp", 9.0, headline=1), Edit(live, "add", 5.0, headline=2)])
        changed = (edited != plain).any(1)
        assert changed.tolist() == [row in (1, 2) for row in range(len(TEXTS))]

    def test_clamp_equals_a_hand_made_pass(self, case: Case) -> None:
        """x' = x + scale·(v − f)·W_dec[i] at one position, written out in a hook."""
        feature, position, value = 7, 2, 3.5
        f = case.activations()[3, position, feature]

        def by_hand(hidden: torch.Tensor) -> torch.Tensor:
            hidden = hidden.clone()
            hidden[3, position] += case.sae.scale * (value - f) * case.sae.W_dec[feature]
            return hidden

        with torch.no_grad(), hooked(resolve_hookpoint(case.model, LAYER)[0], by_hand):
            expected = case.model(input_ids=case.input_ids, attention_mask=case.mask).logits
        found = case.logits([Edit(feature, "clamp", value, headline=3, positions=(position,))])
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
        assert not torch.equal(found, case.logits())

    def test_the_error_stays(self, bert: Case) -> None:
        """Ablating all features leaves x − scale·Σ f·W_dec, not the SAE's bias; edits apply in their order."""
        hidden = drawn(0, 2, 5, 32)
        counted = torch.ones(2, 5, dtype=torch.bool)
        everything = [Edit(i) for i in range(48)]
        rest = hidden.double() - bert.sae.scale.double() * (bert.sae.encode(hidden) @ bert.sae.W_dec).double()
        found = edit_hidden(hidden, counted, bert.sae, everything)
        torch.testing.assert_close(found.double(), rest, rtol=1e-4, atol=1e-4)
        twice = edit_hidden(hidden, counted, bert.sae, [Edit(3, "clamp", 2.0), Edit(3, "scale", 4.0)])
        once = edit_hidden(hidden, counted, bert.sae, [Edit(3, "clamp", 8.0)])
        assert torch.equal(twice, once)

    def test_hooks_are_gone_after_an_exception(self, bert: Case) -> None:
        """Whatever is raised inside, the model is as before."""
        plain = bert.logits()
        with pytest.raises(RuntimeError), intervene(bert.model, LAYER, bert.sae, [Edit(5, "add", 9.0)], bert.counted):
            raise RuntimeError
        assert torch.equal(bert.logits(), plain)
        with pytest.raises(UserError), intervene(bert.model, LAYER, bert.sae, [Edit(99)], bert.counted):
            bert.model(input_ids=bert.input_ids, attention_mask=bert.mask)
        assert torch.equal(bert.logits(), plain)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (Edit(48), "no feature 48"),
        (Edit(-1), "no feature -1"),
        (Edit(1, "clamp", float("nan")), "out of range"),
        (Edit(1, "scale", 1e30), "out of range"),
        (Edit(1, "double"), "no operation"),  # type: ignore[arg-type]
        (Edit(1, headline=9), "no headline 9"),
        (Edit(1, positions=(0,)), "Position 0 cannot be edited"),
        (Edit(1, positions=(500,)), "Position 500 cannot be edited"),
    ],
)
def test_bad_edits(bert: Case, edit: Edit, message: str) -> None:
    """One sentence, and nothing is changed."""
    with pytest.raises(UserError, match=message):
        bert.logits([edit])


def test_bad_combinations(bert: Case) -> None:
    """Too many edits, another layer, another batch, another model's SAE."""
    with pytest.raises(UserError, match="10,000 edits"):
        bert.logits([Edit(1)] * 10_000)
    with pytest.raises(UserError, match="reads layer 1"), intervene(bert.model, 2, bert.sae, [], bert.counted):
        pass
    with pytest.raises(UserError, match="of this classifier"):
        edit_hidden(torch.zeros(2, 3, 32), bert.counted, bert.sae, [Edit(1)])
    with pytest.raises(UserError, match="width 16"):
        Probe.of(bert.model, random_sae(16, 8, "words"), 0)
