"""Any encoder loads with our labels in our order; what is no classifier is refused in one sentence."""

import errno
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

from sae_pipeline.classifier.pretrained import load_for, load_pretrained, recorded_model
from sae_pipeline.classifier.support import check_encoder
from sae_pipeline.errors import ResourceError, UserError
from sae_pipeline.headlines.labels import FINANCIAL
from tests.support.encoders import finbert_like
from tests.support.families import family


@pytest.mark.parametrize("labels", [["positive", "negative", "neutral"], ["Neutral", "BULLISH", "Bearish"]])
def test_head_is_permuted_not_retrained(tmp_path: Path, labels: list[str]) -> None:
    """Each of our classes gets the row of its synonym: the logits are the same numbers in our order."""
    original = finbert_like(tmp_path, labels)
    model, tokenizer, has_head, _ = load_for(str(tmp_path), FINANCIAL)
    assert has_head
    batch = tokenizer(["Shares surge on record profit"], return_tensors="pt")
    with torch.inference_mode():
        theirs, ours = original(**batch).logits[0], model(**batch).logits[0]
    synonyms = {"negative": "Bearish", "positive": "Bullish", "bearish": "Bearish", "bullish": "Bullish"}
    row_of = {synonyms.get(label.lower(), "Neutral"): i for i, label in enumerate(labels)}
    assert ours.tolist() == [theirs[row_of[label]].item() for label in FINANCIAL]
    assert model.config.id2label == dict(enumerate(FINANCIAL))


def test_a_head_for_other_classes_is_replaced_only_when_asked(tmp_path: Path) -> None:
    """Five star ratings are not ours: the model is refused, or gets three fresh rows where the user says so."""
    finbert_like(tmp_path, ["1", "2", "3", "4", "5"])
    with pytest.raises(UserError, match=r"is a classifier of 1, 2, 3, 4, 5, .* --new-head true"):
        load_for(str(tmp_path), FINANCIAL)
    replaced = load_for(str(tmp_path), FINANCIAL, new_head=True)
    assert replaced.labels == list(FINANCIAL) and not replaced.has_head


def test_a_new_head_is_new_where_the_old_one_has_its_size(tmp_path: Path) -> None:
    """The encoder stays as it is, the head is drawn from the seed, and the caller's generator is left alone."""
    original = finbert_like(tmp_path, ["LABEL_0", "LABEL_1", "LABEL_2"])
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    first, again, other = (load_for(str(tmp_path), FINANCIAL, new_head=True, seed=seed).network for seed in (1, 1, 2))
    assert torch.equal(torch.rand(1), expected)
    assert torch.equal(first.bert.pooler.dense.weight, original.bert.pooler.dense.weight)
    heads = [model.classifier.weight for model in (first, again, other, original)]
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2]) and not torch.equal(heads[0], heads[3])


def test_a_model_without_a_head_gets_one_from_the_seed(tmp_path: Path) -> None:
    """The head of an encoder is drawn, and drawn alike for the same seed."""
    heads = [load_for("minilm", ["no", "yes"], seed=seed).network.classifier.weight for seed in (0, 0, 1)]
    assert len(heads[0]) == 2 and torch.equal(heads[0], heads[1]) and not torch.equal(heads[0], heads[2])


def test_two_classes_in_another_order(tmp_path: Path) -> None:
    """A head for NEGATIVE and POSITIVE keeps its rows for classes that are called positive and negative."""
    original = finbert_like(tmp_path, ["NEGATIVE", "POSITIVE"])
    loaded = load_for(str(tmp_path), ["positive", "negative"]).network
    assert torch.equal(loaded.classifier.weight, original.classifier.weight.flip(0))


@pytest.mark.parametrize("name", ["/nowhere/model", "a/b/c", "models/"])
def test_a_path_to_nothing(name: str) -> None:
    """A mistyped folder is neither a folder nor a name that a hub can have, also where the hub could be asked."""
    with pytest.raises(UserError, match="no such folder, and no name that a hub can have"):
        load_pretrained(name)


