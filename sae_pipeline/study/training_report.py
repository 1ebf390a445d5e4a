"""The training report: one HTML page with the tables and plots of the present classifier and its SAEs."""

import html
import io
from importlib.metadata import version
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from sae_pipeline.artefacts.writing import write_file
from sae_pipeline.study import plots
from sae_pipeline.study.layout import Layout
from sae_pipeline.study.report import StudyReport

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Training report: {title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; color: #1d2433; max-width: 68rem; margin: 2rem auto; padding: 0 1rem }}
pre {{ overflow-x: auto; font-size: 13px; line-height: 1.4 }}
figure {{ margin: 2rem 0 }}
svg {{ max-width: 100%; height: auto }}
figcaption {{ color: #525b6e }}
</style>
<h1>Training report: {title}</h1>
<pre>{table}</pre>
{figures}
<h2>What the figures mean</h2>
<dl>{formulas}</dl>
<h2>What they were made from</h2>
<pre>{provenance}</pre>
</html>
"""

_FORMULAS = {
    "L0": "mean number of active features per counted token.",
    "FVU": "Σ‖x − x̂‖² / Σ‖x − m‖², with m the mean of the evaluated tokens. 0 is perfect, 1 is predicting the mean.",
    "dead": "share of features silent over one pass of the training split.",
    "unchanged": "share of test predictions that stay the same when x̂ replaces x at the positions named, with a "
    "Wilson interval.",
    "accuracy change": "accuracy spliced − accuracy clean on the same headlines, with the interval for pairs of "
    "Agresti & Min (2005), and the exact McNemar test of the headlines on which they differ.",
    "KL": "mean over headlines of KL(clean ‖ spliced), nats.",
    "recovered loss": "(CE removed − CE spliced) / (CE removed − CE clean), with CE the cross-entropy of the labels "
    "and the activations removed by zero, mean or resample ablation at the same positions.",
    "baselines": "SAEs trained in the same way whose decoder rows or encoder directions stay as they were drawn "
    "(frozen decoder, frozen encoder; arXiv 2602.14111), at the same L0; an SAE trained in the same way on the same "
    "network with random weights (random model); PCA with L0 components; the L0 largest coordinates of x_norm "
    "(neurons); the mean of x over a headline's tokens (activations); which words a headline has (bag of words).",
    "probes": "for each class, a logistic regression on the k units that differ most between the class and the rest on "
    "train, in pooled standard deviations of their maximum over a headline (Gurnee et al. 2023), or on all units. Its "
    "ridge is chosen on dev. AUROC is one-against-rest on test, as a mean over classes; for macro-F1 the class with "
    "the highest score wins. Intervals are of 1,000 resamples of the test headlines.",
    "claims": "the SAE is better than a baseline if the 95 % interval of the difference on the same resamples lies "
    "above 0. Intervals are not corrected for the number of claims, which is printed.",
    "change": "texts before and after a small change. Where the prediction is expected to stay, any change of it "
    "counts; where it is expected to move toward or away from a class, that class is predicted afterwards or not, "
    "or its probability rises or falls (Ribeiro et al. 2020). Shares have Wilson intervals.",
    "stability": "for every live feature, the cosine of the nearest decoder row in an SAE trained with another seed: "
    "its mean, and the share of features with at least 0.7 (Paulo & Belrose 2025).",
}


def _provenance(report: StudyReport) -> str:
    record = report.classifier
    lines = [f"classifier {report.classifier_hash}, data {record.data_hash}, device {record.device}"]
    lines += [
        f"{size}: kind {sae.config.kind}, {f'seed {sae.train.seed}' if sae.train else 'imported'}, "
        f"activations {sae.activations}, made from {sae.inputs_hash}"
        + (f", finished end to end ({sae.finish.epochs} passes)" if sae.finish else "")
        for size, sae in report.saes.items()
    ]
    packages = ("torch", "transformers", "numpy", "scipy")
    return "\n".join([*lines, ", ".join(f"{package} {version(package)}" for package in packages)])


def write_report(root: Path, report: StudyReport) -> Path:
    """Write `finbert_sae/training_report.html`, a page that needs no other file. Returns its path."""
    record, saes = report.classifier, report.saes
    figures = [
        *([plots.fine_tuning(record)] if record.history else []),
        *([plots.confusion(record.test)] if record.test else []),
        plots.sae_training(saes),
        plots.l0_against_fvu(saes),
        plots.density_of_sizes(saes),
        plots.unchanged_predictions(saes),
        *map(plots.controls, report.controls),
        *([plots.layers(report.layers)] if report.layers else []),
    ]
    page = _PAGE.format(
        title=html.escape(f"{record.model}, classifier {report.classifier_hash}"),
        table=html.escape("\n".join(report.lines())),
        figures="\n".join(map(_figure, figures)),
        formulas="".join(f"<dt><b>{name}</b></dt><dd>{html.escape(text)}</dd>" for name, text in _FORMULAS.items()),
        provenance=html.escape(_provenance(report)),
    )
    path = Layout(root).training_report
    write_file(path, page.encode())
    return path


def _figure(figure: Figure) -> str:
    """A figure as SVG, with the sentence below it as the caption. The figure is closed."""
    caption = figure.get_supxlabel().replace("\n", " ")
    figure.supxlabel("")
    buffer = io.StringIO()
    with plt.rc_context({"svg.hashsalt": "report"}):  # the same ids each time
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    plt.close(figure)
    text = buffer.getvalue()
    return f"<figure>{text[text.index('<svg') :]}<figcaption>{html.escape(caption)}</figcaption></figure>"
