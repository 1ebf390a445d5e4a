"""Small random encoders of three families, with real tokenizers, saved like any Hugging Face model."""

from collections.abc import Callable
from pathlib import Path

import torch
from tokenizers import ByteLevelBPETokenizer
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    PreTrainedModel,
    RobertaConfig,
    RobertaForSequenceClassification,
    RobertaTokenizerFast,
)

from sae_pipeline.classifier.pretrained import model_source
from sae_pipeline.headlines.sample import sample_headlines


def _wordpiece() -> AutoTokenizer:
    return AutoTokenizer.from_pretrained(model_source("minilm"))


def _bert(folder: Path) -> PreTrainedModel:
    tokenizer = _wordpiece()
    tokenizer.save_pretrained(folder)
    return BertForSequenceClassification(
        BertConfig(
            vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=64
        )
    )


def _distilbert(folder: Path) -> PreTrainedModel:
    tokenizer = _wordpiece()
    tokenizer.save_pretrained(folder)
    return DistilBertForSequenceClassification(
        DistilBertConfig(vocab_size=len(tokenizer), dim=32, n_layers=3, n_heads=4, hidden_dim=64)
    )


def _roberta(folder: Path) -> PreTrainedModel:
    trained = ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    texts = [text for text, _ in sample_headlines()[:300]]
    trained.train_from_iterator(texts, vocab_size=600, special_tokens=special, show_progress=False)
    folder.mkdir(parents=True, exist_ok=True)
    trained.save(str(folder / "raw.json"))
    tokenizer = RobertaTokenizerFast(tokenizer_file=str(folder / "raw.json"))
    tokenizer.save_pretrained(folder)
    return RobertaForSequenceClassification(
        RobertaConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            num_hidden_layers=3,
            num_attention_heads=4,
            intermediate_size=64,
            max_position_embeddings=140,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


ENCODERS: dict[str, Callable[[Path], PreTrainedModel]] = {"bert": _bert, "distilbert": _distilbert, "roberta": _roberta}


def save_encoder(name: str, folder: Path) -> None:
    """Save a random three-layer encoder of one family, d_model 32, with its tokenizer."""
    torch.manual_seed(0)
    ENCODERS[name](folder).save_pretrained(folder)


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