def test_folder_that_is_no_classifier(tmp_path: Path) -> None:
    """An empty folder and a folder of an unknown kind: a sentence each."""
    with pytest.raises(UserError, match=r"no config\.json"):
        load_pretrained(str(tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": "nothing"}')
    with pytest.raises(UserError, match="not a text encoder"):
        load_pretrained(str(tmp_path))


@pytest.mark.parametrize("name", ["bert", "gpt2", "mpnet", "t5", "xlm-roberta"])
def test_a_folder_without_a_tokenizer(tmp_path: Path, name: str) -> None:
    """transformers makes up an empty one, by which all words are the same token or none."""
    family(name)[0].save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"has no tokenizer of its own.*into the same folder \(tokenizer.save_pretr"):
        check_encoder(*load_pretrained(str(tmp_path))[:2])


def test_a_tokenizer_without_the_words(tmp_path: Path) -> None:
    """One that has tokens, and none for the words of an English headline."""
    network, _ = family("gpt2")
    letters = {letter: number for number, letter in enumerate([*"αβγδεζηθικλμ", "<end>"])}
    greek = Tokenizer(BPE(vocab=letters, merges=[]))
    with pytest.raises(UserError, match="finds no words"):
        check_encoder(network, PreTrainedTokenizerFast(tokenizer_object=greek, eos_token="<end>"))


def test_missing_hub_names_the_offline_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a hub, one sentence names the offline preset and the flag for a local folder."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"--preset demo.*--model FOLDER"):
        load_pretrained("ProsusAI/finbert")


def test_disk_that_is_full_while_a_model_is_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence is about the disk and not about the hub."""

    def download(model: str) -> None:
        raise OSError("cannot be cached") from OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("transformers.PretrainedConfig.get_config_dict", download)
    with pytest.raises(ResourceError, match="the disk is full; free some space"):
        load_pretrained("ProsusAI/finbert")


class _Opens:
    """An object that pickle makes by opening a file for writing."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return open, (str(self.path), "w")


class TestCode:
    """A model's code never runs, and no question is asked."""

    @pytest.mark.parametrize("model_type", ["bert", "of_its_own"])
    @pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
    def test_modules(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model_type: str, file: str) -> None:
        """A model with modules of its own is refused in one sentence, whether or not transformers knows its type."""
        folder, mark = tmp_path / "model", tmp_path / "ran"
        finbert_like(folder, ["negative", "positive", "neutral"])
        (folder / "own.py").write_text(f"open({str(mark)!r}, 'w')\nclass Own: pass\n")
        modules = dict.fromkeys(("AutoConfig", "AutoModel", "AutoModelForSequenceClassification"), "own.Own")
        for name, more in (("config.json", {"model_type": model_type}), (file, {"auto_map": modules})):
            settings = json.loads((folder / name).read_text()) | more
            (folder / name).write_text(json.dumps(settings))
        monkeypatch.setattr("builtins.input", lambda _: pytest.fail("a question was asked"))
        with pytest.raises(UserError, match=r"brings Python code of its own \(auto_map\)") as caught:
            load_pretrained(str(folder))
        assert "\n" not in str(caught.value) and not mark.exists()

    def test_pickle(self, tmp_path: Path) -> None:
        """Weights as the hub has FinBERT's are read, and a pickle that would do something is refused."""
        folder, mark = tmp_path / "model", tmp_path / "ran"
        original = finbert_like(folder, ["positive", "negative", "neutral"])
        weights = load_file(folder / "model.safetensors")
        (folder / "model.safetensors").unlink()
        torch.save(weights, folder / "pytorch_model.bin")
        loaded = load_pretrained(str(folder)).network
        assert torch.equal(loaded.bert.pooler.dense.weight, original.bert.pooler.dense.weight)
        torch.save({**weights, "more": _Opens(mark)}, folder / "pytorch_model.bin")
        with pytest.raises(UserError, match="not a text encoder"):
            load_pretrained(str(folder))
        assert not mark.exists()
        torch.load(folder / "pytorch_model.bin", weights_only=False)
        assert mark.exists()  # so it would have been made


def test_recorded_model(tmp_path: Path) -> None:
    """Records name a folder by name and content, not by its place; hub ids stay as they are.

    A folder that holds no model is refused before its files are hashed.
    """
    finbert_like(tmp_path / "anna" / "finbert", ["negative", "positive", "neutral"])
    name = recorded_model(str(tmp_path / "anna" / "finbert"))
    shutil.copytree(tmp_path / "anna" / "finbert", tmp_path / "other" / "finbert")
    (tmp_path / "other" / "finbert" / ".hidden").touch()
    assert name.startswith("finbert@") and recorded_model(str(tmp_path / "other" / "finbert")) == name
    (tmp_path / "other" / "finbert" / "config.json").write_text("{}")
    assert recorded_model(str(tmp_path / "other" / "finbert")) != name
    assert [recorded_model(model) for model in ("minilm", "ProsusAI/finbert")] == ["minilm", "ProsusAI/finbert"]
    with pytest.raises(UserError, match="no model folder"):
        recorded_model(str(tmp_path / "anna"))
