"""The names that `sae_pipeline` hands on, and what they do together."""

import importlib
import subprocess
import sys

import pytest
import torch

import sae_pipeline
from sae_pipeline import SparseAutoencoder, encode_headline, load_classifier, load_run
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
