"""Fine-tuning ends in the weights of a plain loop, and goes on where a disk was full at its end."""

import resource
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from sae_pipeline.classifier.classifier import load_classifier
from sae_pipeline.classifier.finetuning import finetune
from sae_pipeline.classifier.pretrained import load_for, load_pretrained
from sae_pipeline.classifier.tail import logits_only
from sae_pipeline.config import FinetuneConfig, HeadlinesConfig
from sae_pipeline.errors import ResourceError
from sae_pipeline.headlines.dataset import load_headlines
from sae_pipeline.headlines.labels import FINANCIAL
from sae_pipeline.headlines.tokens import collate, shuffled_batches, tokenize
from sae_pipeline.tracking import no_tracking
from tests.support.encoders import finbert_like
from tests.support.tables import ROWS, csv_text, load

_LOG = no_tracking("finetune", {})


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


@pytest.mark.parametrize(
    ("precision", "most", "frozen", "bound"),
    [("fp32", 64, 0, 1e-4), ("fp32", 20, 0, 1e-4), ("bf16", 64, 0, 0.05), ("fp32", 64, 1, 1e-4), ("bf16", 64, 1, 0.05)],
)
def test_fine_tuning_is_adamw(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    precision: Literal["fp32", "bf16"], most: int, frozen: int, bound: float,
) -> None:  # fmt: skip
    """Without dropout an epoch ends in the weights of a plain loop of torch's AdamW, autocast for bf16; so it does
    where a batch of 64 does not fit and is read in parts, and where the lower layer is frozen.
    """
    monkeypatch.setattr(
        "sae_pipeline.classifier.finetuning.logits_only", lambda model: _SmallDevice(logits_only(model), most)
    )
    finbert_like(tmp_path / "model", ["negative", "positive", "neutral"], dropout=0.0)
    data = HeadlinesConfig(source="sample")
    headlines = load_headlines(data)
    config = FinetuneConfig(
        model=str(tmp_path / "model"),
        freeze=frozen,
        epochs=1,
        batch_size=64,
        learning_rate=1e-3,
        precision=precision,
        label_smoothing=0.0,
    )
    made = finetune(headlines, data, config, tmp_path / "store", tmp_path / "checkpoints", torch.device("cpu"), _LOG)
    ours = dict(load_pretrained(str(made)).network.named_parameters())
    assert ("out of memory, goes on with 16 at a time" in capsys.readouterr().err) == (most == 20)

    network, tokenizer, *_ = load_for(config.model, FINANCIAL, seed=config.seed)
    assert network.config.vocab_size > 4096  # so that on a CPU its gradient is sparse
    tokens = tokenize(tokenizer, headlines.train.texts, 128, data.strip_links)
    for name, weight in network.named_parameters():
        weight.requires_grad = not (frozen and name.startswith(("bert.embeddings", "bert.encoder.layer.0")))
    batches = shuffled_batches([len(h.input_ids) for h in tokens], config.batch_size, (config.seed, 0))
    rates = [min((i + 1) / round(0.1 * len(batches)), (1 - i / len(batches)) / 0.9) for i in range(len(batches))]
    trained = [p for p in network.parameters() if p.requires_grad]
    matrices, others = ([p for p in trained if (p.ndim > 1) == wide] for wide in (True, False))
    adam = torch.optim.AdamW([{"params": matrices, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}])
    for batch, rate in zip(batches, rates, strict=True):
        ids, mask = collate([tokens[i] for i in batch], tokenizer.pad_token_id)
        labels = torch.tensor([headlines.train.labels[i] for i in batch])
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            logits = network(input_ids=ids, attention_mask=mask).logits
        loss = torch.nn.functional.cross_entropy(logits.float(), labels)
        adam.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        for group in adam.param_groups:
            group["lr"] = config.learning_rate * rate
        adam.step()
    start = dict(load_for(config.model, FINANCIAL, seed=config.seed).network.named_parameters())
    for name, weight in network.named_parameters():
        moved = (weight - start[name]).norm()
        if not name.endswith("key.bias"):  # softmax takes it away: its gradient is rounding
            assert (ours[name] - weight).norm() <= bound * moved, name


@pytest.mark.parametrize("part", [PreTrainedModel, PreTrainedTokenizerBase])
def test_full_disk_while_the_classifier_is_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], part: type
) -> None:
    """One sentence where weights or tokenizer do not fit; the next call takes no step again.

    The disk is simulated by a limit on the size of files.
    """
    finbert_like(tmp_path / "model", ["negative", "positive", "neutral"])
    headlines, data = load(tmp_path, "a.csv", csv_text(ROWS)), HeadlinesConfig(source="a.csv")
    config = FinetuneConfig(model=str(tmp_path / "model"), epochs=1)
    store, checkpoints = tmp_path / "store", tmp_path / "checkpoints"
    save = part.save_pretrained  # type: ignore[attr-defined]

    def save_on_a_small_disk(self: Any, folder: Path, **options: Any) -> Any:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, hard))
        try:
            return save(self, folder, **options)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    with monkeypatch.context() as small_disk:
        small_disk.setattr(part, "save_pretrained", save_on_a_small_disk)
        with pytest.raises(ResourceError, match=r"Cannot write to .*larger than this disk allows"):
            finetune(headlines, data, config, store, checkpoints, torch.device("cpu"), _LOG)
    assert not store.exists()
    capsys.readouterr()
    made = finetune(headlines, data, config, store, checkpoints, torch.device("cpu"), _LOG)
    assert "goes on from its checkpoint at step 3" in capsys.readouterr().out
    assert load_classifier(made, torch.device("cpu")).record.data_hash == headlines.data_hash
    assert not list(checkpoints.iterdir())
