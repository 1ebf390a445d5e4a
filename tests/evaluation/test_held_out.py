"""Metrics with known answers, and splicing that changes exactly what it says."""

import numpy as np
import pytest
import torch

from sae_pipeline.classifier.classifier import Classifier, predict
from sae_pipeline.errors import UserError
from sae_pipeline.evaluation.code_quality import code_quality
from sae_pipeline.evaluation.held_out import HeldOut
from sae_pipeline.evaluation.splicing import splice_report
from sae_pipeline.headlines.sample import sample_headlines
from sae_pipeline.sae.autoencoder import SparseAutoencoder
from sae_pipeline.schema.reports import SpliceBaseline, SpliceReport
from tests.sae.test_autoencoder import random_sae
from tests.support.whole_model import spliced_logits

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
    assert (exact.cosine, exact.l2_ratio) == (pytest.approx(1, rel=1e-6), pytest.approx(1, rel=1e-6))
    assert (constant.cosine, constant.l2_ratio) == (pytest.approx(0, abs=1e-6), pytest.approx(0, abs=1e-6))
    assert sum(exact.density) == exact.density[-1] == 8  # all that fire fire everywhere
    assert sum(constant.density) == 0


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


def test_splice_report_known_answer() -> None:
    """Accuracy before and after, and the share of predictions that stay."""
    clean = torch.eye(3)[[0, 1, 2, 2]].numpy()
    spliced = torch.eye(3)[[0, 1, 1, 0]].numpy()
    report = splice_report("test", "words", [0, 1, 2, 0], clean, spliced)
    assert (report.accuracy_clean, report.accuracy_spliced, report.unchanged) == (0.75, 0.75, 0.5)


@pytest.fixture(scope="module")
def judge(classifier: Classifier) -> HeldOut:
    """Some headlines, read once."""
    texts, labels = zip(*SAMPLE, strict=True)
    return HeldOut.read(classifier, "test", texts, labels, 4)


def fitted(judge: HeldOut, positions: str = "words") -> SparseAutoencoder:
    """The identity, for this judge's classifier."""
    sae = identity_sae(judge.states.hidden.shape[1], judge.acts(positions).mean(0))  # type: ignore[arg-type]
    place = {"layer": 4, "module": sae.config.hookpoint.module}
    sae.config = sae.config.model_validate(
        sae.config.model_dump() | {"classifier_hash": judge.classifier_hash, "positions": positions, "hookpoint": place}
    )
    return sae


@pytest.mark.parametrize("positions", ["words", "all"])
def test_the_judge_agrees_with_the_whole_model(judge: HeldOut, classifier: Classifier, positions: str) -> None:
    """Rerunning the layers after the hookpoint equals splicing inside the whole forward pass."""

    def shrink(x: torch.Tensor) -> torch.Tensor:
        return 0.7 * x

    headlines = classifier.tokenize([text for text, _ in SAMPLE])
    expected = spliced_logits(classifier.model, headlines, 0, 4, positions, shrink)  # type: ignore[arg-type]
    assert judge.spliced(positions, shrink) == pytest.approx(expected, abs=2e-4)  # type: ignore[arg-type]
    assert judge.clean == pytest.approx(predict(classifier.model, headlines, 0), abs=2e-4)


@pytest.mark.parametrize("positions", ["words", "all"])
def test_splicing_the_identity_changes_nothing(judge: HeldOut, classifier: Classifier, positions: str) -> None:
    """x̂ = x leaves the logits as they are, bit for bit, in the whole model and in the judge."""
    headlines = classifier.tokenize([text for text, _ in SAMPLE])
    whole = spliced_logits(classifier.model, headlines, 0, 4, positions, lambda x: x)  # type: ignore[arg-type]
    assert (whole == predict(classifier.model, headlines, 0)).all()
    found = judge.spliced(positions, lambda x: x)  # type: ignore[arg-type]
    assert (found == judge.clean).all() and found == pytest.approx(whole, abs=2e-4)


