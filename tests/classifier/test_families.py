"""Every family of transformers that has a sequence-classification head works, or is refused in a sentence."""

import io
import json
import re
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from sae_pipeline.__main__ import main
from sae_pipeline.activations.reading import read_batches
from sae_pipeline.causal.edits import intervene
from sae_pipeline.causal.probe import Probe
from sae_pipeline.classifier.hooks import hooked, resolve_hookpoint
from sae_pipeline.classifier.padding import equal_lengths
from sae_pipeline.classifier.pretrained import load_pretrained, tokens_read
from sae_pipeline.classifier.support import check_encoder
from sae_pipeline.classifier.tail import Tail
from sae_pipeline.errors import UserError
from sae_pipeline.headlines.tokens import collate, counted_mask, tokenize
from sae_pipeline.runs.folders import find_run, read_run
from sae_pipeline.study import present
from sae_pipeline.study.layout import Layout
from tests.support import whole_study
from tests.support.cases import LAYER, random_sae
from tests.support.families import FAMILIES, NOT_TEXT, TEXTS, Examined, examine, family, save_family
from tests.support.small_study import write_headlines

ROOT = Path(__file__).parents[2]
TEXT = [name for name in FAMILIES if name not in NOT_TEXT]
REFUSED = {
    "biogpt": "gives no offsets",
    "canine": "gives no offsets",
    "ctrl": "gives no offsets",
    "flaubert": "gives no offsets",
    "funnel": "has no list of 4 layers",
    "plbart": "gives no offsets",
    "reformer": "cannot be rerun from layer",
    "roc_bert": "gives no offsets",
    "squeezebert": "does not run as a module",
    "t5gemma": "has no one number of layers and width",
    "xlm": "gives no offsets",
    "xlnet": "does not give one vector per token",
}
"""The families that are refused, and a part of the sentence."""
EQUAL_LENGTHS = {"convbert", "fnet", "nystromformer", "yoso"}
CUT = ["bert", "deberta-v2", "fnet"]
WHOLE = ["albert", "bart", "gpt2", "llama", "longformer"]
"""Where only the layers after the hookpoint run again, and where all do; a few of each."""
FEW = [*CUT, *WHOLE, "funnel", "xlnet"]


def documented() -> list[set[str]]:
    """The families in the rows of the page about encoders: cut, rerun whole, equal lengths, refused, not text."""
    page = (ROOT / "docs" / "encoders.md").read_text()
    return [set(row.split(", ")) for row in re.findall(r"^\| .*? \| \d+: (.*) \|$", page, re.M)]


def _check(name: str, found: Examined) -> None:
    if name in REFUSED:
        assert found.refused is not None and REFUSED[name] in found.refused
        assert found.refused.endswith(".") and "\n" not in found.refused
        return
    assert found.refused is None
    assert found.max_logit_difference <= 1e-4
    assert found.equal_lengths == (name in EQUAL_LENGTHS)
    assert found.cut == (name in documented()[0])


class TestFamilies:
    """Whatever a study computes of a headline is what the plain model says of it by itself."""

    @pytest.mark.parametrize("name", FEW)
    def test_a_few(self, name: str) -> None:
        """One of each mechanism."""
        _check(name, examine(name))

    @pytest.mark.full
    @pytest.mark.parametrize("name", [name for name in TEXT if name not in FEW])
    def test_all_others(self, name: str) -> None:
        """Every other family that reads text."""
        _check(name, examine(name))

    def test_the_documented_table(self) -> None:
        """The page about encoders sorts all families as these tests do."""
        cut, whole, equal, refused, not_text = documented()
        assert refused == set(REFUSED) and not_text == set(NOT_TEXT) and equal == EQUAL_LENGTHS
        assert cut >= set(CUT) and whole >= set(WHOLE)
        assert sorted([*cut, *whole, *refused, *not_text]) == sorted(FAMILIES)


