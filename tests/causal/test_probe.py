"""The laws of an edit, and rerunning from the hookpoint against the whole model."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AlbertConfig, AutoModelForSequenceClassification, AutoTokenizer, BartConfig

from sae_pipeline.causal.edits import Edit, edit_hidden, intervene
from sae_pipeline.causal.probe import Probe, Reading, Variants
from sae_pipeline.classifier.hooks import hooked, resolve_hookpoint
from sae_pipeline.classifier.tail import Tail, logits_only
from sae_pipeline.errors import UserError
from sae_pipeline.headlines.sample import sample_headlines
from sae_pipeline.headlines.tokens import TokenizedHeadline, collate, counted_mask, tokenize
from sae_pipeline.sae.autoencoder import SaeConfig, SparseAutoencoder
from sae_pipeline.schema.common import PositionKind
from sae_pipeline.schema.run import Hookpoint
from tests.support.encoders import ENCODERS, save_encoder

TEXTS = [text for text, _ in sample_headlines()[:9]]
LAYER = 1


class Case:
    """A random encoder of one family with a random SAE on its first layer."""

    def __init__(self, folder: Path, positions: PositionKind = "words") -> None:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
        self.pad_id = tokenizer.pad_token_id
        self.headlines = tokenize(tokenizer, TEXTS, 64, strip_links=True)
        self.sae = random_sae(32, 48, positions)
        self.input_ids, self.mask = collate(self.headlines, self.pad_id)
        self.counted = counted_mask(self.headlines, positions)
        self.probe = Probe.of(self.model, self.sae, self.pad_id)

    @property
    def reading(self) -> Reading:
        return self.probe.read(self.headlines)

    def logits(self, edits: list[Edit] | None = None) -> torch.Tensor:
        """Of the whole model, inside `intervene` when there are edits."""
        with torch.no_grad():
            if edits is None:
                return self.model(input_ids=self.input_ids, attention_mask=self.mask).logits
            with intervene(self.model, LAYER, self.sae, edits, self.counted):
                return self.model(input_ids=self.input_ids, attention_mask=self.mask).logits

    def activations(self) -> torch.Tensor:
        """[n_headlines, n_positions, d_sae], zero where the SAE does not look."""
        seen: list[torch.Tensor] = []
        with torch.no_grad(), hooked(resolve_hookpoint(self.model, LAYER)[0], seen.append):
            self.model(input_ids=self.input_ids, attention_mask=self.mask)
        return self.sae.encode(seen[0]) * self.counted[..., None]


def random_sae(d_in: int, d_sae: int, positions: PositionKind) -> SparseAutoencoder:
    """About half of its features active; feature 0 never is."""
    config = SaeConfig(
        d_in=d_in,
        d_sae=d_sae,
        recipe="default",
        l1_coefficient=1e-3,
        sparsity_weight=1.0,
        positions=positions,
        hookpoint=Hookpoint(layer=LAYER, module=""),
        classifier_hash="c" * 12,
        data_hash="d" * 12,
    )
    sae = SparseAutoencoder(config, torch.randn(d_in) * 0.1, torch.tensor(0.7))
    with torch.no_grad():
        sae.W_enc.copy_(torch.randn(d_in, d_sae))
        sae.W_dec.copy_(torch.nn.functional.normalize(torch.randn(d_sae, d_in), dim=1))
        sae.b_enc[0] = -1e4
    return sae.requires_grad_(False)


@pytest.fixture(scope="module", params=list(ENCODERS))
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    """One per family."""
    folder = tmp_path_factory.mktemp(request.param)
    save_encoder(request.param, folder)
    return Case(folder)


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Case:
    """BERT alone, where families do not matter."""
    folder = tmp_path_factory.mktemp("bert")
    save_encoder("bert", folder)
    return Case(folder)


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
        hidden = torch.randn(2, 5, 32)
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
            torch.testing.assert_close(Tail(case.model, layer)(seen[0], case.mask), whole, rtol=1e-4, atol=1e-5)
        assert torch.equal(case.logits(), whole), "the model itself is untouched"

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
                torch.testing.assert_close(Tail(bert.model, LAYER)(seen[0], bert.mask), whole, rtol=1e-4, atol=1e-5)
            assert logits_only(bert.model) is bert.model
        finally:
            bert.model.bert.pooler = pooler

    def test_ablations_in_one_pass_equal_one_by_one(self, case: Case) -> None:
        """Ten groups of features of three headlines, batched, against `intervene` with the whole model."""
        reading = case.reading
        np.testing.assert_allclose(reading.logits, case.logits().numpy(), rtol=1e-4, atol=1e-5)
        rng = np.random.default_rng()
        headline = np.repeat([0, 4, 7], 4)
        sets = [
            rng.choice(np.arange(*reading.group_starts[h : h + 2]), size=size, replace=False)
            for h, size in zip(headline, [0, 1, 3, 20] * 3, strict=True)
        ]
        found = case.probe.logits(reading, Variants.of_groups(reading.firings, headline, sets))
        for row, h, groups in zip(found, headline, sets, strict=True):
            edits = [Edit(int(f), headline=int(h)) for f in reading.firings.group_feature[groups]]
            np.testing.assert_allclose(row, case.logits(edits)[h].numpy(), rtol=1e-4, atol=2e-5)

    def test_unedited_variants_are_bit_identical_within_a_batch(self, bert: Case) -> None:
        """Variants that change nothing give the logits of the same batch without edits."""
        reading = bert.reading
        headline = np.zeros(4, np.int64)
        first = np.arange(*reading.group_starts[:2])
        plain = bert.probe.logits(reading, Variants.of_groups(reading.firings, headline, [[]] * 4))
        mixed = Variants.of_groups(reading.firings, headline, [[], first[:1], first[:5], []])
        edited = bert.probe.logits(reading, mixed)
        assert (edited[[0, 3]] == plain[[0, 3]]).all() and (edited[[1, 2]] != plain[[1, 2]]).any(1).all()

    def test_active_entries_are_those_of_the_sae(self, bert: Case) -> None:
        """The reading's firings are the covered non-zeros of encode."""
        firings, dense = bert.reading.firings, bert.activations().numpy()
        rebuilt = np.zeros_like(dense)
        rebuilt[firings.headline, firings.position, firings.feature] = firings.value
        np.testing.assert_allclose(rebuilt, dense, rtol=1e-4, atol=1e-5)


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


def test_all_positions_cover_the_special_ones(tmp_path: Path) -> None:
    """An SAE trained on all positions edits [CLS]; one trained on words does not."""
    save_encoder("bert", tmp_path)
    case = Case(tmp_path, "all")
    found = case.logits([Edit(1, "add", 5.0, positions=(0,))])
    assert (found != case.logits()).any(1).all()
    headlines: list[TokenizedHeadline] = case.headlines
    assert len(case.probe.acts(case.reading)) == sum(len(h.input_ids) for h in headlines)
