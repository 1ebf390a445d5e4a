"""The classifier: any encoder, our labels in our order, one sentence for what is no classifier."""

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification, GPT2Config, GPT2LMHeadModel

from sae_pipeline.classifier.classifier import Classifier, classifier_report, predict
from sae_pipeline.classifier.finetuning import finetune
from sae_pipeline.classifier.pretrained import load_base, model_source
from sae_pipeline.classifier.tail import logits_only
from sae_pipeline.config import LABELS, FinetuneConfig, HeadlinesConfig
from sae_pipeline.errors import UserError
from sae_pipeline.headlines.dataset import load_headlines
from sae_pipeline.headlines.tokens import collate, shuffled_batches, tokenize
from tests.support.encoders import ENCODERS, save_encoder


def finbert_like(folder: Path, labels: list[str], dropout: float = 0.1) -> BertForSequenceClassification:
    """A tiny random BERT classifier whose head's rows mean `labels`."""
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(model_source("minilm"))
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        id2label=dict(enumerate(labels)),
        label2id={label: i for i, label in enumerate(labels)},
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )
    model = BertForSequenceClassification(config).eval()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return model


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


@pytest.mark.parametrize("name", sorted(ENCODERS))
def test_any_encoder_predicts(tmp_path: Path, name: str) -> None:
    """BERT, DistilBERT and RoBERTa load, and batching does not change their logits."""
    save_encoder(name, tmp_path)
    model, tokenizer = load_base(str(tmp_path))
    texts = ["Shares surge", "Profit falls short of the estimates at every bank in the region", "Fed holds"]
    headlines = tokenize(tokenizer, texts, 64, True)
    together = predict(model, headlines, tokenizer.pad_token_id)
    alone = np.concatenate([predict(model, [h], tokenizer.pad_token_id) for h in headlines])
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-5)


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


def test_report_known_answers() -> None:
    """Scores of a hand-made confusion, beside the majority baseline."""
    truth = [0, 0, 1, 1, 2, 2, 2, 2]
    report = classifier_report("dev", truth, np.array([0, 1, 1, 1, 2, 2, 2, 0]))
    assert report.confusion == [[1, 1, 0], [0, 2, 0], [1, 0, 3]]
    assert report.accuracy == 6 / 8 and report.majority_accuracy == 4 / 8
    f1 = [2 * 1 / (2 + 2), 2 * 2 / (3 + 2), 2 * 3 / (3 + 4)]
    assert report.macro_f1 == pytest.approx(np.mean(f1))
    assert report.majority_macro_f1 == pytest.approx((2 * 4 / (8 + 4)) / 3)
    assert [s.support for s in report.per_class] == [2, 2, 4]


def test_fine_tuning_learns(classifier: Classifier) -> None:
    """The small study's classifier beats the majority on headlines it never saw, and says how it was made."""
    record = classifier.record
    assert record.test.accuracy > record.test.majority_accuracy
    assert record.test.macro_f1 > record.test.majority_macro_f1 + 0.1
    assert [e.epoch for e in record.history] == list(range(1, record.finetune.epochs + 1))
    best = max(record.history, key=lambda e: e.dev_macro_f1)
    assert best.dev_accuracy == pytest.approx(record.dev.accuracy, abs=0.035)  # bf16, fp32: 2 of the 62 headlines


class _SmallDevice(torch.nn.Module):
    """A model on a device that trains on no more than `most` headlines at a time."""

    def __init__(self, model: torch.nn.Module, most: int) -> None:
        super().__init__()
        self.model, self.config, self.most = model, model.config, most

    def forward(self, input_ids: torch.Tensor, **inputs: torch.Tensor) -> object:
        """Out of memory where the batch is too large."""
        if self.model.training and len(input_ids) > self.most:
            raise torch.OutOfMemoryError
        return self.model(input_ids=input_ids, **inputs)


@pytest.mark.parametrize(("precision", "most", "bound"), [("fp32", 64, 1e-4), ("fp32", 20, 1e-4), ("bf16", 64, 0.05)])
def test_fine_tuning_is_adamw(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    precision: Literal["fp32", "bf16"], most: int, bound: float,
) -> None:  # fmt: skip
    """Without dropout an epoch ends in the weights of a plain loop of torch's AdamW, autocast for bf16; so it does
    where a batch of 64 does not fit and is read in parts.
    """
    monkeypatch.setattr(
        "sae_pipeline.classifier.finetuning.logits_only", lambda model: _SmallDevice(logits_only(model), most)
    )
    finbert_like(tmp_path / "model", ["negative", "positive", "neutral"], dropout=0.0)
    data = HeadlinesConfig(source="sample")
    headlines = load_headlines(data)
    config = FinetuneConfig(
        model=str(tmp_path / "model"),
        epochs=1,
        batch_size=64,
        learning_rate=1e-3,
        precision=precision,
        label_smoothing=0.0,
    )
    made = finetune(headlines, data, config, tmp_path / "store", tmp_path / "checkpoints", torch.device("cpu"))
    ours = dict(load_base(str(made))[0].named_parameters())
    assert ("out of memory, goes on with 16 at a time" in capsys.readouterr().err) == (most == 20)

    network, tokenizer = load_base(config.model)
    assert network.config.vocab_size > 4096  # so that on a CPU its gradient is sparse
    tokens = tokenize(tokenizer, headlines.train.texts, config.max_length, data.strip_links)
    batches = shuffled_batches([len(h.input_ids) for h in tokens], config.batch_size, (config.seed, 0))
    rates = [min((i + 1) / round(0.1 * len(batches)), (1 - i / len(batches)) / 0.9) for i in range(len(batches))]
    matrices, others = ([p for p in network.parameters() if (p.ndim > 1) == wide] for wide in (True, False))
    adam = torch.optim.AdamW([{"params": matrices, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}])
    for batch, rate in zip(batches, rates, strict=True):
        ids, mask = collate([tokens[i] for i in batch], tokenizer.pad_token_id)
        labels = torch.tensor([headlines.train.labels[i] for i in batch])
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            logits = network(input_ids=ids, attention_mask=mask).logits
        loss = torch.nn.functional.cross_entropy(logits.float(), labels)
        adam.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        for group in adam.param_groups:
            group["lr"] = config.learning_rate * rate
        adam.step()
    start = dict(load_base(config.model)[0].named_parameters())
    for name, weight in network.named_parameters():
        moved = (weight - start[name]).norm()
        if not name.endswith("key.bias"):  # softmax takes it away: its gradient is rounding
            assert (ours[name] - weight).norm() <= bound * moved, name
