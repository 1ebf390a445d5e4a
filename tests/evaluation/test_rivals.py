"""The SAE and its baselines on the same splits: two ways to the same FVU, and what a random model knows."""

from dataclasses import replace

import pytest
import torch

from sae_pipeline.classifier.classifier import Classifier
from sae_pipeline.evaluation.code_quality import code_quality
from sae_pipeline.evaluation.rivals import Comparison, random_model
from sae_pipeline.headlines.dataset import Headlines
from sae_pipeline.study import present
from tests.conftest import SmallStudy

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def headlines(study: SmallStudy) -> Headlines:
    """A part of the small study's headlines."""
    whole = present.same_headlines(study.root)
    return replace(whole, train=whole.train.first(150), dev=whole.dev.first(40), test=whole.test.first(60))


def test_one_judge_for_all(study: SmallStudy, classifier: Classifier, headlines: Headlines) -> None:
    """FVU from sums of headlines is that of `code_quality`, also of another SAE, whose probes are its own.

    The SAE of a network with random weights has other activations, and its probe knows less of the labels.
    """
    (sae, record, _), (other, _, _) = (present.load_sae(study.root, 4, size, CPU) for size in ("1k", "2k"))
    comparison = Comparison.read(classifier, headlines, sae, (1,))
    judged, acts = comparison.judge("sae", sae, None), comparison.test.acts
    assert judged.fvu is not None and judged.control.fvu_interval == judged.fvu.interval()
    assert judged.fvu.value == pytest.approx(code_quality(sae, "test", [acts], len(acts)).fvu, rel=1e-4)
    assert comparison.probes(sae)[1].record() == judged.control.probing[0] != comparison.probes(other)[1].record()
    weights = {name: value.clone() for name, value in classifier.model.state_dict().items()}
    blank = random_model(classifier, headlines, sae, record.training, (1,))
    assert all(torch.equal(value, weights[name]) for name, value in classifier.model.state_dict().items())
    assert blank.control.code is not None and blank.control.spliced is None
    assert blank.control.code.n_tokens == len(acts)
    assert blank.probes[None].figures.auroc.value < judged.probes[None].figures.auroc.value - 0.05
