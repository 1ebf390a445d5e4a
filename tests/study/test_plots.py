"""Every plot names its axes and says how to read it; the training report shows that sentence as the caption."""

import html
from collections.abc import Iterator

import matplotlib.pyplot as plt
import pytest
from matplotlib.figure import Figure

from sae_pipeline.runs.folders import read_run
from sae_pipeline.schema.causes import Agreement, InterventionsFile
from sae_pipeline.schema.controls import Control, ControlsFile, ProbeScore, RivalName
from sae_pipeline.study import plots
from sae_pipeline.study.report import StudyReport, study_report
from sae_pipeline.study.training_report import _figure
from tests.conftest import SmallStudy
from tests.support.made_up_layers import made_up_layers

NAMES: tuple[RivalName, ...] = ("sae", "pca", "neurons", "random model")


def every_figure(study: SmallStudy, report: StudyReport) -> Iterator[Figure]:
    """Each plot once, of the small study; controls and agreement are made up."""
    saes = report.saes
    code = saes["1k"].report.held_out
    controls = [
        Control(name=name, code=code, spliced=None, probing=[ProbeScore(k=1, auroc=0.7), ProbeScore(k=5, auroc=0.8)])
        for name in NAMES
    ]
    dense = ProbeScore(k=None, auroc=0.9, auroc_interval=(0.85, 0.95))
    controls.append(Control(name="activations", code=None, spliced=None, probing=[dense]))
    compared = ControlsFile.model_construct(size="1k", sae_hash="0123456789ab", controls=controls)
    pairs = Agreement.model_construct(
        estimate="gradient", chosen="random", pearson=0.9, spearman=0.8, estimates=[0.1, 0.2], truths=[0.1, 0.3]
    )
    yield plots.fine_tuning(report.classifier)
    yield plots.confusion(report.classifier.test)
    yield plots.sae_training(saes)
    yield plots.l0_against_fvu(saes)
    yield plots.unchanged_predictions(saes)
    yield plots.density_of_sizes(saes)
    yield plots.feature_density(study.run)
    yield plots.headline_heat(study.run)
    yield plots.agreement(InterventionsFile.model_construct(agreement=[pairs]))
    yield plots.controls(compared)
    yield plots.layers(made_up_layers("c"))


def test_axes_and_sentences(study: SmallStudy) -> None:
    """Axis titles on every panel, and a whole sentence below that the report repeats as caption and not in the SVG."""
    n = 0
    for figure in every_figure(study, study_report(study.root)):
        sentence = figure.get_supxlabel().replace("\n", " ")
        assert sentence[0].isupper() and sentence.endswith(".")
        for axes in figure.axes:
            assert axes.get_ylabel(), figure.axes[0].get_title()
            twin = len(axes.get_shared_x_axes().get_siblings(axes)) > 1  # has the x axis of the panel that it lies on
            assert axes.get_xlabel() or twin or axes.get_label() == "<colorbar>"
        page = _figure(figure)
        assert page.endswith(f"<figcaption>{html.escape(sentence)}</figcaption></figure>")
        assert sentence.split(".")[0] not in page.split("<figcaption>")[0]
        n += 1
    assert n == 11


@pytest.fixture(autouse=True)
def close_figures() -> Iterator[None]:
    """Figures that the report did not close are closed."""
    yield
    plt.close("all")


def test_headline_heat_has_a_row_for_each_feature(study: SmallStudy) -> None:
    """Rows are the headline's strongest features, columns its counted tokens; the shade is the activation."""
    run = read_run(study.run)
    prompt, fired = run.prompts[3], run.headline_features.headlines[3].features
    image = plots.headline_heat(study.run, headline=3).axes[0].images[0].get_array()
    assert image is not None
    counted = [i for i, word in enumerate(prompt.words) if word >= 0]
    assert image.shape == (len(fired), len(counted))
    for row, feature in zip(image, fired, strict=True):
        assert row.max() == pytest.approx(feature.activation)
        assert counted[int(row.argmax())] == feature.position
