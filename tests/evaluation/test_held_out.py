"""Metrics with known answers, and splicing that changes exactly what it says."""

import pytest
import torch

from sae_pipeline.classifier.classifier import Classifier, predict
from sae_pipeline.errors import UserError
from sae_pipeline.evaluation.held_out import HeldOut
from sae_pipeline.headlines.sample import sample_headlines
from sae_pipeline.sae.autoencoder import SparseAutoencoder
from sae_pipeline.schema.reports import SpliceBaseline, SpliceReport
from tests.support.saes import identity_sae, random_sae
from tests.support.whole_model import spliced_logits

SAMPLE = sample_headlines()[:40]


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