class TestWholeModel:
    """The whole model with its activations replaced obeys the laws of the shorter way."""

    @pytest.fixture(params=["albert", "bart", "llama", "longformer"])
    def checked(self, request: pytest.FixtureRequest) -> tuple[Any, Any]:
        network, tokens = family(request.param)
        check_encoder(network, tokens)
        return network, tokens

    def test_no_edit_is_bit_identical(self, checked: tuple[Any, Any]) -> None:
        """With the activations that the model itself computes, and inside `intervene` without edits."""
        network, tokens = checked
        headlines = tokenize(tokens, TEXTS, 64, strip_links=True)
        input_ids, mask = collate(headlines, tokens.pad_token_id)
        (batch,) = read_batches(
            network, headlines, tokens.pad_token_id, LAYER, "words", batches=[range(len(TEXTS))], with_logits=True
        )
        with torch.no_grad():
            plain = network(input_ids=input_ids, attention_mask=mask).logits
            assert torch.equal(batch.logits, plain)
            assert torch.equal(Tail(network, LAYER)(batch.hidden, batch.input_ids, batch.mask), plain)
            with intervene(network, LAYER, random_sae(32, 48, "words"), [], counted_mask(headlines, "words")):
                assert torch.equal(network(input_ids=input_ids, attention_mask=mask).logits, plain)

    def test_an_edit_is_that_of_a_hook(self, checked: tuple[Any, Any]) -> None:
        """Features that are ablated where headlines were read once, and by a hook in the whole model."""
        network, tokens = checked
        headlines = tokenize(tokens, TEXTS, 64, strip_links=True)
        sae = random_sae(32, 48, "words")
        probe = Probe.of(network, sae, tokens.pad_token_id)
        found = probe.replaced_logits(reading := probe.read(headlines), sae(probe.acts(reading)))
        input_ids, mask = collate(headlines, tokens.pad_token_id)
        counted = counted_mask(headlines, "words")

        def splice(hidden: torch.Tensor) -> torch.Tensor:
            return hidden.masked_scatter(counted[..., None], sae(hidden[counted]))

        with torch.no_grad(), hooked(resolve_hookpoint(network, LAYER)[0], splice):
            expected = network(input_ids=input_ids, attention_mask=mask).logits
        torch.testing.assert_close(torch.from_numpy(found).float(), expected, rtol=1e-4, atol=1e-5)
        assert (found - reading.logits).any(), "the SAE is no identity"

    def test_hooks_are_gone_after_an_exception(self, checked: tuple[Any, Any]) -> None:
        """A batch that does not fit raises, and leaves the model as it was."""
        network, _ = checked
        ids = torch.tensor([[1, 40, 50, 2]])
        with pytest.raises((RuntimeError, IndexError, ValueError)):
            Tail(network, LAYER)(torch.zeros(3, 4, 7), ids, torch.ones_like(ids))
        assert not any(part._forward_hooks or part._forward_pre_hooks for part in network.modules())


class TestPreparation:
    """What the check changes, says and refuses."""

    def test_a_classifier_without_padding(self) -> None:
        """It pads with its end of text, which is said and written into its config; its weights stay."""
        network, tokens = family("llama")
        before = {name: weight.clone() for name, weight in network.state_dict().items()}
        said = check_encoder(network, tokens)
        assert "has no padding token; batches are padded with </s>" in said[0] and "slower, same numbers" in said[1]
        assert tokens.pad_token == "</s>" and network.config.pad_token_id == tokens.eos_token_id
        assert all(torch.equal(weight, before[name]) for name, weight in network.state_dict().items())

    def test_an_end_of_text_that_is_read(self) -> None:
        """A decoder that classifies at the end of text cannot also pad with it, and takes another token."""
        network, _ = family("llama")
        _, tokens = family("bert")  # ends each headline with </s>
        tokens.pad_token = None
        check_encoder(network, tokens)
        assert tokens.pad_token == "<s>"

    def test_a_family_that_mixes_padding_in(self, tmp_path: Path) -> None:
        """That its batches are of one length is said, and kept with the weights."""
        network, tokens = family("fnet")
        (said,) = check_encoder(network, tokens)
        assert "change with padding" in said
        network.save_pretrained(tmp_path)
        assert equal_lengths(AutoModelForSequenceClassification.from_pretrained(tmp_path))

    def test_a_padding_token_that_the_model_does_not_know(self) -> None:
        """A token that was added to the tokenizer alone is refused."""
        network, tokens = family("bert")
        tokens.add_special_tokens({"pad_token": "[new]"})
        with pytest.raises(UserError, match="pads with token 300, and the model knows tokens 0 to 299"):
            check_encoder(network, tokens)

    def test_bert_has_nothing_to_say(self) -> None:
        """The usual encoders are silent."""
        assert check_encoder(*family("bert")) == []


