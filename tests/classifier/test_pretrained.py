"""Any encoder loads with our labels in our order; what is no classifier is refused in one sentence."""

from pathlib import Path

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from sae_pipeline.classifier.pretrained import load_base
from sae_pipeline.config import LABELS
from sae_pipeline.errors import UserError
from tests.support.encoders import finbert_like


@pytest.mark.parametrize("labels", [["positive", "negative", "neutral"], ["Neutral", "BULLISH", "Bearish"]])
def test_head_is_permuted_not_retrained(tmp_path: Path, labels: list[str]) -> None:
    """Each of our classes gets the row of its synonym: the logits are the same numbers in our order."""
    original = finbert_like(tmp_path, labels)
    model, tokenizer = load_base(str(tmp_path))
    batch = tokenizer(["Shares surge on record profit"], return_tensors="pt")
    with torch.inference_mode():
        theirs, ours = original(**batch).logits[0], model(**batch).logits[0]
    synonyms = {"negative": "Bearish", "positive": "Bullish", "bearish": "Bearish", "bullish": "Bullish"}
    row_of = {synonyms.get(label.lower(), "Neutral"): i for i, label in enumerate(labels)}
    assert ours.tolist() == [theirs[row_of[label]].item() for label in LABELS]
    assert model.config.id2label == dict(enumerate(LABELS))


def test_other_labels_get_a_new_head(tmp_path: Path) -> None:
    """Five star ratings are not ours: three fresh rows."""
    finbert_like(tmp_path, ["1", "2", "3", "4", "5"])
    assert load_base(str(tmp_path))[0].config.num_labels == 3


def test_folder_that_is_no_classifier(tmp_path: Path) -> None:
    """An empty folder, a decoder without classes' tokenizer and a missing hub: a sentence each."""
    with pytest.raises(UserError, match=r"no config\.json"):
        load_base(str(tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": "nothing"}')
    with pytest.raises(UserError, match="not a text encoder"):
        load_base(str(tmp_path))
    gpt = tmp_path / "gpt"
    GPT2LMHeadModel(GPT2Config(vocab_size=50, n_embd=8, n_layer=1, n_head=1)).save_pretrained(gpt)
    with pytest.raises(UserError, match=r"no text encoder|not a text encoder"):
        load_base(str(gpt))


def test_missing_hub_names_the_offline_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a hub, one sentence names the offline preset and the flag for a local folder."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"--preset demo.*--model FOLDER"):
        load_base("ProsusAI/finbert")
