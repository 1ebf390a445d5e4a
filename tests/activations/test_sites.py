"""Sites: what an SAE reads of a headline, and what moving a site does to the hidden states and to the logits."""

import numpy as np
import pytest
import torch

from sae_pipeline.activations.sites import Sites
from sae_pipeline.causal.attribution import attribute
from sae_pipeline.causal.edits import Edit, edit_hidden, intervene
from sae_pipeline.causal.probe import Variants
from sae_pipeline.classifier.logits import centred
from sae_pipeline.classifier.support import check_first_position
from sae_pipeline.errors import UserError
from tests.support.cases import LAYER, Case, random_sae
from tests.support.saes import drawn


def with_positions(case: Case, positions: str) -> Case:
    """The same encoder with an SAE of other positions."""
    other = object.__new__(Case)
    other.__dict__ |= case.__dict__
    other.sae = random_sae(32, 48, positions)  # type: ignore[arg-type]
    other.probe = type(case.probe).of(case.model, other.sae, case.pad_id)
    counted = [h.counted(positions) for h in case.headlines]  # type: ignore[arg-type]
    other.counted = torch.zeros_like(case.mask, dtype=torch.bool)
    for row, places in enumerate(counted):
        other.counted[row, places] = True
    return other


@pytest.fixture(scope="module", params=["cls", "mean"])
def whole(request: pytest.FixtureRequest, bert: Case) -> Case:
    """A small BERT with an SAE that reads one vector per headline."""
    return with_positions(bert, request.param)


def test_the_mean_of_moved_words_is_the_new_vector() -> None:
    """Replacing a headline's vector moves each of its words by x̂ − x, and no other token; padded or not."""
    counted = torch.tensor([[0, 1, 1, 1, 0, 0], [0, 1, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]], dtype=torch.bool)
    hidden, new = drawn(0, 3, 6, 8), drawn(1, 2, 8)
    sites = Sites.of_mask(counted, "mean")
    assert sites.headline.tolist() == [0, 1] and sites.position.tolist() == [0, 0]  # the third has no words
    moved = sites.replaced(hidden, new)
    torch.testing.assert_close(moved[0, 1:4].mean(0), new[0])
    torch.testing.assert_close(moved[1, 1], new[1])
    assert torch.equal(moved[~counted], hidden[~counted])
    step = new[0] - hidden[0, 1:4].mean(0)
    torch.testing.assert_close(moved[0, 1:4] - hidden[0, 1:4], step.expand(3, -1))


def test_no_words() -> None:
    """Headlines without words have no mean; beside others they change nothing."""
    hidden = torch.arange(24.0).view(2, 3, 4)
    counted = torch.zeros(2, 3, dtype=torch.bool)
    assert Sites.of_mask(counted, "mean").read(hidden).shape == (0, 4)
    counted[1, 1:] = True
    assert torch.equal(Sites.of_mask(counted, "mean").read(hidden), hidden[1:, 1:].mean(1))


def test_one_vector_per_headline_in_any_batch(whole: Case) -> None:
    """A vector, and so its features, is the same whichever headlines share its batch."""
    together, firings = whole.probe.acts(whole.reading), whole.reading.firings
    assert len(together) == len(whole.headlines) and not firings.position.any()
    for row in (0, 4):
        alone = whole.probe.read(whole.headlines[row : row + 1])
        torch.testing.assert_close(whole.probe.acts(alone)[0], together[row], rtol=1e-4, atol=1e-5)
        assert alone.firings.feature.tolist() == firings.feature[firings.headline == row].tolist()
    for row, (start, headline) in enumerate(zip(whole.reading.starts, whole.headlines, strict=False)):
        words = [i for i, word in enumerate(headline.words) if word >= 0]
        members = [0] if whole.sae.config.positions == "cls" else words
        torch.testing.assert_close(together[row], whole.reading.hidden[start + np.array(members)].mean(0))


def test_splicing_and_edits_agree_with_the_whole_model(whole: Case) -> None:
    """The identity leaves the logits within 1e-5; an ablation in the probe equals one in a forward pass."""
    reading = whole.reading
    spliced = whole.probe.replaced_logits(reading, whole.probe.acts(reading))
    assert np.abs(spliced - reading.logits).max() < 1e-5
    firings = reading.firings
    group = int(np.flatnonzero(firings.group_headline == 2)[0])
    feature = int(firings.group_feature[group])
    found = whole.probe.logits(reading, Variants.of_groups(firings, [2], [[group]]))
    with torch.no_grad(), intervene(whole.model, LAYER, whole.sae, [Edit(feature, headline=2)], whole.counted):
        expected = whole.model(input_ids=whole.input_ids, attention_mask=whole.mask).logits
    assert found[0] == pytest.approx(expected[2].double().numpy(), abs=1e-5)
    assert np.abs(found[0] - reading.logits[2]).max() > 1e-4
    if whole.sae.config.positions == "mean":
        hidden = drawn(0, *whole.counted.shape, 32)
        with pytest.raises(UserError, match="one vector per headline"):
            edit_hidden(hidden, whole.counted, whole.sae, [Edit(feature, positions=(1,))])


def test_effects_add_up(whole: Case) -> None:
    """base + Σ effects is the logit, and the gradient says what a small change of a feature does."""
    reading = whole.reading
    found = attribute(whole.probe, reading, steps=16)
    totals = np.zeros_like(found.logits)
    np.add.at(totals, reading.firings.headline, found.integrated)
    assert found.base + totals == pytest.approx(centred(reading.logits), abs=2e-3)
    estimated = found.by_feature(reading.firings, "gradient")
    group = int(np.abs(estimated).max(1).argmax())
    f, headline = float(reading.firings.group_max[group]), int(reading.firings.group_headline[group])
    less = whole.probe.logits(reading, Variants.of_groups(reading.firings, [headline], [[group]], level=0.98 * f))
    change = centred(reading.logits)[headline] - centred(less)[0]
    assert change == pytest.approx(0.02 * estimated[group], rel=0.05, abs=2e-5)


def test_cls_is_the_token_that_the_head_reads(bert: Case, tmp_path_factory: pytest.TempPathFactory) -> None:
    """BERT's head reads the first token; a decoder reads the last one, and is told to use the mean."""
    from transformers import AutoTokenizer, GPT2Config, GPT2ForSequenceClassification

    from tests.support.encoders import save_encoder

    folder = tmp_path_factory.mktemp("head")
    save_encoder("bert", folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    check_first_position(bert.model, tokenizer)
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=len(tokenizer), n_positions=64, n_embd=32, n_layer=2, n_head=2, num_labels=3)
    config.pad_token_id = tokenizer.pad_token_id
    with pytest.raises(UserError, match=r"reads the last token of a headline.*--positions mean"):
        check_first_position(GPT2ForSequenceClassification(config).eval(), tokenizer)