@pytest.mark.parametrize(("name", "longest"), [("roberta", 159), ("bert", 160), ("big_bird", 88), ("t5", 512)])
def test_tokens_read(tmp_path: Path, name: str, longest: int) -> None:
    """RoBERTa counts positions from its padding on; BigBird is not read beyond full attention; T5 has no limit."""
    network, tokens = family(name)
    if name == "big_bird":
        network.config.block_size, network.config.num_random_blocks = 8, 3
    network.save_pretrained(tmp_path)
    tokens.save_pretrained(tmp_path)
    loaded = load_pretrained(str(tmp_path))
    assert tokens_read(loaded, None) == longest
    if name == "roberta":
        ids = torch.full((1, longest), 40)
        assert loaded.network(input_ids=ids).logits.isfinite().all()
        with pytest.raises((IndexError, RuntimeError), match="out of"):
            loaded.network(input_ids=torch.full((1, longest + 1), 40))


@pytest.mark.parametrize("verb", ["finetune", "adopt"])
def test_refused_before_any_work(tmp_path: Path, verb: str) -> None:
    """A family that does not work ends both verbs with its sentence, and nothing is written."""
    save_family("xlnet", tmp_path / "encoder")
    write_headlines(tmp_path / "headlines.csv", 60)
    flags = [verb, "--source", str(tmp_path / "headlines.csv"), "--model", str(tmp_path / "encoder")]
    flags += ["--new-head", "true"] if verb == "finetune" else ["--label-names", "Bearish,Bullish,Neutral"]
    said = io.StringIO()
    with redirect_stdout(said), redirect_stderr(said):
        assert main([*flags, "--root", str(tmp_path / "study")]) == 2
    assert "XLNetForSequenceClassification does not give one vector per token" in said.getvalue()
    assert not list((tmp_path / "study").rglob("*.safetensors"))


@pytest.mark.full
@pytest.mark.parametrize("name", ["albert", "bart", "electra", "fnet", "gpt2", "llama", "longformer", "t5"])
def test_the_whole_road(tmp_path: Path, name: str) -> None:
    """From fine-tuning to causal findings; the run's predictions are those of the plain model on single headlines."""
    save_family(name, tmp_path / "encoder")
    write_headlines(tmp_path / "headlines.csv", whole_study.N_HEADLINES)
    for verb in ("finetune", "extract", "train", "analyze", "intervene"):
        ran = whole_study.run(verb, tmp_path, *(["--new-head", "true"] if verb == "finetune" else []))
        assert ran.code == 0, ran.said
    run = read_run(find_run(Layout(tmp_path).runs, None))
    classifier = present.load_classifier(tmp_path)
    for prompt, headline in zip(run.prompts, classifier.tokenize([p.text for p in run.prompts]), strict=True):
        with torch.no_grad():
            plain = classifier.model(input_ids=torch.tensor([headline.input_ids])).logits.softmax(-1)[0]
        assert prompt.probabilities == pytest.approx(plain.tolist(), abs=1e-4)
    assert json.loads((run.folder / "interventions.json").read_text())["completeness_gap"] < 0.05
