"""Metrics with known answers, and splicing that changes exactly what it says."""

import pytest
import torch

from sae_pipeline.classifier import Classifier, predict
from sae_pipeline.errors import UserError
from sae_pipeline.evaluation import code_quality, splice_report, spliced_logits
from sae_pipeline.sae import SparseAutoencoder
from sae_pipeline.sample import sample_headlines

from .test_sae import random_sae

SAMPLE = sample_headlines()[:40]


def identity_sae(d_in: int, mean: torch.Tensor) -> SparseAutoencoder:
    """Features are ±x_norm: reconstructs anything, d_in features active."""
    sae = random_sae(d_in, 2 * d_in)
    with torch.no_grad():
        eye = torch.eye(d_in)
        sae.mean.copy_(mean)
        sae.W_enc.copy_(torch.cat([eye, -eye], 1))
        sae.W_dec.copy_(torch.cat([eye, -eye]))
        sae.b_enc.zero_()
        sae.b_dec.zero_()
    return sae


def test_known_answers() -> None:
    """The identity has FVU 0 and L0 d_in; predicting the mean has FVU 1, L0 0 and all features silent."""
    x = torch.rand(500, 8) + 1
    exact = code_quality(identity_sae(8, torch.zeros(8)), "test", x.split(100), 500)
    assert exact.fvu == pytest.approx(0, abs=1e-9)
    assert (exact.l0, exact.n_tokens) == (8, 500)
    assert exact.silent_share == pytest.approx(0.5)  # x > 0: the negative half is silent
    mean = identity_sae(8, x.mean(0))
    with torch.no_grad():
        mean.b_enc.fill_(-1e6)
    constant = code_quality(mean, "test", [x], 500)
    assert constant.fvu == pytest.approx(1, rel=1e-5)
    assert (constant.l0, constant.silent_share) == (0, 1)


def test_against_float64() -> None:
    """FVU and L0 of a random SAE equal their formulas in float64, however the tokens are batched."""
    sae, x = random_sae(), torch.randn(333, 12) * 2
    quality = code_quality(sae, "test", x.split(50), 333)
    y = x.double()
    fvu = (y - sae(x).double()).square().sum() / (y - y.mean(0)).square().sum()
    assert quality.fvu == pytest.approx(fvu.item(), rel=1e-5)
    assert quality.l0 == pytest.approx((sae.encode(x) > 0).sum(1).double().mean().item())


def test_nothing_to_evaluate() -> None:
    """No tokens: a sentence, no misleading figure."""
    with pytest.raises(UserError, match="no tokens in test"):
        code_quality(random_sae(), "test", [], 0)


@pytest.mark.parametrize("positions", ["words", "all"])
def test_splicing_the_identity_changes_nothing(classifier: Classifier, positions: str) -> None:
    """x̂ = x leaves the logits as they are, bit for bit."""
    headlines = classifier.tokenize([text for text, _ in SAMPLE])
    clean = predict(classifier.model, headlines, 0)
    spliced = spliced_logits(classifier.model, headlines, 0, 4, positions, lambda x: x)
    assert (clean == spliced).all()


def test_splicing_touches_the_counted_positions_only(classifier: Classifier) -> None:
    """`words` never hands [CLS] or [SEP] to the reconstruction; `all` does."""
    headlines = classifier.tokenize([text for text, _ in SAMPLE[:4]])
    for positions, extra in (("words", 0), ("all", 2)):
        seen: list[int] = []

        def zero(x: torch.Tensor, seen: list[int] = seen) -> torch.Tensor:
            seen.append(len(x))
            return x * 0

        spliced_logits(classifier.model, headlines, 0, 4, positions, zero)
        assert sum(seen) == sum(len(h.counted("words")) + extra for h in headlines)


def test_splice_report_known_answer() -> None:
    """Accuracy before and after, and the share of predictions that stay."""
    clean = torch.eye(3)[[0, 1, 2, 2]].numpy()
    spliced = torch.eye(3)[[0, 1, 1, 0]].numpy()
    report = splice_report("test", "words", [0, 1, 2, 0], clean, spliced)
    assert (report.accuracy_clean, report.accuracy_spliced, report.unchanged) == (0.75, 0.75, 0.5)
