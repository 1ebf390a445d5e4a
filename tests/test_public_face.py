"""The names that `sae_pipeline` hands on, and what they do together."""

import importlib
import subprocess
import sys

import pytest
import torch

import sae_pipeline
from sae_pipeline import SparseAutoencoder, encode_headline, load_classifier, load_run, read_headline
from tests.conftest import SmallStudy


@pytest.mark.parametrize("name", sae_pipeline.__all__)
def test_each_name_is_handed_on(name: str) -> None:
    """A public name is the object of its own module, and `dir` shows it."""
    home = importlib.import_module(sae_pipeline._HOMES[name])
    assert getattr(sae_pipeline, name) is getattr(home, name)
    assert name in dir(sae_pipeline)


def test_the_import_loads_no_torch() -> None:
    """Light names stay light; torch comes with the first name that needs it."""
    code = "import sys; from sae_pipeline import load_run, study_config; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_unknown_name() -> None:
    """An AttributeError that names it, as of any module."""
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = sae_pipeline.nothing


def test_a_headline_of_the_run_is_encoded_as_in_the_run(study: SmallStudy) -> None:
    """The strongest features of a headline, and their words, are those that the run's files list."""
    run = load_run(study.root / "analysis_data")
    classifier = load_classifier(study.root)
    sae = SparseAutoencoder.load(study.root / "finbert_sae" / "layer_4_2k.pt")
    f = encode_headline(classifier, sae, run.prompts[3].text)
    (headline,) = classifier.tokenize([run.prompts[3].text])
    assert f.shape == (len(headline.counted("words")), sae.config.d_sae) and f.dtype == torch.float32
    listed = run.headline_features.headlines[3].features
    found = f.amax(0).topk(len(listed))
    assert found.values.tolist() == pytest.approx([one.activation for one in listed], rel=1e-4)
    for one in listed:
        saved = [saved for saved in run.feature_tokens.features if saved.feature == one.feature]
        assert run.words(one.feature)
        assert saved or one.word in run.words(one.feature)


def test_a_headline_of_the_run_is_read_as_in_the_run(study: SmallStudy) -> None:
    """Prediction and strongest features are those of the run's files, and a notebook shows them."""
    run = load_run(study.root / "analysis_data")
    classifier = load_classifier(study.root)
    sae = SparseAutoencoder.load(study.root / "finbert_sae" / "layer_4_2k.pt")
    listed = run.headline(3)
    read = read_headline(classifier, sae, listed.prompt.text, top=len(listed.features))
    assert read.prompt.headline_id == listed.prompt.headline_id and read.prompt.tokens == listed.prompt.tokens
    assert read.prompt.probabilities == pytest.approx(listed.prompt.probabilities, abs=1e-4)
    assert [(one.feature, one.word, one.positions) for one in read.features] == [
        (one.feature, one.word, one.positions) for one in listed.features
    ]
    values = [value for one in listed.features for value in one.values]
    assert [value for one in read.features for value in one.values] == pytest.approx(values, rel=1e-3)
    shown = read._repr_html_()
    assert "<mark" in shown and f"Predicted {read.labels[read.prompt.prediction]}" in shown and "label is" not in shown
    assert read_headline(classifier, sae, "").features == []