def test_splicing_touches_the_counted_positions_only(judge: HeldOut, classifier: Classifier) -> None:
    """`words` never hands [CLS] or [SEP] to the reconstruction; `all` does."""
    headlines = classifier.tokenize([text for text, _ in SAMPLE])
    for positions, extra in (("words", 0), ("all", 2)):
        seen: list[int] = []
        judge.spliced(positions, lambda x, seen=seen: seen.append(len(x)) or x * 0)  # type: ignore[arg-type, misc]
        assert sum(seen) == sum(len(h.counted("words")) + extra for h in headlines)


def rounded(baseline: SpliceBaseline, exact: SpliceReport) -> float:
    """How far a recovered loss may be off: 1e-6 of cross-entropy, divided by what the ablation costs."""
    return 1e-6 / abs(baseline.cross_entropy - exact.cross_entropy_clean)


def test_recovered_scores_known_answers(judge: HeldOut) -> None:
    """The identity recovers everything and predicting the mean nothing of what mean ablation costs."""
    exact = judge.splice_report(fitted(judge), "words")
    assert exact.unchanged == 1 and exact.lost == exact.gained == 0 and exact.mcnemar_p == 1
    assert exact.mean_kl == pytest.approx(0, abs=1e-6)
    assert [b.kind for b in exact.baselines] == ["zero", "mean", "resample"]
    assert exact.cross_entropy_spliced == pytest.approx(exact.cross_entropy_clean, abs=1e-6)
    for baseline in exact.baselines:
        assert baseline.recovered_loss == pytest.approx(1, abs=rounded(baseline, exact))
    mean = fitted(judge)
    with torch.no_grad():
        mean.b_enc.fill_(-1e6)
    nothing = {b.kind: b for b in judge.splice_report(mean, "words").baselines}
    assert nothing["mean"].recovered_loss == pytest.approx(0, abs=rounded(nothing["mean"], exact))
    assert nothing["mean"].accuracy == pytest.approx(judge.splice_report(mean, "words").accuracy_spliced)


def test_wrong_pairs_are_refused(judge: HeldOut) -> None:
    """Another classifier's SAE, another layer's, another width, positions it was not trained on: a sentence each."""
    sae = fitted(judge)
    with pytest.raises(UserError, match=r"not trained on \[CLS\]"):
        judge.splice_report(sae, "all")
    assert judge.splice_report(fitted(judge, "all"), "all").unchanged == 1
    for change, words in (
        ({"classifier_hash": "0" * 12}, "use the SAE's own classifier"),
        ({"hookpoint": sae.config.hookpoint.model_copy(update={"layer": 3})}, "reads layer 3"),
    ):
        other = fitted(judge)
        other.config = other.config.model_copy(update=change)
        with pytest.raises(UserError, match=words):
            judge.splice_report(other, "words")
    with pytest.raises(UserError, match="width 12"):
        judge.splice_report(random_sae(), "words")


def test_paired_statistics_known_answers() -> None:
    """McNemar from the discordant pairs; intervals as published; none for a handful of headlines."""
    labels = np.zeros(100, np.int64)
    right, wrong = np.eye(2)[0], np.eye(2)[1]
    clean = np.stack([right] * 90 + [wrong] * 10)
    spliced = np.stack([wrong] * 6 + [right] * 84 + [right] + [wrong] * 9)
    report = splice_report("test", "words", labels, clean, spliced)
    assert (report.lost, report.gained, report.unchanged) == (6, 1, 0.93)
    assert report.mcnemar_p == pytest.approx(2 * (1 + 7) / 2**7)  # two-sided sign test of 1 in 7
    assert report.accuracy_change_interval == pytest.approx((-0.1023, 0.0043), abs=2e-3)
    assert report.unchanged_interval == pytest.approx((0.8625, 0.9657), abs=1e-3)
    few = splice_report("test", "words", labels[:9], clean[:9], spliced[:9])
    assert few.unchanged_interval is None and few.accuracy_change_interval is None
