"""Code quality with known answers and against float64."""

import pytest
import torch

from sae_pipeline.errors import UserError
from sae_pipeline.evaluation.code_quality import code_quality
from tests.support.saes import drawn, identity_sae, random_sae


def test_known_answers() -> None:
    """The identity has FVU 0 and L0 d_in; predicting the mean has FVU 1, L0 0 and all features silent."""
    x = drawn(9, 500, 8).abs() + 1
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
    assert (exact.cosine, exact.l2_ratio) == (pytest.approx(1, rel=1e-6), pytest.approx(1, rel=1e-6))
    assert (constant.cosine, constant.l2_ratio) == (pytest.approx(0, abs=1e-6), pytest.approx(0, abs=1e-6))
    assert sum(exact.density) == exact.density[-1] == 8  # all that fire fire everywhere
    assert sum(constant.density) == 0


def test_against_float64() -> None:
    """FVU and L0 of a random SAE equal their formulas in float64, however the tokens are batched."""
    sae, x = random_sae(), drawn(9, 333, 12) * 2
    quality = code_quality(sae, "test", x.split(50), 333)
    y = x.double()
    fvu = (y - sae(x).double()).square().sum() / (y - y.mean(0)).square().sum()
    assert quality.fvu == pytest.approx(fvu.item(), rel=1e-5)
    assert quality.l0 == pytest.approx((sae.encode(x) > 0).sum(1).double().mean().item())


def test_nothing_to_evaluate() -> None:
    """No tokens: a sentence, no misleading figure."""
    with pytest.raises(UserError, match="no tokens in test"):
        code_quality(random_sae(), "test", [], 0)
