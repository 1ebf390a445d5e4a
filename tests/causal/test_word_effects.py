"""Attributions of words: complete, equal to masked texts read by the plain model, for every family or said why not."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from transformers import AutoTokenizer

from sae_pipeline.causal.probe import Probe
from sae_pipeline.causal.word_effects import NoWordEffectsError, WordProbe, by_word, rank_agreement
from sae_pipeline.classifier.classifier import predict
from sae_pipeline.classifier.logits import centred
from sae_pipeline.classifier.support import check_encoder
from sae_pipeline.headlines.tokens import TokenizedHeadline, tokenize
from tests.support.cases import LAYER, TEXTS, Case, random_sae
from tests.support.encoders import ENCODERS, save_encoder
from tests.support.families import family

MASKED = ["albert", "bart", "t5", "fnet"]
"""Besides BERT and its like: shared layers, encoder-decoders, no attention."""

ENDED = ["gpt2", "llama", "longformer"]
"""Decoders and padded windows: these find the end or the positions of a text by its padding token."""


def masked(headline: TokenizedHeadline, word: int | None, token: int) -> TokenizedHeadline:
    """The headline with `token` in place of the tokens of a word, or of all words."""
    ids = [
        token if w >= 0 and word in (None, w) else i for i, w in zip(headline.input_ids, headline.words, strict=True)
    ]
    return TokenizedHeadline(headline.text, ids, headline.tokens, headline.starts, headline.ends, headline.words)


def check(model: Any, pad_id: int, words: WordProbe, headlines: list[TokenizedHeadline], steps: int = 32) -> None:
    """Integrated gradients add up; occlusion is what the plain model says of the masked text."""
    logits = predict(model, headlines, pad_id).astype(float)
    found = words.attribute(headlines, logits, steps)
    predicted = logits.argmax(1)
    for h, (headline, one) in enumerate(zip(headlines, found, strict=True)):
        n = max(headline.words) + 1
        assert len(one.integrated) == len(one.occlusion) == n
        versions = [masked(headline, word, words.baseline_id) for word in (None, *range(n))]
        said = centred(predict(model, versions, pad_id).astype(float))[:, predicted[h]]
        own = centred(logits)[h, predicted[h]]
        rounding = 1e-6 + 1e-5 * np.abs(logits).max()
        assert one.base == pytest.approx(said[0], abs=rounding)
        np.testing.assert_allclose(one.occlusion, own - said[1:], atol=2 * rounding)
        assert np.ptp(one.occlusion) > 20 * rounding, "the words differ by more than rounding"
        assert one.integrated.sum() == pytest.approx(own - one.base, abs=0.02 * np.abs(one.integrated).sum())
        assert one.gap == pytest.approx(abs(own - one.base - one.integrated.sum()), abs=2 * rounding)


@pytest.mark.parametrize("name", list(ENCODERS))
def test_encoders(tmp_path: Path, name: str) -> None:
    """BERT and its like, with a mask token."""
    save_encoder(name, tmp_path)
    case = Case(tmp_path)
    with torch.no_grad():  # random weights as transformers draws them make all texts alike
        for weight in case.model.parameters():
            weight.mul_(8 if weight.dim() > 1 else 1)
    words = WordProbe.of(case.probe, AutoTokenizer.from_pretrained(tmp_path))
    assert words.baseline in ("[MASK]", "<mask>")
    check(case.model, case.pad_id, words, case.headlines)
    hooks = [part for part in case.model.modules() if part._forward_hooks]
    assert not hooks, "no hook stays"


@pytest.mark.parametrize("name", [*MASKED, *ENDED])
def test_families(name: str) -> None:
    """Other mechanisms, whose tokenizers have no mask token, only one for padding or the end of a text."""
    network, tokens = family(name)
    check_encoder(network, tokens)
    probe = Probe.of(network, random_sae(network.config.hidden_size, 48, "words"), tokens.pad_token_id)
    headlines = tokenize(tokens, TEXTS[:3], 64, strip_links=True)
    words = WordProbe.of(probe, tokens)
    if name in MASKED:
        check(network, tokens.pad_token_id, words, headlines, steps=64)
        return
    logits = predict(network, headlines, tokens.pad_token_id).astype(float)
    for headline, one in zip(headlines, words.attribute(headlines, logits, 64), strict=True):
        assert len(one.integrated) == max(headline.words) + 1 and np.ptp(one.occlusion) > 0
        assert one.gap < 0.02 * np.abs(one.integrated).sum()


def test_a_family_that_embeds_its_tokens_otherwise_is_left_out(bert: Case, tmp_path: Path) -> None:
    """One sentence, whether the embedding is not called or its tokens are others."""
    words = WordProbe.of(bert.probe, _tokenizer(tmp_path))
    logits = bert.reading.logits
    other = torch.nn.Embedding(3, 32)
    with pytest.raises(NoWordEffectsError, match=r"does not embed its tokens as other models do, so words are not"):
        WordProbe(words.network, other, "x", 0, words.pad_id, 512, False).attribute(bert.headlines, logits, 2)
    with pytest.raises(NoWordEffectsError, match="does not read its embeddings"):
        words.attribute(bert.headlines, logits + np.array([5.0, 0.0, 0.0])[: logits.shape[1]], 2)


def _tokenizer(folder: Path) -> Any:
    save_encoder("bert", folder)
    return AutoTokenizer.from_pretrained(folder)


def test_agreement() -> None:
    """Spearman's correlation as scipy has it; none for two words and for words that do not differ."""
    chance = np.random.default_rng(0)
    a, b = chance.normal(size=(2, 9)).round(1)
    assert rank_agreement(a, b) == pytest.approx(stats.spearmanr(a, b).statistic)
    assert rank_agreement(a[:2], b[:2]) is None and rank_agreement(a, np.ones(9)) is None


def test_effects_by_word(bert: Case) -> None:
    """Tokens of one word are added up, special ones left out."""
    headline = bert.headlines[0]
    everything = np.arange(len(headline.words))
    found = by_word(headline, everything, np.ones(len(everything)))
    assert found.tolist() == [headline.words.count(word) for word in range(max(headline.words) + 1)]
    assert LAYER and found.sum() == len(headline.counted("words"))
