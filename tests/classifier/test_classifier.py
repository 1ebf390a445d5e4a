"""The fine-tuned classifier: its predictions and their scores."""

from pathlib import Path

import numpy as np
import pytest

from sae_pipeline.classifier.classifier import Classifier, classifier_report, predict
from sae_pipeline.classifier.pretrained import load_pretrained
from sae_pipeline.headlines.labels import FINANCIAL
from sae_pipeline.headlines.tokens import tokenize
from tests.support.encoders import ENCODERS, save_encoder


@pytest.mark.parametrize("name", sorted(ENCODERS))
def test_any_encoder_predicts(tmp_path: Path, name: str) -> None:
    """BERT, DistilBERT and RoBERTa load, and batching does not change their logits."""
    save_encoder(name, tmp_path)
    model, tokenizer, *_ = load_pretrained(str(tmp_path))
    texts = ["Shares surge", "Profit falls short of the estimates at every bank in the region", "Fed holds"]
    headlines = tokenize(tokenizer, texts, 64, True)
    together = predict(model, headlines, tokenizer.pad_token_id)
    alone = np.concatenate([predict(model, [h], tokenizer.pad_token_id) for h in headlines])
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-5)


def test_report_known_answers() -> None:
    """Scores of a hand-made confusion, beside the majority baseline."""
    truth = [0, 0, 1, 1, 2, 2, 2, 2]
    report = classifier_report("dev", truth, np.array([0, 1, 1, 1, 2, 2, 2, 0]), FINANCIAL)
    assert report.confusion == [[1, 1, 0], [0, 2, 0], [1, 0, 3]]
    assert report.accuracy == 6 / 8 and report.majority_accuracy == 4 / 8
    f1 = [2 * 1 / (2 + 2), 2 * 2 / (3 + 2), 2 * 3 / (3 + 4)]
    assert report.macro_f1 == pytest.approx(np.mean(f1))
    assert report.majority_macro_f1 == pytest.approx((2 * 4 / (8 + 4)) / 3)
    assert [s.support for s in report.per_class] == [2, 2, 4]


def test_fine_tuning_learns(classifier: Classifier) -> None:
    """The small study's classifier beats the majority on headlines it never saw, and says how it was made."""
    record = classifier.record
    assert record.test and record.dev and record.finetune
    assert record.test.accuracy > record.test.majority_accuracy
    assert record.test.macro_f1 > record.test.majority_macro_f1 + 0.1
    assert [e.epoch for e in record.history] == list(range(1, record.finetune.epochs + 1))
    best = max(record.history, key=lambda e: e.dev_macro_f1)
    assert best.dev_accuracy == pytest.approx(record.dev.accuracy, abs=0.035)  # bf16, fp32: 2 of the 62 headlines
