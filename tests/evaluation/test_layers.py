"""Layers side by side, against the judge of a single layer and against what must be so at the last one."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch

from sae_pipeline.activations.reading import read_activations
from sae_pipeline.classifier.classifier import Classifier, predict
from sae_pipeline.errors import UserError
from sae_pipeline.evaluation.held_out import HeldOut
from sae_pipeline.evaluation.layers import LayerReader, LayersFound, compare_layers
from sae_pipeline.evaluation.probing import SplitLabels, SplitUnits, fit_probes
from sae_pipeline.evaluation.splicing import removals
from sae_pipeline.headlines.dataset import Headlines
from sae_pipeline.headlines.tokens import counted_mask
from sae_pipeline.study import present
from tests.conftest import SmallStudy

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def headlines(study: SmallStudy) -> Headlines:
    """A part of the small study's headlines."""
    whole = present.same_headlines(study.root)
    return replace(whole, train=whole.train.first(150), dev=whole.dev.first(40), test=whole.test.first(60))


@pytest.fixture(scope="module")
def found(study: SmallStudy, classifier: Classifier, headlines: Headlines) -> LayersFound:
    """Layer 4, which has an SAE, layer 5, and the last one."""
    sae, _, _ = present.load_sae(study.root, 4, "1k", CPU)
    return compare_layers(classifier, headlines, (4, 5, 6), {4: sae}, tokens_per_batch=512)


def test_ablations_equal_those_of_a_single_layer(
    found: LayersFound, classifier: Classifier, headlines: Headlines
) -> None:
    """Words, and the first token, at their mean over train change what the judge of one layer finds."""
    test, tokenized = headlines.test, classifier.tokenize(headlines.train.texts)
    for layer in (4, 5):
        held = HeldOut.read(classifier, "test", test.texts, test.labels, layer)
        for positions, share in (
            ("words", found.layers[layer].changed_words),
            ("cls", found.layers[layer].changed_cls),
        ):
            acts, _ = read_activations(classifier.model, tokenized, 0, layer, positions, precision="auto")
            without = held.states.replaced(positions, removals(held.acts(positions), acts.mean(0), 0)["mean"])
            changed = (without.rerun(held.tail, 512).argmax(1) != held.clean.argmax(1)).mean()
            assert share.value == pytest.approx(changed, abs=0.02), (layer, positions)
    assert found.layers[4].changed_words.value > 0
    clean = predict(classifier.model, classifier.tokenize(test.texts), 0).argmax(1)
    assert found.accuracy == pytest.approx((clean == np.array(test.labels)).mean())


def test_what_probes_and_ablations_read(classifier: Classifier, headlines: Headlines) -> None:
    """Each headline's mean word and first token, and the mean of all words, where long headlines count more."""
    split, tokenized = headlines.dev, classifier.tokenize(headlines.dev.texts)
    reader = LayerReader(classifier, (4,), 512)
    pooled = reader.room(len(split))
    for batch in reader.batches(split, "dev", "fp32"):
        pooled.put(*batch)
    (words, owner), (first, whose) = (
        read_activations(classifier.model, tokenized, 0, 4, kind, precision="fp32") for kind in ("words", "cls")
    )
    counts = counted_mask(tokenized, "words").sum(1)
    assert pooled.n_words.tolist() == counts.tolist() and len(set(counts.tolist())) > 3
    for n in range(len(split)):
        assert_near(pooled.words[4][n], words[owner == n].mean(0))
        assert_near(pooled.cls[4][n], first[whose == n][0])
    mean_word, mean_first = pooled.means(4)
    assert_near(mean_word, words.mean(0))
    assert_near(mean_first, first.mean(0))


def assert_near(found: np.ndarray, expected: torch.Tensor) -> None:
    """Equal but for the rounding to fp16."""
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-3, atol=1e-3)


def test_probes_read_words_and_first_token(found: LayersFound, classifier: Classifier, headlines: Headlines) -> None:
    """Probes of what `LayerReader` reads at each place are right as often; the commonest class is that of train."""
    reader = LayerReader(classifier, (4, 5), 512)
    splits = (headlines.train, headlines.dev, headlines.test)
    read = [reader.pooled(split, "") for split in splits]
    labels = SplitLabels(*(np.asarray(split.labels) for split in splits))
    for layer, place in product((4, 5), ("words", "cls")):
        units = SplitUnits(*(getattr(one, place)[layer].astype(np.float32) for one in read))
        (probe,) = fit_probes(units, labels, [None])
        right = np.asarray(labels.classes())[probe.scores.argmax(1)] == labels.test
        assert getattr(found.layers[layer], f"probe_{place}").value == pytest.approx(right.mean()), (layer, place)
    commonest = np.bincount(labels.train).argmax()
    assert found.majority == pytest.approx((labels.test == commonest).mean())


def test_the_last_layer_decides_by_its_first_token(
    found: LayersFound, classifier: Classifier, headlines: Headlines
) -> None:
    """After it the head reads the first token alone: without words nothing changes, without it all become one class."""
    last = found.layers[6]
    assert last.changed_words.value == 0 and last.changed_words.low == 0 and last.changed_words.high is not None
    clean = predict(classifier.model, classifier.tokenize(headlines.test.texts), 0).argmax(1)
    kept = np.bincount(clean).max() / len(clean)
    assert 1 - last.changed_cls.value <= kept + 1e-9
    assert last.sae is None and 6 not in found.codes


def test_the_sae_has_the_figures_of_its_judge(
    found: LayersFound, study: SmallStudy, classifier: Classifier, headlines: Headlines
) -> None:
    """L0 and FVU are those of `code_quality`, and lie in their intervals."""
    test = headlines.test
    sae, _, _ = present.load_sae(study.root, 4, "1k", CPU)
    held = HeldOut.read(classifier, "test", test.texts, test.labels, 4)
    x = held.acts("words")
    lists = sae.encode_lists(x)
    fvu = float((x - sae.decode_lists(lists)).square().sum() / (x - x.mean(0)).square().sum())
    found_l0, found_fvu = found.codes[4]
    assert found_l0.value == pytest.approx(len(lists.values) / len(x), rel=1e-3)
    assert found_fvu.value == pytest.approx(fvu, rel=1e-3)
    for at in (found_l0, found_fvu):
        assert at.ends[0] < at.value < at.ends[1]


def test_probes_beat_the_commonest_class(found: LayersFound) -> None:
    """The classifier was fine-tuned, so that its layers tell the classes apart."""
    for at in found.layers.values():
        for probe in (at.probe_words, at.probe_cls):
            assert probe.value > found.majority - 0.1 and probe.low is not None and probe.low < probe.value
    assert found.layers[6].probe_cls.value == pytest.approx(found.accuracy, abs=0.15)
    assert (found.n_train, found.n_headlines) == (150, 60)


def test_few_headlines_have_no_intervals(classifier: Classifier, headlines: Headlines) -> None:
    """Below 30 headlines a share says nothing; without any there is one sentence."""
    few = replace(headlines, test=headlines.test.first(20))
    at = compare_layers(classifier, few, (6,), {}).layers[6]
    assert at.changed_cls.low is None and at.probe_cls.high is None
    with pytest.raises(UserError, match="no test headlines"):
        compare_layers(classifier, replace(headlines, test=headlines.test.first(0)), (6,), {})
